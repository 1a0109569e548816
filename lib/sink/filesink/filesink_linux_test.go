package filesink

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/sink/sinktest"
)

const sparseHere = true

func allocatedBytes(path string) (int64, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return st.Blocks * 512, err
}

// TestConformanceDirect writes every whole page direct, so that direct and cached writes meet on neighbouring pages all
// the time.
func TestConformanceDirect(t *testing.T) {
	s, err := New(filepath.Join(t.TempDir(), "probe"), Options{Direct: DirectOn}).Open(t.Context(), sink.Options{Size: 1})
	if errors.Is(err, errdef.ErrUnsupported) {
		t.Skipf("the temporary folder cannot: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	sinktest.Run(t, sinktest.Factory{
		New:    func(t *testing.T) sinktest.Place { return place(t.TempDir(), Options{Direct: DirectOn}) },
		Sparse: true, Preallocate: true,
	})
}

// TestPace writes through the cache, and by either way of pacing never has more than a round that nobody sends off.
func TestPace(t *testing.T) {
	for _, whole := range []bool{false, true} {
		s, err := New(filepath.Join(t.TempDir(), "disk"), Options{Direct: DirectOff}).Open(t.Context(), sink.Options{Size: 80 << 20})
		if err != nil {
			t.Fatal(err)
		}
		d, ok := s.(*disk)
		if !ok {
			t.Skip("the temporary folder has no locks")
		}
		d.pace.whole.Store(whole)
		p := make([]byte, 1<<20)
		rounds, before := 0, int64(0)
		for off := int64(0); off < 80<<20; off += 1 << 20 {
			if _, err := d.WriteAt(p, off); err != nil {
				t.Fatal(err)
			}
			waiting := d.pace.acc.Load()
			if waiting < before {
				rounds++
			}
			before = waiting
			if waiting >= d.pace.round() {
				t.Fatalf("%d bytes wait, a round is %d", waiting, d.pace.round())
			}
		}
		if want := int(80 << 20 / d.pace.round()); rounds != want || d.pace.whole.Load() && !whole {
			t.Errorf("flushing %v: %d rounds, want %d", whole, rounds, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestConformanceMemory runs where there are no direct writes and no ranges to zero.
func TestConformanceMemory(t *testing.T) {
	const shm = "/dev/shm"
	var sfs unix.Statfs_t
	if err := unix.Statfs(shm, &sfs); err != nil || sfs.Type != unix.TMPFS_MAGIC {
		t.Skip("no tmpfs at " + shm)
	}
	dir := func(t *testing.T) string {
		d, err := os.MkdirTemp(shm, "filesink")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(d) })
		return d
	}
	sinktest.Run(t, sinktest.Factory{
		New:    func(t *testing.T) sinktest.Place { return place(dir(t), Options{}) },
		Sparse: true, Preallocate: true,
	})
	_, err := New(filepath.Join(dir(t), "x"), Options{Direct: DirectOn}).Open(t.Context(), sink.Options{Size: 1})
	if !errors.Is(err, errdef.ErrUnsupported) {
		t.Errorf("DirectOn on tmpfs: %v, want ErrUnsupported", err)
	}
}

// TestStalePart: what a killed writer left is not believed, whatever it is.
func TestStalePart(t *testing.T) {
	p := place(t.TempDir(), Options{})
	part := partPath(p.Target.String())
	if err := os.WriteFile(part, []byte(strings.Repeat("old", 100_000)), 0o444); err != nil {
		t.Fatal(err)
	}
	s, err := p.Target.Open(t.Context(), sink.Options{Size: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Commit(t.Context(), 100_000); err != nil {
		t.Fatal(err)
	}
	got, err := p.Read()
	if err != nil || strings.Trim(string(got), "\x00") != "" || len(got) != 100_000 {
		t.Errorf("%d bytes, %v: want zeros", len(got), err)
	}
	fresh := filepath.Join(t.TempDir(), "fresh")
	if err := os.WriteFile(fresh, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	a, _ := os.Stat(fresh)
	if b, _ := os.Stat(p.Target.String()); b.Mode() != a.Mode() {
		t.Errorf("mode %v, want %v as for any new file", b.Mode(), a.Mode())
	}
}

func TestPartInTheWay(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := New(filepath.Join(dir, "disk.img"), Options{Force: true})
	if err := os.Symlink(victim, partPath(p.String())); err != nil {
		t.Fatal(err)
	}
	if s, err := p.Open(t.Context(), sink.Options{Size: 1}); !errors.Is(err, errdef.ErrExists) || errdef.Hint(err) == "" {
		t.Errorf("Open with a symlink as part: %v, want ErrExists with a hint", err)
		if err == nil {
			_ = s.Close()
		}
	}
	// A hard link gets another file under its name; the first is let alone.
	if err := errors.Join(os.Remove(partPath(p.String())), os.Link(victim, partPath(p.String()))); err != nil {
		t.Fatal(err)
	}
	s, err := p.Open(t.Context(), sink.Options{Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if b, err := os.ReadFile(victim); string(b) != "precious" {
		t.Errorf("the other file has %q now (%v)", b, err)
	}
}

func TestSymlink(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	file, link := filepath.Join(elsewhere, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, []byte("old"), 0o640), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	if _, err := New(link, Options{}).Open(t.Context(), sink.Options{Size: 1}); !errors.Is(err, errdef.ErrExists) {
		t.Errorf("Open of a link: %v, want ErrExists", err)
	}
	s, err := New(link, Options{Force: true}).Open(t.Context(), sink.Options{Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.WriteAt([]byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Lstat(file)
	if b, _ := os.ReadFile(file); err != nil || string(b) != "new" || fi.Mode().Perm() != 0o640 {
		t.Errorf("the file behind the link: %q, %v, %v", b, fi.Mode(), err)
	}
	if fi, err := os.Lstat(link); err != nil || fi.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link: %v, %v", fi.Mode(), err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := New(link, Options{Force: true}).Open(t.Context(), sink.Options{Size: 3}); !errors.Is(err, errdef.ErrUsage) {
		t.Errorf("Open of a dangling link: %v, want ErrUsage", err)
	}
	for _, path := range []string{"/dev/null", "/dev/full"} {
		if _, err := New(path, Options{Force: true}).Open(t.Context(), sink.Options{Size: 3}); !errors.Is(err, errdef.ErrUnsupported) || errdef.Hint(err) == "" {
			t.Errorf("Open %s: %v, want ErrUnsupported with a hint", path, err)
		}
	}
}

// smallFS mounts a new filesystem of mib MiB, or skips.
func smallFS(t *testing.T, mib int64, fs string, options ...string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	img, dir := filepath.Join(t.TempDir(), "fs"), t.TempDir()
	if err := errors.Join(os.WriteFile(img, nil, 0o600), os.Truncate(img, mib<<20)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs."+fs, append(options, img)...).CombinedOutput(); err != nil {
		if os.Getenv("CDICTL_REQUIRE_TOOLS") == "1" && errors.Is(err, exec.ErrNotFound) {
			t.Fatal(err)
		}
		t.Skipf("mkfs.%s: %v %s", fs, err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", img, dir).CombinedOutput(); err != nil {
		t.Skipf("no loop mounts here: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return dir
}

func TestNoSpace(t *testing.T) {
	dir := smallFS(t, 16, "ext4", "-q", "-m", "0", "-O", "^has_journal")
	fill := func(t *testing.T, o Options, so sink.Options) error {
		s, err := New(filepath.Join(dir, "disk.img"), o).Open(t.Context(), so)
		if err != nil {
			return err
		}
		defer s.Close()
		p := make([]byte, 1<<20)
		p[0] = 1
		for off := int64(0); off < 64<<20; off += 1 << 20 {
			if _, err := s.WriteAt(p, off); err != nil {
				return err
			}
		}
		return s.Commit(t.Context(), 64<<20)
	}
	for name, tt := range map[string]struct {
		o    Options
		s    sink.Options
		want error
	}{
		"direct":              {Options{Direct: DirectOn}, sink.Options{Size: 64 << 20}, errdef.ErrNoSpace},
		"cached":              {Options{Direct: DirectOff}, sink.Options{Size: 64 << 20}, errdef.ErrNoSpace},
		"size unknown":        {Options{}, sink.Options{Size: -1}, errdef.ErrNoSpace},
		"preallocated":        {Options{}, sink.Options{Size: 64 << 20, Preallocate: true}, errdef.ErrNoSpace},
		"too big for a file":  {Options{}, sink.Options{Size: 1 << 60}, errdef.ErrTooSmall},
		"too big, no storage": {Options{}, sink.Options{Size: 1 << 60, Preallocate: true}, errdef.ErrTooSmall},
	} {
		t.Run(name, func(t *testing.T) {
			err := fill(t, tt.o, tt.s)
			if !errors.Is(err, tt.want) || errdef.ExitCode(err) != 14 || errdef.Hint(err) == "" {
				t.Errorf("%v (exit %d, hint %q), want %v, exit 14 and a hint", err, errdef.ExitCode(err), errdef.Hint(err), tt.want)
			}
			t.Log(err)
			es, _ := os.ReadDir(dir)
			for _, e := range es {
				if e.Name() != "lost+found" {
					t.Errorf("left behind: %s", e.Name())
				}
			}
		})
	}
	// What a killed writer left does not count as used.
	if err := os.WriteFile(partPath(filepath.Join(dir, "disk.img")), make([]byte, 10<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := New(filepath.Join(dir, "disk.img"), Options{}).Open(t.Context(), sink.Options{Size: 10 << 20, Preallocate: true})
	if err != nil {
		t.Fatalf("Open over a stale part: %v", err)
	}
	_ = s.Close()
}

// TestWithoutFallocate: ext2-like mapping and FAT cannot fallocate, FAT has no holes and no hard links either.
func TestWithoutFallocate(t *testing.T) {
	for name, mk := range map[string][]string{"ext3": {"-q"}, "vfat": nil} {
		t.Run(name, func(t *testing.T) {
			root := smallFS(t, 128, name, mk...)
			sinktest.Run(t, sinktest.Factory{
				New: func(t *testing.T) sinktest.Place {
					dir, err := os.MkdirTemp(root, "d")
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = os.RemoveAll(dir) })
					return place(dir, Options{})
				},
				Preallocate: true,
			})
		})
	}
}

func TestCancelWhileAllocating(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := newDisk(New(f.Name(), Options{}), f, f.Name(), f.Name(), sink.Options{Size: 1 << 30, Preallocate: true})
	if err := d.allocate(ctx, 1<<30); !errors.Is(err, context.Canceled) {
		t.Errorf("allocate: %v", err)
	}
}
