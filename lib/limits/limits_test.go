package limits

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
)

func TestWithDefaults(t *testing.T) {
	d := Limits{}.WithDefaults()
	if d.VirtualSize != 64<<40 || d.Metadata != 48<<20 || d.Window != 128<<20 || d.Expansion != 2000 || d.Entries != 10_000_000 || d.Workers < 2 {
		t.Errorf("defaults are %+v", d)
	}
	set := Limits{VirtualSize: 1, Metadata: 2, Window: 3, Expansion: 4, Entries: 5, Workers: 1}
	if got := set.WithDefaults(); got != set {
		t.Errorf("%+v became %+v", set, got)
	}
	if got := (Limits{Workers: -3}).WithDefaults(); got.Workers < 2 {
		t.Errorf("%d workers would do nothing for ever", got.Workers)
	}
}

func TestChecks(t *testing.T) {
	l := Limits{VirtualSize: 1000, Metadata: 100}.WithDefaults()
	tests := []struct {
		name string
		err  error
		want error
	}{
		{"virtual size at the limit", l.CheckVirtualSize(1000), nil},
		{"virtual size above", l.CheckVirtualSize(1001), errdef.ErrLimit},
		{"metadata at the limit", l.CheckMetadata("L1 table", 100), nil},
		{"metadata above", l.CheckMetadata("L1 table", 101), errdef.ErrLimit},
	}
	for _, tt := range tests {
		if !errors.Is(tt.err, tt.want) || (tt.err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v", tt.name, tt.err)
		}
		if tt.err != nil && errdef.Hint(tt.err) == "" {
			t.Errorf("%s has no hint", tt.name)
		}
	}
}

func TestRate(t *testing.T) {
	for _, n := range []int64{0, -1} {
		if r := NewRate(n); r != nil || r.Wait(t.Context(), 1<<30) != nil {
			t.Errorf("NewRate(%d) limits", n)
		}
	}
	start := time.Now()
	r := NewRate(1 << 20)
	for range 4 { // 512 KiB: half a second
		if err := r.Wait(t.Context(), 128<<10); err != nil {
			t.Fatal(err)
		}
	}
	if d := time.Since(start); d < 450*time.Millisecond {
		t.Errorf("512 KiB at 1 MiB/s took %v", d)
	}
	if err := NewRate(1).Wait(t.Context(), 0); err != nil {
		t.Errorf("no bytes: %v", err)
	}
}

// TestRateIsUsedUp: no time is lost by waiting, and of a pause no more than half a second is made up for.
func TestRateIsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const second, step = 1 << 20, 48 << 10
		start, r := time.Now(), NewRate(second)
		pass := func(n int) time.Duration {
			for ; n > 0; n -= step {
				if err := r.Wait(t.Context(), min(n, step)); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(start).Round(time.Millisecond)
		}
		if d := pass(20 * second); d != 20*time.Second {
			t.Errorf("20 MiB at 1 MiB/s took %v", d)
		}
		time.Sleep(40 * time.Second)
		if d := pass(20 * second); d != 79500*time.Millisecond {
			t.Errorf("another 20 MiB, after 40 s without any, were through at %v", d)
		}
	})
}

func TestRateEnds(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := NewRate(1).Wait(canceled, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := NewRate(1).Wait(short, 10); !errors.Is(err, context.DeadlineExceeded) || short.Err() == nil {
		t.Errorf("a deadline that would pass: %v, and the context's is %v", err, short.Err())
	}
}
