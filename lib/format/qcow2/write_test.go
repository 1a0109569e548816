package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

// inOrder is an io.WriterAt that is written from its start to its end.
type inOrder struct {
	t   *testing.T
	all []byte
}

func (w *inOrder) WriteAt(p []byte, off int64) (int, error) {
	if off != int64(len(w.all)) {
		w.t.Errorf("write at %d, want %d", off, len(w.all))
	}
	w.all = append(w.all, p...)
	return len(p), nil
}

// TestWrite writes disks in every way, has qemu-img check and compare them, and reads them by every reader of ours.
func TestWrite(t *testing.T) {
	testimage.Require(t, "qemu-img")
	dir := t.TempDir()
	for _, size := range []int64{0, 512, 3<<20 + 512*5, 40<<20 + 512} {
		raw := filepath.Join(dir, fmt.Sprintf("%d.raw", size))
		if err := testimage.WriteRaw(raw, size, uint64(size)); err != nil {
			t.Fatal(err)
		}
		from := filepath.Join(dir, "from.qcow2") // it has extents
		if _, err := testimage.Run(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, from); err != nil {
			t.Fatal(err)
		}
		img := openImage(t, from, Options{})
		for _, o := range []WriteOptions{
			{}, {Compression: "zlib"}, {Compression: "zstd"},
			{ClusterSize: 512}, {ClusterSize: 512, Compression: "zlib"}, {ClusterSize: 4096, Compression: "zstd"},
			{ClusterSize: 2 << 20}, {ClusterSize: 2 << 20, Compression: "zlib"},
		} {
			if o.ClusterSize == 512 && size > 10<<20 || testing.Short() && (size == 512 || size > 10<<20 || o.ClusterSize == 512 && o.Compression != "") {
				continue
			}
			t.Run(fmt.Sprintf("%d/%d/%s", size, o.ClusterSize, o.Compression), func(t *testing.T) {
				path := filepath.Join(dir, "out.qcow2")
				f, err := os.Create(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				var done atomic.Int64
				one := o
				one.Workers, one.Done = 1, func(n int64) { done.Add(n) }
				n, err := Write(t.Context(), f, img, one)
				if err != nil {
					t.Fatal(err)
				}
				if fi, err := f.Stat(); err != nil || fi.Size() != n || done.Load() != size {
					t.Errorf("%d bytes of %v written, %d of the disk done, %v", n, fi.Size(), done.Load(), err)
				}
				for _, args := range [][]string{{"check", "-q", "-f", "qcow2", path}, {"compare", "-q", "-s", "-f", "raw", "-F", "qcow2", raw, path}} {
					if args[0] == "compare" {
						args = append(args[:2], args[3:]...) // -s would compare what is allocated
					}
					if out, err := testimage.Run(t.Context(), "qemu-img", args...); err != nil {
						t.Fatalf("qemu-img %v: %v %s", args, err, out)
					}
				}
				ordered, w := o, &inOrder{t: t}
				ordered.Workers, ordered.Ordered = 8, true
				if _, err := Write(t.Context(), w, img, ordered); err != nil {
					t.Fatal(err)
				}
				b, err := os.ReadFile(path)
				if err != nil || !bytes.Equal(b, w.all) {
					t.Errorf("in order, with 8 workers, it is not the same: %d and %d bytes, %v", len(w.all), len(b), err)
				}
				want, _ := openFile(t, raw)
				blob := bytes.NewReader(b)
				formattest.Run(t, formattest.Suite{
					Open: func() (image.Image, error) { return Open(t.Context(), blob, n, Options{}) },
					Want: want, Size: size, Blob: blob, BlobSize: n,
				})
				formattest.RunLearner(t, formattest.LearnerSuite{
					New:  func() image.Learner { return NewLearner(Options{}) },
					Want: want, Size: size, Blob: blob, BlobSize: n,
				})
			})
		}
	}
}

// TestWriteSize compares the size of what is compressed with what qemu-img makes.
func TestWriteSize(t *testing.T) {
	if testing.Short() {
		t.Skip("TestWrite runs the same code")
	}
	testimage.Require(t, "qemu-img")
	dir := t.TempDir()
	raw, theirs := filepath.Join(dir, "raw"), filepath.Join(dir, "theirs")
	if err := testimage.WriteRaw(raw, 48<<20, 77); err != nil {
		t.Fatal(err)
	}
	if _, err := testimage.Run(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", raw, theirs); err != nil {
		t.Fatal(err)
	}
	_, want := openFile(t, theirs)
	img := openImage(t, theirs, Options{})
	w := &inOrder{t: t}
	got, err := Write(t.Context(), w, img, WriteOptions{Compression: "zlib", Ordered: true})
	if err != nil || got > want*102/100 {
		t.Errorf("%d bytes, qemu-img makes %d (%.1f%%), %v", got, want, 100*float64(got)/float64(want), err)
	}
	t.Logf("%d bytes, qemu-img makes %d (%.1f%%)", got, want, 100*float64(got)/float64(want))
}

// changing is a disk of noise that has other noise each time.
type changing struct{ n int }

func (c *changing) Size() int64  { return 1 << 20 }
func (c *changing) Close() error { return nil }
func (c *changing) NextExtent(off, max int64) (image.Extent, error) {
	return image.Extent{Start: off, Length: max, Kind: image.Data}, nil
}

func (c *changing) ReadAt(p []byte, off int64) (int, error) {
	c.n++
	clear(p)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range min(len(p), c.n*1000) {
		p[i] = byte(r.Uint32())
	}
	return len(p), nil
}

func TestWriteRefuses(t *testing.T) {
	img := &changing{}
	for name, c := range map[string]struct {
		o    WriteOptions
		want error
	}{
		"cluster size":  {WriteOptions{ClusterSize: 1000}, errdef.ErrUsage},
		"small cluster": {WriteOptions{ClusterSize: 256}, errdef.ErrUsage},
		"large cluster": {WriteOptions{ClusterSize: 4 << 20}, errdef.ErrUsage},
		"compression":   {WriteOptions{Compression: "lzma"}, errdef.ErrUsage},
		"tables":        {WriteOptions{Ordered: true, Limits: limits.Limits{Metadata: 1000}}, errdef.ErrLimit},
	} {
		if _, err := Write(t.Context(), &inOrder{t: t}, img, c.o); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Write(t.Context(), &inOrder{t: t}, img, WriteOptions{Ordered: true, Compression: "zlib"}); !errors.Is(err, errdef.ErrChanged) {
		t.Errorf("changing: %v", err)
	}
	broken := errors.New("broken")
	if _, err := Write(t.Context(), failAt{broken}, img, WriteOptions{}); !errors.Is(err, broken) {
		t.Errorf("target: %v", err)
	}
	if _, err := Write(t.Context(), &inOrder{t: t}, failImage{img, broken}, WriteOptions{}); !errors.Is(err, broken) {
		t.Errorf("source: %v", err)
	}
}

type failAt struct{ err error }

func (f failAt) WriteAt([]byte, int64) (int, error) { return 0, f.err }

type failImage struct {
	image.Image
	err error
}

func (f failImage) ReadAt([]byte, int64) (int, error) { return 0, f.err }

var _ io.WriterAt = failAt{}
