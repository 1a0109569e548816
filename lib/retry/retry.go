// Package retry decides whether a failed try is repeated, and when.
//
// It is for sources, around one request: nobody above a source tries again.
package retry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Policy bounds the repetitions. The zero value is useful.
type Policy struct {
	// Retries is how many tries that failed in a row, without progress between them, are repeated.
	// 0 means 5: with the default delays a server may be away for about 12 seconds. Negative: none.
	Retries int
	// Base is the delay before the first repetition; it doubles with each one after. 0 means 500 ms.
	Base time.Duration
	// Max is the longest delay that doubling reaches. 0 means 30 s.
	Max time.Duration
	// MaxAfter is the longest wait that a server may ask for. 0 means 5 min: what asks for more gets the repetition
	// early, and the tries run out.
	MaxAfter time.Duration
}

func (p Policy) withDefaults() Policy {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if p.Retries == 0 {
		p.Retries = 5
	}
	set(&p.Base, 500*time.Millisecond)
	set(&p.Max, 30*time.Second)
	set(&p.MaxAfter, 5*time.Minute)
	return p
}

// Start returns a Counter for one piece of work.
func (p Policy) Start() *Counter { return &Counter{policy: p.withDefaults()} }

// Notice tells of a failed try that will be repeated.
type Notice struct {
	Attempt int           // 1 for the first repetition since the last progress
	Delay   time.Duration // until the repetition
	Err     error
}

// A Counter counts failures in a row. It is not safe for concurrent use.
type Counter struct {
	policy   Policy
	failures int
}

// Progress tells that the work has gone on: the failures are forgotten.
func (c *Counter) Progress() { c.failures = 0 }

// Wait takes err, the failure of one try. It returns nil, after a delay, when the try should be repeated, and the error
// to report otherwise: ctx's if ctx has ended, else err. notify, if not nil, is called before the delay.
func (c *Counter) Wait(ctx context.Context, err error, notify func(Notice)) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if IsPermanent(err) || c.policy.Retries < 0 {
		return err
	}
	if c.failures >= c.policy.Retries {
		return fmt.Errorf("gave up after %d tries: %w", c.failures+1, err)
	}
	c.failures++
	d := c.delay(err)
	if notify != nil {
		notify(Notice{Attempt: c.failures, Delay: d, Err: err})
	}
	return Sleep(ctx, d)
}

// delay is what the server asked for, or Base doubled per failure. Half of the latter is random, so that the many
// clients which a restarting server has lost do not come back at the same moment.
func (c *Counter) delay(err error) time.Duration {
	var a *after
	if errors.As(err, &a) && a.d > 0 {
		return min(a.d, c.policy.MaxAfter)
	}
	d := c.policy.Base
	for range c.failures - 1 {
		if d >= c.policy.Max/2 {
			d = c.policy.Max
			break
		}
		d *= 2
	}
	d = min(d, c.policy.Max)
	return d/2 + time.Duration(rand.Int64N(int64(d/2)+1))
}

// Sleep returns after d, or with ctx's error as soon as ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

type permanent struct{ error }

func (p *permanent) Unwrap() error { return p.error }

// Permanent marks err as one that a repetition cannot cure; its message stays the same. nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

// IsPermanent reports whether err is marked by Permanent.
func IsPermanent(err error) bool {
	var p *permanent
	return errors.As(err, &p)
}

type after struct {
	error
	d time.Duration
}

func (a *after) Unwrap() error { return a.error }

// After marks err with the delay that the server asked for; its message stays the same. nil stays nil.
func After(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &after{err, d}
}
