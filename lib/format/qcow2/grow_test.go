package qcow2

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

// TestGrow grows images of every sort, within their L1 table and beyond it, and has qemu-img check them and compare them
// with what its own resize makes.
func TestGrow(t *testing.T) {
	testimage.Require(t, "qemu-img", "qemu-io")
	for _, c := range []testimage.Case{
		{Name: "plain"},
		{Name: "odd", Size: 3<<20 + 512*3},
		{Name: "zlib", Compress: true},
		{Name: "small", Options: "cluster_size=512"},
		{Name: "small-refcounts-1", Options: "cluster_size=512,refcount_bits=1"},
		{Name: "refcounts-4", Options: "cluster_size=4k,refcount_bits=4"},
		{Name: "refcounts-64", Options: "cluster_size=512,refcount_bits=64"},
		{Name: "v2", Options: "compat=0.10,cluster_size=4k"},
		{Name: "extended", Options: "extended_l2=on,cluster_size=16k"},
		{Name: "snapshot", Options: "cluster_size=4k", Life: [][]string{{"qemu-img", "snapshot", "-c", "one", testimage.ImagePath}}},
		{Name: "shrunk", Options: "cluster_size=4k", Life: [][]string{{"qemu-img", "resize", "-q", "--shrink", testimage.ImagePath, "1M"}}},
		{Name: "empty", Options: "cluster_size=4k", Blank: true},
	} {
		for _, by := range []int64{512, 1 << 20, 3 << 30, 100 << 30} {
			if testing.Short() && by != 1<<20 || by > 10<<30 && strings.HasPrefix(c.Name, "small") || by > 10<<30 && c.Name == "refcounts-64" {
				continue // more than such clusters can have
			}
			t.Run(fmt.Sprintf("%s/%d", c.Name, by), func(t *testing.T) {
				dir := t.TempDir()
				if c.Size == 0 {
					c.Size = 3 << 20
				}
				path := testimage.Make(t, dir, c)
				theirs := filepath.Join(dir, "theirs")
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(theirs, b, 0o600); err != nil {
					t.Fatal(err)
				}
				run := func(args ...string) {
					t.Helper()
					if _, err := testimage.Run(t.Context(), "qemu-img", args...); err != nil {
						t.Fatal(err)
					}
				}
				run("resize", "-q", theirs, fmt.Sprintf("+%d", by))
				info, err := Describe(t.Context(), readerAt(t, theirs), -1, Options{})
				if err != nil {
					t.Fatal(err)
				}
				f, err := os.OpenFile(path, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				fi, err := f.Stat()
				if err != nil {
					t.Fatal(err)
				}
				if err := Grow(t.Context(), f, fi.Size(), info.VirtualSize, limits.Limits{}); err != nil {
					t.Fatal(err)
				}
				run("check", "-q", path)
				run("compare", "-q", path, theirs)
				got := openImage(t, path, Options{})
				if got.Size() != info.VirtualSize {
					t.Errorf("size is %d, want %d", got.Size(), info.VirtualSize)
				}
				// It can be written to its end, and a snapshot goes back.
				if _, err := testimage.Run(t.Context(), "qemu-io", "-f", "qcow2", "-c", fmt.Sprintf("write -P 9 %d 512", got.Size()-512), path); err != nil {
					t.Fatal(err)
				}
				if c.Name == "snapshot" && by < 1<<30 { // it takes qemu-img minutes to shrink a large one
					run("snapshot", "-a", "one", path)
				}
				run("check", "-q", path)
			})
		}
	}
}

func readerAt(t *testing.T, path string) *os.File {
	f, _ := openFile(t, path)
	return f
}

// TestGrowShort grows an image whose last cluster is stored only as far as the disk reaches.
func TestGrowShort(t *testing.T) {
	testimage.Require(t, "qemu-img")
	b, disk := craft(compressZlib)
	path := filepath.Join(t.TempDir(), "x.qcow2")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Grow(t.Context(), f, int64(len(b)), craftSize+512, limits.Limits{}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, craftSize+512)
	if _, err := openImage(t, path, Options{}).ReadAt(got, 0); err != nil || string(got) != string(disk)+string(make([]byte, 512)) {
		t.Errorf("the disk is not what it was, with zeros: %v", err)
	}
}

// stopped fails all writes from the nth on, as a machine does that stops.
type stopped struct {
	*os.File
	left int
}

var errStopped = errors.New("stopped")

func (s *stopped) WriteAt(p []byte, off int64) (int, error) {
	if s.left--; s.left < 0 {
		return 0, errStopped
	}
	return s.File.WriteAt(p, off)
}

// TestGrowStopped stops at each write: the image is whole, in the old size or the new one, and leaks at most.
func TestGrowStopped(t *testing.T) {
	testimage.Require(t, "qemu-img")
	dir := t.TempDir()
	path := testimage.Make(t, dir, testimage.Case{Name: "c", Size: 3 << 20, Options: "cluster_size=512"})
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := testimage.RawDigest(t, path)
	const size = 1 << 30
	for n := 0; ; n++ {
		if err := os.WriteFile(path, before, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = Grow(t.Context(), &stopped{f, n}, int64(len(before)), size, limits.Limits{})
		f.Close()
		if err == nil {
			if n < 5 {
				t.Errorf("only %d writes", n)
			}
			return
		}
		if !errors.Is(err, errStopped) {
			t.Fatalf("after %d writes: %v", n, err)
		}
		img := openImage(t, path, Options{})
		if img.Size() != 3<<20 && img.Size() != size {
			t.Errorf("after %d writes the size is %d", n, img.Size())
		}
		if n%5 == 0 || n < 8 { // it takes its time
			if out, err := testimage.Run(t.Context(), "qemu-img", "check", "-q", "-r", "leaks", path); err != nil {
				t.Errorf("after %d writes: %v %s", n, err, out)
			}
			if img.Size() == 3<<20 {
				if got := testimage.RawDigest(t, path); got != want {
					t.Errorf("after %d writes the content is another", n)
				}
			}
		}
	}
}

func TestGrowRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		lie  func(c crafted) crafted
		size int64
		want error
	}{
		"smaller":                {func(c crafted) crafted { return c }, craftSize - 512, errdef.ErrUsage},
		"odd":                    {func(c crafted) crafted { return c }, craftSize + 100, errdef.ErrUsage},
		"limit":                  {func(c crafted) crafted { return c }, 1 << 50, errdef.ErrLimit},
		"dirty":                  {func(c crafted) crafted { return c.U64(72, bitDirty) }, craftSize + 512, errdef.ErrUnsupported},
		"backing":                {func(c crafted) crafted { copy(c[512:], "/etc/passwd"); return c.U64(8, 512).U32(16, 11) }, craftSize + 512, errdef.ErrUnsupported},
		"L1 past the end":        {func(c crafted) crafted { return c.U64(24, 0).U64(40, 1<<40) }, craftSize + 512, errdef.ErrCorrupt},
		"L1 at 2^64-4096":        {func(c crafted) crafted { return c.U64(24, 0).U64(40, 1<<64-craftCluster) }, craftSize + 512, errdef.ErrCorrupt},
		"refcounts are data":     {func(c crafted) crafted { return c.U64(atRefTable, atData) }, 1 << 30, errdef.ErrCorrupt},
		"refcounts past the end": {func(c crafted) crafted { return c.U32(56, 9) }, craftSize + 512, errdef.ErrCorrupt},
		"refcounts at the end":   {func(c crafted) crafted { return c.U64(atRefTable+8, craftEnd+craftCluster) }, craftSize + 512, errdef.ErrCorrupt},
		"refcount":               {func(c crafted) crafted { return c.U64(atRefTable, 77) }, craftSize + 512, errdef.ErrCorrupt},
		"garbage":                {func(c crafted) crafted { return c.L2(8, copiedBit|atData) }, craftSize + 512, errdef.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := craft(compressZlib)
			b = c.lie(b)
			path := filepath.Join(t.TempDir(), "x")
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := Grow(t.Context(), f, int64(len(b)), c.size, limits.Limits{}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(b) {
				t.Errorf("the image was changed, %v", err)
			}
		})
	}
}
