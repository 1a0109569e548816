package blocksink

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/sink"
)

func TestSeal(t *testing.T) {
	s := newStamp(4<<20, 512, -1)
	b, err := s.seal([]byte("con"), []byte("tent\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, content, err := unseal(b)
	if err != nil || got != s || string(content) != "content\n" {
		t.Errorf("%+v, %q, %v", got, content, err)
	}
	for i := range b { // every bit of it counts
		bad := bytes.Clone(b)
		bad[i] ^= 1 << (i % 8)
		if _, _, err := unseal(bad); !errors.Is(err, errdef.ErrCorrupt) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, _, err := unseal(b[:i]); !errors.Is(err, errdef.ErrCorrupt) {
			t.Fatalf("cut to %d: %v", i, err)
		}
	}
	for name, bad := range map[string]stamp{
		"token":  {"00", 4 << 20, 512, -1},
		"small":  {s.Token, heldBytes, 512, -1},
		"sector": {s.Token, 4 << 20, 1 << 40, -1},
		"disk":   {s.Token, 4 << 20, 512, 5 << 20},
	} {
		if b, err = bad.seal(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := unseal(b); !errors.Is(err, errdef.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStateFolder: it is this user's alone, and its files tell of the device and not where it lies.
func TestStateFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "state")
	n := notesIn(dir, "/dev/disk/by-id/of a friend")
	if err := n.record.Save([]byte("x")); err != nil {
		t.Fatal(err)
	}
	found, err := os.ReadDir(dir)
	if err != nil || len(found) != 1 || !strings.HasPrefix(found[0].Name(), "of_a_friend-") {
		t.Fatalf("%v, %v", found, err)
	}
	fi, err := os.Stat(dir)
	if err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if other := notesIn(dir, "/dev/mapper/of a friend"); other.record.(file).Path() == n.record.(file).Path() {
		t.Error("two devices with one record")
	}
	if runtime.GOOS != "linux" {
		return
	}
	if b, err := n.record.Load(); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
	path := n.ends.(file).Path()
	if err := os.Symlink(n.record.(file).Path(), path); err != nil {
		t.Fatal(err)
	}
	if _, err := n.ends.Load(); !errors.Is(err, errdef.ErrRefused) {
		t.Errorf("a link: %v", err)
	}
	if os.Geteuid() == 0 {
		if err := errors.Join(os.Remove(path), n.ends.Save([]byte("y")), os.Chown(path, 12345, -1)); err != nil {
			t.Fatal(err)
		}
		if _, err := n.ends.Load(); !errors.Is(err, errdef.ErrRefused) {
			t.Errorf("another's: %v", err)
		}
	}
}

// interrupted is a world in which an import was interrupted after a record was saved.
func interrupted(t *testing.T) *world {
	t.Helper()
	w := newWorld(make([]byte, 4<<20), 512, nil, nil, "")
	target := &Target{path: "mem", notes: &notes{record: &w.record, ends: &w.ends}}
	d, err := target.take(w, 4<<20, 512, sink.Options{Size: 3 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt(diskOf(3<<20), 0); err != nil {
		t.Fatal(err)
	}
	var rec journal.Record
	rec.Done.Add(0, 2<<20)
	b, err := rec.Encode()
	if err == nil {
		err = errors.Join(d.Sync(t.Context()), recorder{target}.Save(b))
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestOnlyTheVeryDevice: what an interrupted import left is gone on with only where it is certain.
func TestOnlyTheVeryDevice(t *testing.T) {
	other := interrupted(t)
	for name, tt := range map[string]struct {
		change func(w *world)
		size   int64
		want   error
	}{
		"as it was":                {func(*world) {}, 3 << 20, nil},
		"another disk of the size": {func(w *world) { w.now = other.now }, 3 << 20, fs.ErrNotExist},
		"another size":             {func(w *world) { w.now = append(w.now, make([]byte, 512)...) }, 3 << 20, fs.ErrNotExist},
		"wiped":                    {func(w *world) { clear(w.now) }, 3 << 20, fs.ErrNotExist},
		"a filesystem since":       {func(w *world) { copy(w.now[1080:], "\x53\xef") }, 3 << 20, fs.ErrNotExist},
		"a table at the end since": {func(w *world) { copy(w.now[4<<20-512:], "EFI PART") }, 3 << 20, fs.ErrNotExist},
		"another disk's record":    {func(w *world) { w.record.now = other.record.now }, 3 << 20, fs.ErrNotExist},
		"another disk's ends":      {func(w *world) { w.ends.now = other.ends.now }, 3 << 20, fs.ErrNotExist},
		"no ends":                  {func(w *world) { w.ends.now = nil }, 3 << 20, fs.ErrNotExist},
		"no record":                {func(w *world) { w.record.now = nil }, 3 << 20, fs.ErrNotExist},
		"opened for another disk":  {func(*world) {}, 3<<20 - 512, fs.ErrNotExist},
		"Commit had begun":         {func(w *world) { copy(w.now[2<<20:], diskOf(3 << 20)[2<<20:]) }, 3 << 20, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := interrupted(t)
			tt.change(w)
			before := bytes.Clone(w.now)
			target := &Target{path: "mem", notes: &notes{record: &w.record, ends: &w.ends}}
			d, err := target.take(w, int64(len(w.now)), 512, sink.Options{Size: tt.size, Mode: sink.Resume})
			if !errors.Is(err, tt.want) {
				t.Fatalf("%v, want %v", err, tt.want)
			}
			if err != nil {
				if !bytes.Equal(before, w.now) {
					t.Error("the device was touched")
				}
				return
			}
			if _, err := d.WriteAt(diskOf(3 << 20)[2<<20:], 2<<20); err != nil {
				t.Fatal(err)
			}
			if err := d.Commit(t.Context(), 3<<20); err != nil {
				t.Fatal(err)
			}
			if want := append(diskOf(3<<20), make([]byte, 1<<20)...); !bytes.Equal(w.durable, want) {
				t.Error("another disk")
			}
		})
	}
}

// FuzzNotes gives Open a record and ends with the right sums, so that what they say is looked at.
func FuzzNotes(f *testing.F) {
	var x journal.Extents
	x.Add(1000, 1<<20)
	x.Add(2<<20, 100)
	b, err := x.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, []byte("ends"), int64(3<<20))
	f.Fuzz(func(t *testing.T, done, ends []byte, size int64) {
		const device = 4 << 20
		w := newWorld(make([]byte, device), 512, nil, nil, "")
		s := newStamp(device, 512, min(max(size, -1), device))
		var x journal.Extents
		if x.UnmarshalBinary(done) != nil {
			return
		}
		content, err := (&journal.Record{Done: x}).Encode()
		if err != nil {
			return
		}
		total := 0
		for _, r := range hold(device, s.Disk, 512) {
			total += len(r.data)
		}
		if len(ends)%2 == 0 {
			ends = append(ends, make([]byte, max(0, total-len(ends)))...)
		}
		r, err1 := s.seal(content)
		e, err2 := s.seal(ends)
		if errors.Join(err1, err2) != nil {
			t.Fatal(err1, err2)
		}
		w.record.now, w.ends.now = r, e
		off, _ := markAt(device, 512)
		copy(w.now[off:], s.mark())
		target := &Target{path: "mem", notes: &notes{record: &w.record, ends: &w.ends}}
		d, err := target.take(w, device, 512, sink.Options{Size: s.Disk, Mode: sink.Resume})
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			return
		}
		if err := d.Commit(t.Context(), max(0, s.Disk)); err != nil {
			t.Error(err)
		}
	})
}
