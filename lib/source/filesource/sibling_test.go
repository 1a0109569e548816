package filesource

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
)

func TestSibling(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, at string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, at)); err != nil {
			t.Skip(err) // Windows without the privilege
		}
	}
	write(filepath.Join(outside, "secret"), "secret")
	write(filepath.Join(dir, "disk"), "disk")
	write(filepath.Join(dir, "extent"), "extent")
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	link("extent", "inside")
	link(filepath.Join(outside, "secret"), "absolute")
	link("../"+filepath.Base(outside)+"/secret", "relative")
	link("nothing", "dangling")
	link(outside, "out")

	s := New(filepath.Join(dir, "disk"))
	for name, want := range map[string]error{
		"extent": nil, "inside": nil,
		"": errdef.ErrRefused, ".": errdef.ErrRefused, "..": errdef.ErrRefused, "../x": errdef.ErrRefused, "folder/x": errdef.ErrRefused,
		`a\b`: errdef.ErrRefused, "a\x00": errdef.ErrRefused, filepath.Join(outside, "secret"): errdef.ErrRefused,
		"folder": errdef.ErrRefused, "absolute": errdef.ErrRefused, "relative": errdef.ErrRefused, "out": errdef.ErrRefused,
		"nothing": errdef.ErrNotFound, "dangling": errdef.ErrNotFound,
	} {
		sib, err := s.Sibling(name)
		if err == nil {
			_, err = sib.(source.Statter).Stat(t.Context(), source.Env{})
		}
		if !errors.Is(err, want) {
			t.Errorf("stat of %q: %v, want %v", name, err, want)
		}
		if sib == nil {
			continue
		}
		b, err := sib.Open(t.Context(), source.Env{})
		if !errors.Is(err, want) {
			t.Errorf("open of %q: %v, want %v", name, err, want)
		}
		if err != nil {
			continue
		}
		if got, err := io.ReadAll(b); err != nil || string(got) != "extent" {
			t.Errorf("%q reads %q, %v", name, got, err)
		}
		if _, ok := b.(io.ReaderAt); !ok || !b.Info().Local {
			t.Errorf("%q is no local file with random access", name)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := FromReader("-", strings.NewReader("x")).Sibling("extent"); !errors.Is(err, errdef.ErrUnsupported) {
		t.Errorf("of a stream: %v", err)
	}
}

// A name in the current folder has siblings there.
func TestSiblingHere(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("extent", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	sib, err := New("disk").Sibling("extent")
	if err != nil {
		t.Fatal(err)
	}
	b, err := sib.Open(t.Context(), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
}
