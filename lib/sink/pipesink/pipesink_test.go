package pipesink

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/sink/sinktest"
)

// buffer is a bytes.Buffer that a writer which was left behind may still write to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) Read() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes()), nil
}

func TestMemory(t *testing.T) {
	sinktest.Run(t, sinktest.Factory{New: func(t *testing.T) sinktest.Place {
		b := new(buffer)
		return sinktest.Place{Target: New(b, "-"), Read: b.Read}
	}})
}

func TestBufferedFile(t *testing.T) {
	sinktest.Run(t, sinktest.Factory{New: func(t *testing.T) sinktest.Place {
		f, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return sinktest.Place{Target: New(bufio.NewWriter(f), "-"), Read: func() ([]byte, error) { return os.ReadFile(f.Name()) }}
	}})
}

func TestReaderLeaves(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s, err := New(w, "-").Open(t.Context(), sink.Options{Size: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.WriteAt(make([]byte, 1000), 0); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	err = s.Commit(t.Context(), 64<<20)
	if err == nil || errdef.Hint(err) == "" || errdef.ExitCode(err) != 1 {
		t.Errorf("Commit: %v (exit %d, hint %q), want an error with a hint", err, errdef.ExitCode(err), errdef.Hint(err))
	}
}

// TestNobodyReads: a full pipe must not hold up cancellation, wherever it comes.
func TestNobodyReads(t *testing.T) {
	for name, write := range map[string]func(context.Context, sink.Sink) error{
		"WriteAt": func(_ context.Context, s sink.Sink) error { _, err := s.WriteAt(make([]byte, 8<<20), 0); return err },
		"Zero":    func(_ context.Context, s sink.Sink) error { return s.Zero(0, 8<<20) },
		"Commit":  func(ctx context.Context, s sink.Sink) error { return s.Commit(ctx, 8<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			r, w := io.Pipe()
			defer func() { _ = r.Close() }()
			ctx, cancel := context.WithCancel(t.Context())
			s, err := New(w, "-").Open(ctx, sink.Options{Size: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			time.AfterFunc(20*time.Millisecond, cancel)
			start := time.Now()
			if err := write(ctx, s); !errors.Is(err, context.Canceled) || time.Since(start) > time.Minute {
				t.Errorf("%v after %v, want context.Canceled at once", err, time.Since(start))
			}
		})
	}
}

func TestOpensOnceAndNewOnly(t *testing.T) {
	target := New(io.Discard, "-")
	for _, m := range []sink.Mode{sink.Resume, sink.Update} {
		if _, err := target.Open(t.Context(), sink.Options{Size: 1, Mode: m}); !errors.Is(err, errdef.ErrUnsupported) {
			t.Errorf("mode %v: %v, want ErrUnsupported", m, err)
		}
	}
	s, err := target.Open(t.Context(), sink.Options{Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := target.Open(t.Context(), sink.Options{Size: 1}); !errors.Is(err, errdef.ErrUsage) {
		t.Errorf("second Open: %v, want ErrUsage", err)
	}
}
