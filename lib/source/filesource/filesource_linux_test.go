package filesource

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/sourcetest"
)

// TestHolesAreFound: a filesystem that tells holes has them told.
func TestHolesAreFound(t *testing.T) {
	content := make([]byte, 4<<20)
	copy(content[1<<20:], sourcetest.Content(300_000))
	b, err := New(writeSparse(t, content)).Open(t.Context(), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	e, err := image.Next(b.(image.Extenter), 0, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	if want := (image.Extent{Start: 0, Length: 1 << 20, Kind: image.Hole}); e != want {
		t.Errorf("first extent %+v, want %+v", e, want)
	}
	e, err = image.Next(b.(image.Extenter), 3<<20, 4<<20)
	if err != nil || !e.Kind.IsZero() || e.End() != 4<<20 {
		t.Errorf("last extent %+v, %v, want a hole up to the end", e, err)
	}
}

func mkfifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNamedPipe(t *testing.T) {
	feed := func(t *testing.T, content []byte, hold bool) source.Source {
		path := mkfifo(t)
		end := make(chan struct{})
		t.Cleanup(func() { close(end) })
		go func() {
			w, err := os.OpenFile(path, os.O_WRONLY, 0) // waits for the reader
			if err != nil {
				return
			}
			_, _ = w.Write(content)
			if hold {
				<-end
			}
			_ = w.Close()
		}()
		t.Cleanup(func() { // a writer that no reader came for
			if f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
				time.Sleep(time.Millisecond)
				_ = f.Close()
			}
		})
		return New(path)
	}
	sourcetest.Run(t, sourcetest.Case{
		New:         func(t *testing.T, content []byte) source.Source { return feed(t, content, false) },
		Stalled:     func(t *testing.T) source.Source { return feed(t, []byte("abc"), true) },
		UnknownSize: true,
	})
}

// TestNamedPipeWithoutWriter: Open waits for a writer that never comes, until ctx ends.
func TestNamedPipeWithoutWriter(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := New(mkfifo(t)).Open(ctx, source.Env{})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > time.Minute {
		t.Errorf("Open: %v after %v", err, time.Since(start))
	}
}

func TestCharDevice(t *testing.T) {
	b, err := New("/dev/zero").Open(t.Context(), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, ok := b.(io.ReaderAt); ok || b.Info().Size != -1 || b.Info().Reopenable {
		t.Errorf("%T with %+v, want a one-way stream", b, b.Info())
	}
	if _, err := io.ReadFull(b, make([]byte, 1<<20)); err != nil {
		t.Error(err)
	}
}

func TestBlockDevice(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a loop device needs root")
	}
	content := sourcetest.Content(1 << 20)
	path := writeSparse(t, content)
	out, err := exec.Command("losetup", "-f", "--show", "-r", path).Output()
	if err != nil {
		t.Skipf("no loop devices here: %v", err)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if err := exec.Command("losetup", "-d", dev).Run(); err != nil {
			t.Errorf("losetup -d %s: %v", dev, err)
		}
	})
	sourcetest.Run(t, sourcetest.Case{
		New: func(t *testing.T, c []byte) source.Source {
			if len(c) != len(content) {
				return New(writeSparse(t, c)) // the cancel checks bring their own sizes
			}
			return New(dev)
		},
		ReaderAt: true, Extents: true, Sizes: []int{1 << 20},
	})
}
