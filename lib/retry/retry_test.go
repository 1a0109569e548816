package retry_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cdictl/cdictl/lib/retry"
)

var errTry = errors.New("try failed")

func TestCounterGivesUp(t *testing.T) {
	for _, tt := range []struct {
		name    string
		retries int
		want    int // repetitions
	}{
		{"default", 0, 5},
		{"none", -1, 0},
		{"three", 3, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := retry.Policy{Retries: tt.retries}.Start()
				var notices []retry.Notice
				var err error
				for err == nil {
					err = c.Wait(t.Context(), errTry, func(n retry.Notice) { notices = append(notices, n) })
				}
				if !errors.Is(err, errTry) {
					t.Errorf("error %v does not wrap the failure", err)
				}
				if len(notices) != tt.want {
					t.Errorf("%d repetitions, want %d", len(notices), tt.want)
				}
				for i, n := range notices {
					if n.Attempt != i+1 || !errors.Is(n.Err, errTry) {
						t.Errorf("notice %d is %+v", i, n)
					}
				}
			})
		})
	}
}

func TestCounterDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := retry.Policy{Retries: 100, Base: 100 * time.Millisecond, Max: time.Second}.Start()
		for i := range 80 {
			top := time.Second
			if i < 4 {
				top = min(top, 100*time.Millisecond<<i)
			}
			start := time.Now()
			if err := c.Wait(t.Context(), errTry, nil); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d < top/2 || d > top {
				t.Errorf("delay %d is %v, want %v..%v", i, d, top/2, top)
			}
		}
	})
}

func TestProgressResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := retry.Policy{Retries: 1}.Start()
		for range 50 {
			if err := c.Wait(t.Context(), errTry, nil); err != nil {
				t.Fatal(err)
			}
			c.Progress()
		}
		if err := c.Wait(t.Context(), errTry, nil); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(t.Context(), errTry, nil); !errors.Is(err, errTry) {
			t.Errorf("second failure without progress: %v", err)
		}
	})
}

func TestAfterIsBounded(t *testing.T) {
	for _, tt := range []struct{ ask, want time.Duration }{
		{7 * time.Second, 7 * time.Second},
		{24 * time.Hour, 5 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := retry.Policy{}.Start()
			start := time.Now()
			if err := c.Wait(t.Context(), fmt.Errorf("busy: %w", retry.After(errTry, tt.ask)), nil); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d != tt.want {
				t.Errorf("asked %v, waited %v, want %v", tt.ask, d, tt.want)
			}
		})
	}
}

func TestPermanent(t *testing.T) {
	err := fmt.Errorf("outer: %w", retry.Permanent(errTry))
	if got := (retry.Policy{}).Start().Wait(t.Context(), err, nil); got != err {
		t.Errorf("Wait = %v, want the error itself", got)
	}
	if err.Error() != "outer: try failed" || !errors.Is(err, errTry) {
		t.Errorf("Permanent changed the error: %v", err)
	}
	if retry.IsPermanent(errTry) || retry.Permanent(nil) != nil || retry.After(nil, 1) != nil {
		t.Error("unmarked or nil errors are not permanent")
	}
}

func TestWaitEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		err := (retry.Policy{}).Start().Wait(ctx, retry.After(errTry, time.Minute), nil)
		if !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
			t.Errorf("Wait = %v after %v", err, time.Since(start))
		}
	})
}

func TestParseAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"", 0, false},
		{"0", 0, true},
		{" 120 ", 2 * time.Minute, true},
		{"-1", 0, false},
		{"1.5", 0, false},
		{"99999999999999999999999", 9223372036 * time.Second, true},
		{"Fri, 02 Jan 2026 03:05:05 GMT", time.Minute, true},
		{"Fri, 02 Jan 2026 03:00:00 GMT", 0, true},
		{"soon", 0, false},
	} {
		if d, ok := retry.ParseAfter(tt.in, now); d != tt.want || ok != tt.ok {
			t.Errorf("ParseAfter(%q) = %v, %v, want %v, %v", tt.in, d, ok, tt.want, tt.ok)
		}
	}
}
