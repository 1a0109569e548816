package bufpool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestGetIsAlignedAndWhole(t *testing.T) {
	for _, size := range []int{1, 511, 4096, 64 << 10, 1 << 20, 1<<20 + 1} {
		p := New(size, 3)
		for range 3 {
			b, err := p.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(b) != size || cap(b) != size || !Aligned(b) {
				t.Errorf("size %d: len %d cap %d aligned %v", size, len(b), cap(b), Aligned(b))
			}
		}
	}
}

func TestLastPutIsLentFirst(t *testing.T) {
	p := New(8192, 4)
	a, _ := p.Get(t.Context())
	b, _ := p.Get(t.Context())
	p.Put(a)
	p.Put(b[:100])
	c, _ := p.Get(t.Context())
	if &c[0] != &b[0] || len(c) != 8192 {
		t.Error("the buffer that came back last was not lent, whole, first")
	}
}

func TestGetWaitsAndObservesContext(t *testing.T) {
	p := New(16, 1)
	b, _ := p.Get(t.Context())
	if p.TryGet() != nil {
		t.Error("TryGet on an empty pool gives a buffer")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := p.Get(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Get on an empty pool: %v", err)
	}
	done := make(chan []byte)
	go func() {
		c, _ := p.Get(t.Context())
		done <- c
	}()
	p.Put(b)
	if c := <-done; &c[0] != &b[0] {
		t.Error("another buffer was made")
	}
	p.Put(b)
	if c := p.TryGet(); len(c) != 16 {
		t.Errorf("TryGet: %d bytes", len(c))
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(16, 1).Get(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("Get with an ended context: %v", err)
	}
}

func TestBoundHoldsUnderLoad(t *testing.T) {
	const count = 4
	p := New(4096, count)
	var out atomic.Int32
	var seen sync.Map
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 500 {
				b, err := p.Get(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if n := out.Add(1); n > count {
					t.Errorf("%d buffers out", n)
				}
				seen.Store(&b[0], true)
				b[0]++ // the race detector sees a buffer that is lent twice
				out.Add(-1)
				p.Put(b)
			}
		})
	}
	wg.Wait()
	made := 0
	seen.Range(func(any, any) bool { made++; return true })
	if made > count {
		t.Errorf("%d buffers made, want at most %d", made, count)
	}
}

func TestMisusePanics(t *testing.T) {
	for name, f := range map[string]func(){
		"foreign size": func() { New(16, 1).Put(make([]byte, 15)) },
		"too many":     func() { New(16, 1).Put(make([]byte, 16)) },
		"no size":      func() { New(0, 1) },
		"no count":     func() { New(1, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("did not panic")
				}
			}()
			f()
		})
	}
}

func TestGetPutDoNotAllocate(t *testing.T) {
	p := New(1<<20, 2)
	ctx := t.Context()
	n := testing.AllocsPerRun(100, func() {
		b, _ := p.Get(ctx)
		p.Put(b)
	})
	if n > 0 {
		t.Errorf("%v allocations per Get and Put", n)
	}
}
