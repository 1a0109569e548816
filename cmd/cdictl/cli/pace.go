package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/limits"
)

// paceFlags say how fast and how long a transfer may go on.
type paceFlags struct {
	rate    size
	timeout time.Duration
}

func (p *paceFlags) register(to *pflag.FlagSet, timeout string) {
	grouped(to, groupLimits, func(fs *pflag.FlagSet) {
		fs.Var(&p.rate, "limit-rate", "fetch at most this many bytes a second (10Mi, 100M), all connections together (default: no limit)")
		fs.DurationVar(&p.timeout, "timeout", 0, timeout)
	})
}

const timeoutUsage = "give up after this `duration`, as 90s or 2h (default: never)"

// limiter is what all fetches of one command share; nil does not limit.
func (p *paceFlags) limiter() *limits.Rate { return limits.NewRate(int64(p.rate)) }

// within does f, which gets the context that ends when --timeout has passed. What breaks then, broke because of it.
func (p *paceFlags) within(ctx context.Context, f func(context.Context) error) error {
	if p.timeout < 0 {
		return usagef("--timeout %s is negative", p.timeout)
	}
	if p.timeout == 0 {
		return f(ctx)
	}
	late := fmt.Errorf("not done after %s, which is all that --timeout allows: %w", p.timeout, errdef.ErrTimeout)
	limited, cancel := context.WithTimeoutCause(ctx, p.timeout, late)
	defer cancel()
	err := f(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		if in := (*importer.Interrupted)(nil); errors.As(err, &in) {
			return again(&importer.Interrupted{Err: late})
		}
		return late
	}
	return err
}
