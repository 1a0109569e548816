package journal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

func TestDir(t *testing.T) {
	dir := t.TempDir()
	var s Store = In(dir, "tries")
	load := func(want string) {
		t.Helper()
		if b, err := s.Load(); err != nil || string(b) != want {
			t.Errorf("%q, %v; want %q", b, err, want)
		}
	}
	load("")
	for _, r := range []string{"one", "the second", "3"} {
		if err := s.Save([]byte(r)); err != nil {
			t.Fatal(err)
		}
		load(r)
	}
	// A writer that was killed in the middle.
	if err := os.WriteFile(filepath.Join(dir, "tries.new"), []byte("ha"), 0o600); err != nil {
		t.Fatal(err)
	}
	load("3")
	if err := s.Save([]byte("4")); err != nil {
		t.Fatal(err)
	}
	load("4")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	for range 2 {
		if err := s.Drop(); err != nil {
			t.Fatal(err)
		}
	}
	load("")

	if err := s.Save(make([]byte, MaxRecord+1)); !errors.Is(err, errdef.ErrLimit) {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tries"), make([]byte, MaxRecord+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(); !errors.Is(err, errdef.ErrLimit) {
		t.Error(err)
	}
	if err := In(filepath.Join(dir, "none"), "x").Save(nil); err == nil {
		t.Error("saved in no folder")
	}
}
