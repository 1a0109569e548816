package filesource

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/sourcetest"
)

// writeSparse writes content with holes for its zero blocks.
func writeSparse(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(content))); err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(content); off += 4096 {
		block := content[off:min(off+4096, len(content))]
		if len(bytes.Trim(block, "\x00")) == 0 {
			continue
		}
		if _, err := f.WriteAt(block, int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestRegularFile(t *testing.T) {
	sourcetest.Run(t, sourcetest.Case{
		New:      func(t *testing.T, content []byte) source.Source { return New(writeSparse(t, content)) },
		ReaderAt: true, Extents: true,
		Broken: func(t *testing.T) source.Source { return New(filepath.Join(t.TempDir(), "none")) },
	})
}

func TestReader(t *testing.T) {
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"plain": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "data with EOF": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Case{
				New: func(t *testing.T, content []byte) source.Source {
					return FromReader("-", wrap(bytes.NewReader(content)))
				},
				Stalled: func(t *testing.T) source.Source {
					r, w := io.Pipe()
					t.Cleanup(func() { _ = w.Close() })
					go func() { _, _ = w.Write(make([]byte, 1000)) }()
					return FromReader("-", r)
				},
				Broken: func(t *testing.T) source.Source {
					return FromReader("-", io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(errors.New("gone"))))
				},
				UnknownSize: true,
			})
		})
	}
}

func TestReaderOpensOnce(t *testing.T) {
	s := FromReader("-", strings.NewReader("x"))
	b, err := s.Open(t.Context(), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := s.Open(t.Context(), source.Env{}); !errors.Is(err, errdef.ErrUsage) {
		t.Errorf("second Open: %v, want ErrUsage", err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, path string
		want       error
		exit       int
	}{
		{"missing", filepath.Join(dir, "none.img"), errdef.ErrNotFound, 10},
		{"missing folder", filepath.Join(dir, "no", "none.img"), errdef.ErrNotFound, 10},
		{"file as folder", filepath.Join(plain, "x"), errdef.ErrNotFound, 10},
		{"folder", dir, errdef.ErrUsage, 2},
		{"empty", "", errdef.ErrNotFound, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.path).Open(t.Context(), source.Env{})
			if !errors.Is(err, tt.want) || errdef.ExitCode(err) != tt.exit || errdef.Hint(err) == "" {
				t.Errorf("Open: %v (exit %d, hint %q), want %v, exit %d and a hint", err, errdef.ExitCode(err), errdef.Hint(err), tt.want, tt.exit)
			}
			if _, err := New(tt.path).Stat(t.Context(), source.Env{}); !errors.Is(err, tt.want) {
				t.Errorf("Stat: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestPermission(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	err := New(path).explain("open", &os.PathError{Op: "open", Path: path, Err: os.ErrPermission})
	if errdef.ExitCode(err) != 11 || errdef.Hint(err) == "" || strings.Count(err.Error(), path) != 1 {
		t.Errorf("%v: exit %d, hint %q", err, errdef.ExitCode(err), errdef.Hint(err))
	}
}

// TestIdentityTellsChange: whatever happens to the file, an importer that compares Stat with Info sees it.
func TestIdentityTellsChange(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"grown":     func(p string) error { return os.Truncate(p, 200_000) },
		"shrunk":    func(p string) error { return os.Truncate(p, 50_000) },
		"replaced":  func(p string) error { return errors.Join(os.Remove(p), os.WriteFile(p, make([]byte, 100_000), 0o600)) },
		"rewritten": func(p string) error { return os.WriteFile(p, make([]byte, 100_000), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			s := New(writeSparse(t, sourcetest.Content(100_000)))
			b, err := s.Open(t.Context(), source.Env{})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if err := change(s.String()); err != nil {
				t.Fatal(err)
			}
			now, err := s.Stat(t.Context(), source.Env{})
			if err != nil {
				t.Fatal(err)
			}
			if now.Identity == b.Info().Identity {
				t.Errorf("identity is still %q", now.Identity)
			}
		})
	}
}

func TestShrunkWhileReading(t *testing.T) {
	path := writeSparse(t, sourcetest.Content(100_000))
	b, err := New(path).Open(t.Context(), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := os.Truncate(path, 10_000); err != nil {
		t.Fatal(err)
	}
	if n, err := b.(io.ReaderAt).ReadAt(make([]byte, 20_000), 0); n != 10_000 || !errors.Is(err, errdef.ErrChanged) {
		t.Errorf("ReadAt: %d, %v, want 10000 bytes and ErrChanged", n, err)
	}
	if _, err := b.(io.ReaderAt).ReadAt(make([]byte, 20), 50_000); !errors.Is(err, errdef.ErrChanged) {
		t.Errorf("ReadAt behind the new end: %v, want ErrChanged", err)
	}
	if _, err := io.Copy(io.Discard, b); !errors.Is(err, errdef.ErrChanged) {
		t.Errorf("Read: %v, want ErrChanged", err)
	}
	e, err := b.(image.Extenter).NextExtent(50_000, 1000)
	if err == nil && e.Kind.IsZero() {
		t.Errorf("NextExtent behind the new end: %+v, a hole that was none", e)
	}
}

func TestClosedContextOfLongRead(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b, err := New(writeSparse(t, sourcetest.Content(1000))).Open(ctx, source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	cancel()
	// At the end there is nothing to read: cancellation must win over EOF there, too.
	if _, err := b.(io.ReaderAt).ReadAt(make([]byte, 10), 5000); !errors.Is(err, context.Canceled) {
		t.Errorf("ReadAt past the end after cancel: %v", err)
	}
}
