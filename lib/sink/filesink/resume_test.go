package filesink_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/sink/filesink"
)

const resumed = 3 << 20

// interrupted leaves a part of n bytes, of which the second mebibyte is data, with a record.
func interrupted(t *testing.T, target *filesink.Target, size int64) {
	t.Helper()
	s, err := target.Open(t.Context(), sink.Options{Size: size})
	if err != nil {
		t.Fatal(err)
	}
	k := s.(sink.Keeper)
	if _, err := k.WriteAt(bytes.Repeat([]byte{7}, 1<<20), 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := k.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	j, err := target.Journal()
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Save([]byte("one mebibyte")); err != nil {
		t.Fatal(err)
	}
	k.Keep(true)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestResume(t *testing.T) {
	for _, size := range []int64{resumed, -1} {
		dir := t.TempDir()
		target := filesink.New(filepath.Join(dir, "disk"), filesink.Options{})
		interrupted(t, target, size)
		if got := names(t, dir); len(got) != 2 {
			t.Fatalf("kept: %q", got)
		}
		s, err := target.Open(t.Context(), sink.Options{Size: size, Mode: sink.Resume})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := target.Open(t.Context(), sink.Options{Size: size, Mode: sink.Resume}); !errors.Is(err, errdef.ErrBusy) {
			t.Errorf("a second writer: %v", err)
		}
		j, _ := target.Journal()
		if b, err := j.Load(); err != nil || string(b) != "one mebibyte" {
			t.Errorf("record %q, %v", b, err)
		}
		// Of what was written a half is zeroed, and something is added.
		if err := s.Zero(1<<20, 1<<19); err != nil {
			t.Fatal(err)
		}
		if _, err := s.WriteAt([]byte("new"), 5); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), resumed); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		want := make([]byte, resumed)
		copy(want[5:], "new")
		copy(want[3<<19:], bytes.Repeat([]byte{7}, 1<<19))
		if got, err := os.ReadFile(filepath.Join(dir, "disk")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("size %d: another disk, %v", size, err)
		}
		if got := names(t, dir); len(got) != 1 {
			t.Errorf("left: %q", got)
		}
	}
}

// TestResumeNot: what is no part to go on with is fs.ErrNotExist, and stays.
func TestResumeNot(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, part string)
	}{
		{"none", func(t *testing.T, part string) { must(t, os.Remove(part)) }},
		{"empty", func(t *testing.T, part string) { must(t, os.Truncate(part, 0)) }},
		{"of another size", func(t *testing.T, part string) { must(t, os.Truncate(part, resumed-1)) }},
		{"with another name", func(t *testing.T, part string) { must(t, os.Link(part, part+"2")) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			target := filesink.New(filepath.Join(dir, "disk"), filesink.Options{})
			interrupted(t, target, resumed)
			c.spoil(t, filepath.Join(dir, ".disk.cdictl.part"))
			before := names(t, dir)
			if _, err := target.Open(t.Context(), sink.Options{Size: resumed, Mode: sink.Resume}); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v", err)
			}
			if after := names(t, dir); len(after) != len(before) {
				t.Errorf("%q became %q", before, after)
			}
		})
	}
}

// TestRecordGoesWithPart: no part ever meets the record of another.
func TestRecordGoesWithPart(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "disk")
	target := filesink.New(path, filesink.Options{})
	j, err := target.Journal()
	must(t, err)
	gone := func(what string) {
		t.Helper()
		if b, err := j.Load(); b != nil || err != nil {
			t.Errorf("%s: record %q, %v", what, b, err)
		}
	}
	interrupted(t, target, resumed)
	s, err := target.Open(t.Context(), sink.Options{Size: resumed})
	must(t, err)
	gone("a new part")
	must(t, j.Save([]byte("x")))
	must(t, s.Close())
	gone("dropped")

	interrupted(t, target, resumed)
	if found, err := target.Clean(false); !found || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	gone("cleaned")

	interrupted(t, target, resumed) // killed after the rename
	must(t, os.Rename(filepath.Join(dir, ".disk.cdictl.part"), path))
	if _, err := target.Open(t.Context(), sink.Options{Size: resumed}); !errors.Is(err, errdef.ErrExists) {
		t.Error(err)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left: %q", got)
	}
}

// TestForeignRecord: in a folder of many users nobody else says what is done.
func TestForeignRecord(t *testing.T) {
	dir := t.TempDir()
	target := filesink.New(filepath.Join(dir, "disk"), filesink.Options{})
	j, err := target.Journal()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "elsewhere"), []byte("x"), 0o600))
	must(t, os.Symlink("elsewhere", filepath.Join(dir, ".disk.cdictl.journal")))
	if b, err := j.Load(); b != nil || !errors.Is(err, errdef.ErrRefused) {
		t.Errorf("%q, %v", b, err)
	}
	must(t, os.Symlink("elsewhere", filepath.Join(dir, ".disk.cdictl.journal.new")))
	must(t, j.Save([]byte("y")))
	if b, _ := os.ReadFile(filepath.Join(dir, "elsewhere")); string(b) != "x" {
		t.Errorf("wrote %q through a link", b)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
