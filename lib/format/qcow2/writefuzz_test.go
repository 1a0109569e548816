package qcow2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

// maxScripted bounds a scripted disk, so that a fuzzer makes many.
const maxScripted = 96 << 10

// A scripted is a disk made of what a script says.
type scripted struct {
	data    []byte
	extents []image.Extent
}

// newScripted makes a disk of pieces of three bytes each: what, and how long.
func newScripted(script []byte) *scripted {
	s := &scripted{}
	for ; len(script) >= 3; script = script[3:] {
		what, n := script[0], int(binary.BigEndian.Uint16(script[1:]))
		n = n>>4<<(n&3) + 1 // up to 32 KiB
		if what&8 == 0 {
			n = (n + 511) &^ 511
		}
		n = min(n, maxScripted-len(s.data))
		if n == 0 {
			break
		}
		x := image.Extent{Start: int64(len(s.data)), Length: int64(n), Kind: image.Data}
		p := make([]byte, n)
		switch what % 8 {
		case 0:
			x.Kind = image.Hole
		case 1:
			x.Kind = image.Zero
		case 2: // zeros that nobody knows of
		case 3, 4:
			v := uint32(what) + uint32(n)
			for i := range p {
				v = v*1664525 + 1013904223
				p[i] = byte(v >> 24)
			}
		case 5:
			p[n/2] = what
		default:
			for i := range p {
				p[i] = byte(i/int(what%50+1) + 1)
			}
		}
		s.data, s.extents = append(s.data, p...), append(s.extents, x)
	}
	return s
}

func (s *scripted) Size() int64  { return int64(len(s.data)) }
func (s *scripted) Close() error { return nil }
func (s *scripted) ReadAt(p []byte, off int64) (n int, err error) {
	return bytes.NewReader(s.data).ReadAt(p, off)
}

func (s *scripted) NextExtent(off, most int64) (image.Extent, error) {
	for _, x := range s.extents {
		if off < x.End() {
			return image.Extent{Start: off, Length: min(x.End()-off, most), Kind: x.Kind}, nil
		}
	}
	return image.Extent{}, io.EOF
}

// A memFile is a file in memory. It fails all writes when none is left, as a machine does that stops.
type memFile struct {
	b    []byte
	left int // negative: no end
}

func (m *memFile) WriteAt(p []byte, off int64) (int, error) {
	if m.left == 0 {
		return 0, errStopped
	}
	m.left--
	if end := int(off) + len(p); end > len(m.b) {
		m.b = append(m.b, make([]byte, end-len(m.b))...)
	}
	return copy(m.b[off:], p), nil
}

func (m *memFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.b).ReadAt(p, off)
}
func (m *memFile) Sync() error { return nil }

// scriptOptions are what two bytes choose.
func scriptOptions(cluster, how byte) WriteOptions {
	return WriteOptions{
		Compression: []string{"none", "zlib", "zstd"}[how%3], ClusterSize: 512 << (cluster % 8),
		Ordered: how&4 != 0, Workers: 1 + int(how>>3&3), Limits: limits.Limits{Metadata: 4 << 20},
	}
}

// writeScripted writes a scripted disk, and checks all that can be told of it without qemu-img.
func writeScripted(t *testing.T, s *scripted, o WriteOptions) []byte {
	t.Helper()
	f := &memFile{left: -1}
	n, err := Write(t.Context(), f, s, o)
	if err != nil || n != int64(len(f.b)) {
		t.Fatalf("%d bytes of %d: %v", n, len(f.b), err)
	}
	got, err := formattest.Agree(t, f.b, limited(t, Options{Limits: limits.Limits{VirtualSize: maxScripted, Metadata: 4 << 20}}))
	if err != nil {
		t.Fatal(err)
	}
	if want := append(s.data, make([]byte, -len(s.data)&511)...); !bytes.Equal(got, want) {
		t.Fatalf("%+v: another disk", o)
	}
	leaks, harm, ok := refFaults(t, f.b)
	if len(leaks)+len(harm) > 0 || !ok {
		t.Fatalf("%+v: %v %v %v", o, leaks, harm, ok)
	}
	return f.b
}

func limited(t *testing.T, o Options) formattest.Reader {
	return formattest.Reader{
		Open: func(blob io.ReaderAt, size int64) (image.Image, error) {
			return Open(t.Context(), blob, size, o)
		},
		Learner: func() image.Learner { return NewLearner(o) },
	}
}

var scripts = [][]byte{
	{},
	{3, 1, 0},
	{3, 255, 255, 0, 255, 255, 6, 255, 255},
	{11, 0, 17, 8, 0, 33, 14, 3, 1, 9, 0, 1, 13, 100, 3},
	{6, 16, 3, 3, 16, 3, 6, 16, 3, 2, 16, 3, 3, 9, 3, 6, 20, 0, 5, 90, 3},
}

// FuzzWrite writes disks of any content in any extents, and reads them again in every way.
func FuzzWrite(f *testing.F) {
	for i, s := range scripts {
		for how := range byte(6) {
			f.Add(byte(i), how, s)
		}
	}
	f.Fuzz(func(t *testing.T, cluster, how byte, script []byte) {
		s, o := newScripted(script), scriptOptions(cluster, how)
		b := writeScripted(t, s, o)
		o.Ordered, o.Workers = !o.Ordered, o.Workers%3+1
		if again := (&memFile{left: -1}); how&128 != 0 {
			if _, err := Write(t.Context(), again, s, o); err != nil || !bytes.Equal(again.b, b) {
				t.Fatalf("%+v: it becomes another file, %v", o, err)
			}
		}
	})
}

// TestWriteScripts has qemu-img check what FuzzWrite makes, and that our own check of refcounts sees what it sees.
func TestWriteScripts(t *testing.T) {
	testimage.Require(t, "qemu-img")
	path := filepath.Join(t.TempDir(), "x.qcow2")
	check := func(b []byte) error {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := testimage.Run(t.Context(), "qemu-img", "check", "-q", "-f", "qcow2", path)
		return err
	}
	r := rand.New(rand.NewPCG(4, 4))
	n := 40
	if testing.Short() {
		n = 8
	}
	for i := range n {
		script := make([]byte, 3*(1+r.IntN(20)))
		for j := range script {
			script[j] = byte(r.Uint32())
		}
		o := scriptOptions(byte(i), byte(i/2))
		t.Run(fmt.Sprintf("%d/%d/%s", i, o.ClusterSize, o.Compression), func(t *testing.T) {
			b := writeScripted(t, newScripted(script), o)
			if err := check(b); err != nil {
				t.Fatal(err)
			}
			// A refcount that is one more or less is seen by both.
			table := binary.BigEndian.Uint64(b[48:])
			block := binary.BigEndian.Uint64(b[table:])
			for _, by := range []uint16{1, 0xffff} {
				c := bytes.Clone(b)
				at := c[block:]
				binary.BigEndian.PutUint16(at, binary.BigEndian.Uint16(at)+by)
				if leaks, harm, _ := refFaults(t, c); len(leaks)+len(harm) != 1 || check(c) == nil {
					t.Errorf("a wrong refcount: %v %v, and qemu-img says %v", leaks, harm, check(c))
				}
			}
		})
	}
}

// FuzzGrow grows any image by any length, and stops at any write. Whatever happens to an image whose refcounts are right,
// the disk that there was is there, in the old size or the new, with zeros behind it. A change is 7 bytes, as for FuzzDifferential.
func FuzzGrow(f *testing.F) {
	seeds := fuzzSeeds(f)
	for i, s := range scripts {
		w := &memFile{left: -1}
		if _, err := Write(f.Context(), w, newScripted(s), scriptOptions(byte(2*i), byte(i))); err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, w.b)
	}
	for i := range seeds {
		f.Add(uint8(i), []byte{}, uint32(512), uint8(255))
		f.Add(uint8(i), []byte{}, uint32(20<<20), uint8(255))
		f.Add(uint8(i), []byte{}, uint32(3<<20), uint8(i))
		f.Add(uint8(i), []byte{2, 0, 24, 1, 0, 0, 0}, uint32(1<<20), uint8(255))
	}
	lim := limits.Limits{VirtualSize: 80 << 20, Metadata: 4 << 20}
	f.Fuzz(func(t *testing.T, which uint8, changes []byte, by uint32, stop uint8) {
		b := change(seeds[int(which)%len(seeds)], changes)
		small := lim
		small.VirtualSize = 4 << 20
		before, readErr := readAll(t, b, Options{Limits: small})
		leaks, harm, counted := refFaults(t, b)
		size := (int64(len(before)) + int64(by)%(64<<20)) &^ 511
		m := &memFile{b: bytes.Clone(b), left: -1}
		if stop < 255 {
			m.left = int(stop % 32)
		}
		err := Grow(t.Context(), m, int64(len(b)), size, lim)
		if readErr != nil || len(changes) > 0 && (!counted || len(leaks)+len(harm) > 0) {
			return // nothing can be said of its disk, or anything may be damaged by changing refcounts
		}
		after := stillThere(t, m.b, before, lim)
		if after != int64(len(before)) && after != size || err == nil && after != size {
			t.Fatalf("size is %d, was %d, should be %d, %v", after, len(before), size, err)
		}
		if !counted || len(leaks)+len(harm) > 0 {
			return
		}
		leaks, harm, counted = refFaults(t, m.b)
		if len(harm) > 0 || err == nil && len(leaks) > 0 || !counted {
			t.Fatalf("refcounts were right: now %v %v %v, %v", leaks, harm, counted, err)
		}
	})
}

// stillThere checks that the image b begins with the disk that there was and has zeros behind it, and returns its size.
func stillThere(t *testing.T, b, disk []byte, lim limits.Limits) int64 {
	t.Helper()
	img, err := Open(t.Context(), bytes.NewReader(b), int64(len(b)), Options{Limits: lim})
	if err != nil {
		t.Fatalf("it does not open any more: %v", err)
	}
	defer img.Close()
	got := make([]byte, min(int64(len(disk)), img.Size()))
	if _, err := io.ReadFull(io.NewSectionReader(img, 0, img.Size()), got); err != nil || !bytes.Equal(got, disk) {
		t.Fatalf("the disk is not what it was: %v", err)
	}
	// What shares a cluster with the old end is data, of zeros.
	for off := int64(len(disk)); off < img.Size(); {
		x, err := image.Next(img, off, img.Size()-off)
		if err != nil {
			t.Fatal(err)
		}
		if x.Kind == image.Data {
			p := make([]byte, x.Length)
			if n, err := img.ReadAt(p, off); int64(n) < x.Length || !zeros(p) {
				t.Fatalf("what is new at %d has data, %v", off, err)
			}
		}
		off = x.End()
	}
	return img.Size()
}

func zeros(p []byte) bool { return len(bytes.TrimLeft(p, "\x00")) == 0 }
