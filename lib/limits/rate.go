package limits

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"
)

// Rate paces bytes. A nil *Rate does not limit. Safe for concurrent use.
type Rate struct{ l *rate.Limiter }

// NewRate allows bytesPerSecond, in bursts of up to a quarter of a second; nil for 0 or less.
func NewRate(bytesPerSecond int64) *Rate {
	if bytesPerSecond <= 0 {
		return nil
	}
	return &Rate{rate.NewLimiter(rate.Limit(bytesPerSecond), int(max(bytesPerSecond/4, 1)))}
}

// Wait blocks until n more bytes may pass, or ctx ends.
func (r *Rate) Wait(ctx context.Context, n int) error {
	if r == nil {
		return nil
	}
	for b := r.l.Burst(); n > 0; n -= b {
		if err := r.l.WaitN(ctx, min(n, b)); err != nil {
			if ctx.Err() == nil {
				// The limiter sees that the deadline will pass first, and says so in an error of its own.
				err = fmt.Errorf("%w: %w", err, context.DeadlineExceeded)
			}
			return err
		}
	}
	return nil
}
