package tables

import (
	"encoding/binary"
	"errors"
	"sync"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

// file is a stored file of tables of 1 KiB, each full of its place; what is asked for is counted.
type file struct {
	mu     sync.Mutex
	reads  int
	broken int64 // cannot be read; 0 is none
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if f.broken > 0 && off <= f.broken && f.broken < off+int64(len(p)) {
		return 0, errdef.ErrUnavailable
	}
	for i := 0; i+8 <= len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], uint64(off+int64(i))&^1023)
	}
	return len(p), nil
}

// options are for n tables, of which every third is a hole, stored with stride bytes from one to the next.
func options(f *file, n, stride, gap int64) Options {
	return Options{Format: "x", What: "table", Largest: 1024, Metadata: 1, Gap: gap, Find: func(no int64) (p Place, next int64) {
		if no%3 != 2 {
			p = Place{f, (no - no/3) * stride, 1024}
		}
		if next = no + 1; next == n {
			next = -1
		}
		return p, next
	}}
}

// TestGet reads more tables than the cache holds, in order and from many goroutines at once.
func TestGet(t *testing.T) {
	const n = 12_000
	for name, tt := range map[string]struct{ stride, gap, reads int64 }{
		"local, in order":  {1024, 0, n / 50},
		"local, apart":     {4096, 0, n},
		"remote, in order": {1024, 64 << 10, n / 50},
		"remote, apart":    {4096, 64 << 10, n / 50},
		"remote, far":      {1 << 20, 64 << 10, n},
	} {
		t.Run(name, func(t *testing.T) {
			f := &file{}
			c := New(options(f, n, tt.stride, tt.gap))
			check := func(no int64) {
				want, _ := c.o.Find(no)
				b, err := c.Get(no)
				if err != nil || int64(len(b)) != want.Size || int64(binary.LittleEndian.Uint64(b)) != want.At {
					t.Errorf("table %d: %d bytes, %v", no, len(b), err)
				}
			}
			for no := int64(0); no < n; no++ {
				if no%3 != 2 {
					check(no)
				}
			}
			if int64(f.reads) > tt.reads {
				t.Errorf("%d reads, want at most %d", f.reads, tt.reads)
			}
			var wg sync.WaitGroup
			for g := range int64(4) {
				wg.Go(func() {
					for i := range int64(300) {
						if no := (i*7919 + g*13) % n; no%3 != 2 {
							check(no)
						}
					}
				})
			}
			wg.Wait()
			if len(c.m) > c.max || len(c.clock) > c.max {
				t.Errorf("the cache holds %d tables of %d", len(c.m), c.max)
			}
		})
	}
}

// TestBroken reads ahead into what cannot be read: only who needs it sees the error, and may try again.
func TestBroken(t *testing.T) {
	for _, gap := range []int64{0, 64 << 10} {
		f := &file{broken: 20*1024 + 5} // in the table that is stored as number 20, which is 30
		c := New(options(f, 60, 1024, gap))
		for range 2 {
			for no := int64(0); no < 60; no++ {
				if no%3 == 2 {
					continue
				}
				if _, err := c.Get(no); (err != nil) != (no == 30) || err != nil && !errors.Is(err, errdef.ErrUnavailable) {
					t.Errorf("table %d: %v", no, err)
				}
			}
		}
		f.broken = 0
		if _, err := c.Get(30); err != nil {
			t.Error(err)
		}
	}
}
