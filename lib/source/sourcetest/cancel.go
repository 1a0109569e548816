package sourcetest

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/limits"
	"github.com/cdictl/cdictl/lib/source"
)

// limited checks that the limiter paces the stream and that nothing is lost by it.
func (c Case) limited(t *testing.T) {
	content := Content(600_000)
	s, start := c.New(t, content), time.Now() // of the limiter, which begins without a burst: 0.3 s
	b := c.open(t, s, source.Env{Limiter: limits.NewRate(2_000_000)})
	got, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "Read with a limiter", got, content, 0)
	if d := time.Since(start); d < 250*time.Millisecond {
		t.Errorf("600,000 bytes came within %v at 2 MB/s", d)
	}
}

// cancel ends the context between two reads: the stream and ReadAt end soon, and never with EOF.
func (c Case) cancel(t *testing.T) {
	content := Content(8 << 20)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b, err := c.New(t, content).Open(ctx, source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := io.ReadFull(b, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	within(t, "Read after cancel", func() {
		_, err := io.Copy(io.Discard, b)
		canceled(t, "Read after cancel", err)
	})
	if ra, ok := b.(io.ReaderAt); ok {
		within(t, "ReadAt after cancel", func() {
			_, err := ra.ReadAt(make([]byte, 4<<20), 4<<20)
			canceled(t, "ReadAt after cancel", err)
		})
	}
}

func (c Case) canceledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := c.New(t, Content(100_000))
	within(t, "Open and Read", func() {
		b, err := s.Open(ctx, source.Env{})
		if err == nil {
			_, err = io.Copy(io.Discard, b)
			_ = b.Close()
		}
		canceled(t, "Open or Read", err)
	})
}

// cancelLimited ends the context while a read waits for the limiter.
func (c Case) cancelLimited(t *testing.T) {
	c.cancelWaiting(t, c.New(t, Content(1<<20)), source.Env{Limiter: limits.NewRate(1000)})
}

func (c Case) cancelStalled(t *testing.T) { c.cancelWaiting(t, c.Stalled(t), source.Env{}) }

func (c Case) cancelWaiting(t *testing.T, s source.Source, env source.Env) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	within(t, "Read that waits", func() {
		b, err := s.Open(ctx, env)
		if err == nil {
			_, err = io.Copy(io.Discard, b)
			_ = b.Close()
		}
		canceled(t, "Read that waits", err)
	})
}

// within fails unless f ends soon.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(soon):
		t.Fatalf("%s has not ended after %v", what, soon)
	}
}
