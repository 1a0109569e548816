// Package formattest is the conformance suite that every disk format passes: one [Suite] per image, run against content
// that is known, or that qemu-img told.
package formattest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cdictl/cdictl/lib/image"
)

// A Suite is an image and what is true of it.
type Suite struct {
	// Open opens the image; the suite closes it.
	Open func() (image.Image, error)
	// Want is the content of the disk, of Size bytes.
	Want io.ReaderAt
	Size int64
	// Blob is the stored file of BlobSize bytes, for an image that is an image.Mapper; nil: it must not be one.
	Blob     io.ReaderAt
	BlobSize int64
	// QemuMap is the path of the image, if its extents are to be compared with qemu-img map; a hole of ours is
	// absent there, a zero extent present and not data.
	QemuMap string
}

// chunk is how much is compared at once.
const chunk = 1 << 20

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	img, err := s.Open()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := img.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if img.Size() != s.Size {
		t.Fatalf("size is %d, want %d", img.Size(), s.Size)
	}
	t.Run("whole", func(t *testing.T) { s.whole(t, img) })
	t.Run("edges", func(t *testing.T) { s.edges(t, img) })
	t.Run("random", func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, uint64(s.Size)))
		for range 200 {
			if err := s.randomRead(img, r); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("extents", func(t *testing.T) { s.extents(t, img) })
	t.Run("concurrent", func(t *testing.T) { s.concurrent(t) })
	if s.QemuMap != "" {
		t.Run("map", func(t *testing.T) { s.qemuMap(t, img) })
	}
	m, ok := img.(image.Mapper)
	if ok != (s.Blob != nil) {
		t.Fatalf("image is a Mapper: %v, want %v", ok, s.Blob != nil)
	}
	if ok {
		t.Run("runs", func(t *testing.T) { s.runs(t, m) })
	}
}

// same compares got with the disk at off.
func (s Suite) same(got []byte, off int64) error {
	want := make([]byte, len(got))
	if n, err := s.Want.ReadAt(want, off); n < len(want) {
		return fmt.Errorf("want at %d: %w", off, err)
	}
	if bytes.Equal(got, want) {
		return nil
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("read of [%d,+%d): byte %d is %#x, want %#x", off, len(got), off+int64(i), got[i], want[i])
		}
	}
	return nil
}

// read reads n bytes at off, checks the contract of io.ReaderAt, and compares.
func (s Suite) read(img io.ReaderAt, off int64, n int) error {
	// What lies behind len(p) must stay as it is.
	buf := bytes.Repeat([]byte{0xa5}, n+16)
	got, err := img.ReadAt(buf[:n], off)
	want := int(min(int64(n), max(0, s.Size-off)))
	if got != want {
		return fmt.Errorf("read of [%d,+%d) returned %d, %w; want %d", off, n, got, err, want)
	}
	if got < n && !errors.Is(err, io.EOF) {
		return fmt.Errorf("short read of [%d,+%d) returned %w, want io.EOF", off, n, err)
	}
	if got == n && err != nil && (!errors.Is(err, io.EOF) || off+int64(n) != s.Size) {
		return fmt.Errorf("read of [%d,+%d): %w", off, n, err)
	}
	for _, b := range buf[n:] {
		if b != 0xa5 {
			return fmt.Errorf("read of [%d,+%d) wrote behind the buffer", off, n)
		}
	}
	return s.same(buf[:got], off)
}

func (s Suite) whole(t *testing.T, img image.Image) {
	for off := int64(0); off < s.Size; off += chunk {
		if err := s.read(img, off, int(min(chunk, s.Size-off))); err != nil {
			t.Fatal(err)
		}
	}
}

func (s Suite) edges(t *testing.T, img image.Image) {
	if n, err := img.ReadAt(nil, 0); n != 0 || err != nil {
		t.Errorf("empty read returned %d, %v", n, err)
	}
	if n, err := img.ReadAt(make([]byte, 1), -1); n != 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read at -1 returned %d, %v", n, err)
	}
	for _, off := range []int64{s.Size, s.Size + 1, s.Size + 1<<40} {
		if n, err := img.ReadAt(make([]byte, 10), off); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("read at %d returned %d, %v; want io.EOF", off, n, err)
		}
	}
	if s.Size > 0 {
		for _, off := range []int64{0, s.Size / 2, s.Size - 1, max(0, s.Size-513)} {
			for _, n := range []int{1, 511, 513, 4096, 70001} {
				if err := s.read(img, off, n); err != nil {
					t.Error(err)
				}
			}
		}
	}
	for _, q := range [][2]int64{{-1, 1}, {s.Size, 1}, {0, 0}, {0, -1}} {
		if x, err := img.NextExtent(q[0], q[1]); err == nil {
			t.Errorf("NextExtent(%d, %d) returned %v, want an error", q[0], q[1], x)
		}
	}
}

// randomRead reads and compares some bytes somewhere.
func (s Suite) randomRead(img image.Image, r *rand.Rand) error {
	if s.Size == 0 {
		return nil
	}
	n := 1 + r.IntN([]int{600, 5000, 70_000, 300_000}[r.IntN(4)])
	return s.read(img, r.Int64N(s.Size), n)
}

// concurrent reads from many goroutines out of an image that nobody read before.
func (s Suite) concurrent(t *testing.T) {
	img, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 2))
			for range 30 {
				if err := s.randomRead(img, r); err != nil {
					t.Error(err)
					return
				}
				if s.Size == 0 {
					continue
				}
				off := r.Int64N(s.Size)
				if _, err := image.Next(img, off, 1+r.Int64N(s.Size-off)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
