package transfer

import (
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/sink"
)

// memSink is a disk in memory that starts with old data and notes what was touched twice.
type memSink struct {
	t       *testing.T
	mu      sync.Mutex
	data    []byte
	touched []bool // per 512 bytes and for odd ends
	ordered bool
	next    int64
	fail    func(off int64) error
}

func newMemSink(t *testing.T, size int64) *memSink {
	return &memSink{t: t, data: bytes.Repeat([]byte{0xA5}, int(size)), touched: make([]bool, size)}
}

func (s *memSink) Caps() sink.Caps { return sink.Caps{Ordered: s.ordered, Align: 4096} }

func (s *memSink) touch(off, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(off); err != nil {
			return err
		}
	}
	if off < 0 || n < 0 || off+n > int64(len(s.data)) {
		return fmt.Errorf("[%d,+%d) is outside the disk of %d", off, n, len(s.data))
	}
	if s.ordered && off != s.next {
		return fmt.Errorf("write at %d, expected %d", off, s.next)
	}
	s.next = off + n
	for i := off; i < off+n; i++ {
		if s.touched[i] {
			return fmt.Errorf("byte %d is written twice", i)
		}
		s.touched[i] = true
	}
	return nil
}

func (s *memSink) WriteAt(p []byte, off int64) (int, error) {
	if err := s.touch(off, int64(len(p))); err != nil {
		return 0, err
	}
	return copy(s.data[off:], p), nil
}

func (s *memSink) Zero(off, n int64) error {
	if err := s.touch(off, n); err != nil {
		return err
	}
	clear(s.data[off : off+n])
	return nil
}

func (s *memSink) Commit(context.Context, int64) error { return nil }
func (s *memSink) Close() error                        { return nil }

const cluster = 16 << 10

// fakeImage is a disk whose clusters lie shuffled in a blob, some of them packed, with a table at the start.
type fakeImage struct {
	guest, blob []byte
	runs        []image.Run
	ra          io.ReaderAt // what tables are read from
}

// newFakeImage makes a disk of n clusters and a bit; a third is holes, a third packed.
func newFakeImage(seed uint64, n int, tail int) *fakeImage {
	rnd := rand.New(rand.NewPCG(seed, 1))
	f := &fakeImage{guest: make([]byte, n*cluster+tail), blob: bytes.Repeat([]byte("table"), 4000)}
	total := n
	if tail > 0 {
		total++
	}
	f.runs = make([]image.Run, total)
	order := rnd.Perm(total)
	if seed%2 == 0 {
		for i := range order {
			order[i] = i
		}
	}
	for _, i := range order {
		g := f.guest[i*cluster : min((i+1)*cluster, len(f.guest))]
		full := make([]byte, cluster)
		switch rnd.IntN(4) {
		case 0:
			continue // hole
		case 1:
			for j := range g { // compressible
				g[j] = byte(j / 100)
			}
		case 2: // data, then zeros
			for j := range len(g) / 3 {
				g[j] = byte(rnd.Uint32())
			}
		default:
			for j := range g {
				g[j] = byte(rnd.Uint32())
			}
		}
		copy(full, g)
		if rnd.IntN(2) == 0 {
			var z bytes.Buffer
			w, _ := flate.NewWriter(&z, 1)
			w.Write(full)
			w.Close()
			at := len(f.blob)
			f.blob = append(f.blob, z.Bytes()...)
			bound := int64((z.Len() + 511) &^ 511) // as qcow2: reaches into the next one
			f.runs[i] = image.Run{Guest: int64(i * cluster), Length: cluster, Stored: int64(at), StoredLength: bound, Packed: true}
			continue
		}
		f.blob = append(f.blob, make([]byte, (512-len(f.blob)%512)%512)...)
		f.runs[i] = image.Run{Guest: int64(i * cluster), Length: int64(len(g)), Stored: int64(len(f.blob)), StoredLength: int64(len(g))}
		f.blob = append(f.blob, full...)
	}
	f.blob = append(f.blob, "the end of the file"...)
	f.ra = bytes.NewReader(f.blob)
	return f
}

func (f *fakeImage) Size() int64  { return int64(len(f.guest)) }
func (f *fakeImage) Close() error { return nil }

func (f *fakeImage) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(f.guest).ReadAt(p, off)
}

func (f *fakeImage) NextExtent(off, max int64) (image.Extent, error) {
	kind := func(o int64) image.Kind {
		if f.runs[o/cluster].Length == 0 {
			return image.Hole
		}
		return image.Data
	}
	x := image.Extent{Start: off, Kind: kind(off)}
	for x.Length < max && kind(min(off+x.Length, f.Size()-1)) == x.Kind {
		x.Length = min((off+x.Length)/cluster*cluster+cluster-off, max)
	}
	return x, nil
}

func (f *fakeImage) Runs(off, n int64) iter.Seq2[image.Run, error] {
	return func(yield func(image.Run, error) bool) {
		if _, err := f.ra.ReadAt(make([]byte, 20000), 0); err != nil {
			yield(image.Run{}, err)
			return
		}
		for _, r := range f.runs {
			if r.Length > 0 && !yield(r, nil) {
				return
			}
		}
	}
}

func (f *fakeImage) Unpack(dst, stored []byte) error {
	_, err := io.ReadFull(flate.NewReader(bytes.NewReader(stored)), dst)
	return err
}
