package limits

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// Rate paces bytes. A nil *Rate does not limit. Safe for concurrent use.
type Rate struct{ l *rate.Limiter }

// NewRate allows bytesPerSecond from this moment on; nil for 0 or less. On average it is never more. What a busy machine
// let pass unused may be made up for later, up to half a second's worth: less would lose some at each late wake-up.
func NewRate(bytesPerSecond int64) *Rate {
	if bytesPerSecond <= 0 {
		return nil
	}
	burst := int(max(bytesPerSecond/2, 1))
	r := &Rate{rate.NewLimiter(rate.Limit(bytesPerSecond), burst)}
	r.l.AllowN(time.Now(), burst) // it begins full
	return r
}

// Wait blocks until n more bytes may pass, or ctx ends.
func (r *Rate) Wait(ctx context.Context, n int) error {
	if r == nil {
		return nil
	}
	for b := r.l.Burst(); n > 0; n -= b {
		if err := r.l.WaitN(ctx, min(n, b)); err != nil {
			// The limiter sees at once that the deadline will pass first. Whoever heard of that before it has would take
			// it for an error like others, and try again.
			<-ctx.Done()
			return ctx.Err()
		}
	}
	return nil
}
