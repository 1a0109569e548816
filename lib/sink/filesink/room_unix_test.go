//go:build unix

package filesink_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/sink/filesink"
)

func TestModeAndOwner(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	path := filepath.Join(t.TempDir(), "disk")
	me, other := os.Getuid(), 107
	for _, c := range []struct {
		name     string
		o        filesink.Options
		mode     os.FileMode
		uid, gid int
	}{
		{"as it comes", filesink.Options{}, 0o600, me, os.Getgid()},
		{"mode", filesink.Options{Force: true, Mode: 0o660}, 0o660, me, os.Getgid()},
		{"kept", filesink.Options{Force: true}, 0o660, me, os.Getgid()},
		{"own ID", filesink.Options{Force: true, UID: &me}, 0o660, me, os.Getgid()},
		{"given away", filesink.Options{Force: true, UID: &other, GID: &other, Mode: 0o640}, 0o640, other, other},
	} {
		t.Run(c.name, func(t *testing.T) {
			if me != 0 { // then it stays where it is, without an error
				c.uid, c.gid = me, os.Getgid()
			}
			s, err := filesink.New(path, c.o).Open(t.Context(), sink.Options{Size: 4096})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Commit(t.Context(), 4096); err != nil {
				t.Fatal(err)
			}
			fi, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			st := fi.Sys().(*syscall.Stat_t)
			if fi.Mode().Perm() != c.mode || int(st.Uid) != c.uid || int(st.Gid) != c.gid {
				t.Errorf("%o %d:%d", fi.Mode(), st.Uid, st.Gid)
			}
		})
	}
}

func TestClean(t *testing.T) {
	dir := t.TempDir()
	path, part := filepath.Join(dir, "disk"), filepath.Join(dir, ".disk.cdictl.part")
	other := filepath.Join(dir, "other")
	write := func(paths ...string) {
		t.Helper()
		for _, p := range paths {
			if err := os.WriteFile(p, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	clean := func(disk, want bool, left ...string) {
		t.Helper()
		found, err := filesink.New(path, filesink.Options{}).Clean(disk)
		if err != nil || found != want {
			t.Errorf("Clean(%v): %v, %v", disk, found, err)
		}
		entries, _ := os.ReadDir(dir)
		if len(entries) != len(left) {
			t.Errorf("left: %v, want %v", entries, left)
		}
	}
	clean(true, false)
	write(path, part, other)
	clean(false, true, path, other)
	clean(false, false, path, other)
	clean(true, true, other)
	if err := os.Symlink(other, path); err != nil {
		t.Fatal(err)
	}
	clean(true, true, other) // the link, not what it leads to
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	clean(true, false, path, other)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}

	s, err := filesink.New(path, filesink.Options{}).Open(t.Context(), sink.Options{Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := filesink.New(path, filesink.Options{}).Clean(true); !errors.Is(err, errdef.ErrBusy) {
		t.Errorf("while it is written: %v", err)
	}
}

func TestRoom(t *testing.T) {
	dir := t.TempDir()
	free, known, err := filesink.New(filepath.Join(dir, "disk"), filesink.Options{}).Room()
	if err != nil || known && free <= 0 {
		t.Errorf("%d, %v, %v", free, known, err)
	}
	for _, path := range []string{"", filepath.Join(dir, "none", "disk")} {
		if _, _, err := filesink.New(path, filesink.Options{}).Room(); !errors.Is(err, errdef.ErrUsage) {
			t.Errorf("%q: %v", path, err)
		}
	}
}
