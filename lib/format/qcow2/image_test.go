package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

// TestBacking reads an overlay over an overlay, the last one smaller, as qemu-img does.
func TestBacking(t *testing.T) {
	testimage.Require(t, "qemu-img", "qemu-io")
	dir := t.TempDir()
	run := func(tool string, args ...string) {
		t.Helper()
		if _, err := testimage.Run(t.Context(), tool, args...); err != nil {
			t.Fatal(err)
		}
	}
	base := testimage.Make(t, dir, testimage.Case{Name: "base", Size: 3<<20 + 512, Compress: true})
	for _, options := range []string{"cluster_size=64k", "cluster_size=4k", "extended_l2=on"} {
		t.Run(options, func(t *testing.T) {
			dir := t.TempDir()
			mid, top := filepath.Join(dir, "mid.qcow2"), filepath.Join(dir, "top.qcow2")
			run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", base, "-F", "qcow2", mid, "5M")
			run("qemu-io", "-t", "unsafe", "-c", "write -P 1 100k 10k", "-c", "write -z 1M 100k", "-c", "write -P 2 4M 64k", mid)
			run("qemu-img", "create", "-q", "-f", "qcow2", "-b", mid, "-F", "qcow2", top, "6M")
			run("qemu-io", "-t", "unsafe", "-c", "write -P 3 200k 3k", "-c", "write -z 1M 10k", "-c", "discard 4M 64k", top)
			raw := filepath.Join(dir, "raw")
			if err := testimage.Raw(t.Context(), top, raw); err != nil {
				t.Fatal(err)
			}
			closed := 0
			var open func(path string) (image.Image, error)
			open = func(path string) (image.Image, error) {
				f, size := openFile(t, path)
				img, err := Open(t.Context(), f, size, Options{Backing: func(name, format string) (image.Image, error) {
					if format != "qcow2" {
						t.Errorf("format %q of %s", format, name)
					}
					return open(name)
				}})
				return closer{img, &closed}, err
			}
			want, size := openFile(t, raw)
			formattest.Run(t, formattest.Suite{Open: func() (image.Image, error) { return open(top) }, Want: want, Size: size})

			img, err := open(top)
			if err != nil {
				t.Fatal(err)
			}
			before := closed
			if err := img.Close(); err != nil || closed != before+3 {
				t.Errorf("close: %v; closed %d images, want 3", err, closed-before)
			}
			f, stored := openFile(t, top)
			if _, err := Open(t.Context(), f, stored, Options{}); !errors.Is(err, errdef.ErrUnsupported) || errdef.Hint(err) == "" {
				t.Errorf("without Backing: %v", err)
			}
			info, err := Describe(t.Context(), f, stored, Options{})
			if err != nil || info.BackingFile != mid || info.BackingFormat != "qcow2" {
				t.Errorf("describe: %+v, %v", info, err)
			}
		})
	}
}

// closer counts closes. It hides that an image is a Mapper.
type closer struct {
	image.Image
	n *int
}

func (c closer) Close() error {
	*c.n++
	return c.Image.Close()
}

// TestSnapshotSize reads a snapshot in the size that the disk had then. (qemu-img gives it the size of today.)
func TestSnapshotSize(t *testing.T) {
	path := testimage.Make(t, t.TempDir(), testimage.Case{Name: "s", Size: 1 << 20, Life: [][]string{
		{"qemu-img", "snapshot", "-c", "small", "IMAGE"},
		{"qemu-img", "resize", "-q", "IMAGE", "3M"},
		{"qemu-io", "-c", "write -P 5 0 3M", "IMAGE"},
	}})
	img := openImage(t, path, Options{Snapshot: "small"})
	if img.Size() != 1<<20 {
		t.Fatalf("size is %d", img.Size())
	}
	raw := filepath.Join(t.TempDir(), "raw")
	if err := testimage.WriteRaw(raw, 1<<20, 1); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(img, 0, img.Size()))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("content differs, %v", err)
	}
}

// TestTruncated cuts images that qemu-img made: there is never a wrong byte, and never success once bytes are missing.
func TestTruncated(t *testing.T) {
	for _, name := range []string{"v3", "zlib", "zstd", "extended-l2", "cluster-512"} {
		t.Run(name, func(t *testing.T) {
			path := testimage.Make(t, t.TempDir(), testimage.Qcow2Case(name))
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			img := openImage(t, path, Options{})
			last, want := int64(0), make([]byte, img.Size())
			if _, err := img.ReadAt(want, 0); err != nil {
				t.Fatal(err)
			}
			for r, err := range img.(image.Mapper).Runs(0, img.Size()) {
				if err != nil {
					t.Fatal(err)
				}
				last = max(last, r.Stored) // of a packed run the end is not known to the byte
				if !r.Packed {
					last = max(last, r.StoredEnd()-1)
				}
			}
			for _, n := range []int64{last, last - 1, last - 511, last - 70_000, last / 2, last / 3, 66_000, 1000} {
				got := make([]byte, len(want))
				cut, err := Open(t.Context(), bytes.NewReader(b[:n]), n, Options{})
				done := 0
				if err == nil {
					done, err = cut.ReadAt(got, 0)
				}
				if !errors.Is(err, errdef.ErrCorrupt) {
					t.Errorf("%d of %d bytes: %v", n, len(b), err)
				}
				if !bytes.Equal(got[:done], want[:done]) {
					t.Errorf("%d of %d bytes: wrong content before the error", n, len(b))
				}
			}
		})
	}
}

// failing is a file that fails, or is shorter than was said, when told.
type failing struct {
	io.ReaderAt
	mu  sync.Mutex
	err error
	n   int
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	if f.err != nil {
		return 0, f.err
	}
	return f.ReaderAt.ReadAt(p, off)
}

func (f *failing) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// TestReadErrors passes a source's error through and does not remember it.
func TestReadErrors(t *testing.T) {
	c, want := craft(compressZlib)
	f := &failing{ReaderAt: bytes.NewReader(c)}
	img, err := Open(t.Context(), f, int64(len(c)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	f.set(errdef.ErrUnavailable)
	if _, err := img.ReadAt(got, 0); !errors.Is(err, errdef.ErrUnavailable) || errors.Is(err, errdef.ErrCorrupt) {
		t.Errorf("a failing source: %v", err)
	}
	if _, err := img.NextExtent(0, 1); !errors.Is(err, errdef.ErrUnavailable) {
		t.Errorf("a failing source: %v", err)
	}
	f.set(io.EOF)
	if _, err := img.ReadAt(got, 0); !errors.Is(err, errdef.ErrChanged) {
		t.Errorf("a source that became shorter: %v", err)
	}
	f.set(nil)
	if _, err := img.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("after an error: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, f, int64(len(c)), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if _, err := Open(t.Context(), f, -1, Options{}); !errors.Is(err, errdef.ErrUsage) {
		t.Errorf("size unknown: %v", err)
	}
}

// manyTables is an image with clusters of 512 bytes and tables behind each other: n L2 tables that each map their
// first cluster, guest cluster 64*i, to the cluster with byte i.
func manyTables(n int) crafted {
	const cluster = 512
	l1Clusters := (n*8 + cluster - 1) / cluster
	l2 := (3 + l1Clusters) * cluster
	data := l2 + n*cluster
	c := make(crafted, data+n*cluster)
	copy(c, Magic)
	c.U32(4, 3).U32(20, 9).U64(24, uint64(n*64*cluster)).U32(36, uint32(n)).U64(40, 3*cluster).U64(48, cluster).U32(56, 1)
	c.U32(96, 4).U32(100, 104)
	for i := range n {
		c.U64(3*cluster+8*i, uint64(l2+i*cluster))
		c.U64(l2+i*cluster, uint64(data+i*cluster))
		binary.LittleEndian.PutUint32(c[data+i*cluster:], uint32(i+1))
	}
	return c
}

// TestManyTables reads more tables than the cache holds, in order, backwards and from many goroutines, and counts reads.
func TestManyTables(t *testing.T) {
	const n = 5000
	c := manyTables(n)
	f := &failing{ReaderAt: bytes.NewReader(c)}
	img, err := Open(t.Context(), f, int64(len(c)), Options{Limits: limits.Limits{Metadata: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	check := func(i int) {
		var b [4]byte
		if _, err := img.ReadAt(b[:], int64(i)*64*512); err != nil || binary.LittleEndian.Uint32(b[:]) != uint32(i+1) {
			t.Errorf("cluster %d: %x, %v", i, b, err)
		}
	}
	f.n = 0
	x := 0
	for off := int64(0); off < img.Size(); x++ {
		e, err := image.Next(img, off, math.MaxInt64)
		if err != nil {
			t.Fatal(err)
		}
		off = e.End()
	}
	if x != 2*n || f.n > n/60+2 {
		t.Errorf("%d extents with %d reads", x, f.n)
	}
	for i := n - 1; i >= 0; i-- {
		check(i)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range n {
				check((i*7919 + g*13) % n)
			}
		})
	}
	wg.Wait()
}

// TestAheadFails reads tables ahead into what cannot be read: only who needs it sees the error.
func TestAheadFails(t *testing.T) {
	const n, broken = 400, 350 // behind what is read for the header
	c := manyTables(n)
	l2 := int64(binary.BigEndian.Uint64(c[3*512:]))
	bad := &badRange{bytes.NewReader(c), l2 + 512*broken, l2 + 512*(broken+1)}
	img, err := Open(t.Context(), bad, int64(len(c)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		_, err := img.NextExtent(int64(i)*64*512, 512)
		if (err != nil) != (i == broken) {
			t.Errorf("table %d: %v", i, err)
		}
	}
}

// badRange cannot be read between two offsets.
type badRange struct {
	io.ReaderAt
	start, end int64
}

func (b *badRange) ReadAt(p []byte, off int64) (int, error) {
	if off < b.end && off+int64(len(p)) > b.start {
		return 0, errdef.ErrUnavailable
	}
	return b.ReaderAt.ReadAt(p, off)
}
