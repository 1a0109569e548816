package transfer

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/cdictl/cdictl/lib/image"
)

// diskOf is a disk in memory in which some stretches are told as holes.
type diskOf struct {
	b     []byte
	holes []image.Extent
	err   error
}

func (d *diskOf) Size() int64  { return int64(len(d.b)) }
func (d *diskOf) Close() error { return nil }
func (d *diskOf) ReadAt(p []byte, off int64) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	return bytes.NewReader(d.b).ReadAt(p, off)
}

func (d *diskOf) NextExtent(off, max int64) (image.Extent, error) {
	end := min(off+max, d.Size())
	for _, h := range d.holes {
		if off >= h.Start && off < h.End() {
			return image.Extent{Start: off, Length: min(h.End(), end) - off, Kind: image.Hole}, nil
		}
		if h.Start > off {
			end = min(end, h.Start)
		}
	}
	return image.Extent{Start: off, Length: end - off, Kind: image.Data}, nil
}

func TestCompare(t *testing.T) {
	data := newFakeImage(4, 60, 100).guest
	zero := make([]byte, 300_000)
	sparse := append(append(bytes.Clone(data), zero...), data...)
	hole := []image.Extent{{Start: int64(len(data)), Length: int64(len(zero)), Kind: image.Hole}}
	change := func(b []byte, at ...int) []byte {
		b = bytes.Clone(b)
		for _, i := range at {
			b[i] ^= 1
		}
		return b
	}
	last := len(sparse) - 1
	for name, c := range map[string]struct {
		a, b *diskOf
		want int64
	}{
		"same":              {&diskOf{b: sparse}, &diskOf{b: sparse}, -1},
		"hole and zeros":    {&diskOf{b: sparse, holes: hole}, &diskOf{b: sparse}, -1},
		"holes":             {&diskOf{b: sparse, holes: hole}, &diskOf{b: sparse, holes: hole}, -1},
		"hole and data":     {&diskOf{b: sparse, holes: hole}, &diskOf{b: change(sparse, len(data)+5)}, int64(len(data) + 5)},
		"first":             {&diskOf{b: change(sparse, 0)}, &diskOf{b: sparse}, 0},
		"last":              {&diskOf{b: change(sparse, last)}, &diskOf{b: sparse}, int64(last)},
		"the lowest":        {&diskOf{b: change(sparse, last, 400_000, 70_000)}, &diskOf{b: sparse}, 70_000},
		"longer by zeros":   {&diskOf{b: append(bytes.Clone(data), zero...)}, &diskOf{b: data}, -1},
		"shorter by zeros":  {&diskOf{b: data}, &diskOf{b: append(bytes.Clone(data), zero...)}, -1},
		"longer by data":    {&diskOf{b: sparse}, &diskOf{b: sparse[:last]}, int64(last)},
		"nothing":           {&diskOf{}, &diskOf{}, -1},
		"nothing and zeros": {&diskOf{}, &diskOf{b: zero}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "longer by data" {
				c.a.b = change(c.a.b, 0)
				c.a.b[0] ^= 1
				c.a.b[last] = 7
			}
			got, err := Compare(t.Context(), c.a, c.b, Options{Workers: 4, Segment: 64 << 10})
			if err != nil || got != c.want {
				t.Errorf("got %d, %v; want %d", got, err, c.want)
			}
		})
	}
	broken := errors.New("broken")
	if _, err := Compare(t.Context(), &diskOf{b: data}, &diskOf{b: data, err: broken}, Options{}); !errors.Is(err, broken) {
		t.Errorf("broken: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Compare(ctx, &diskOf{b: data}, &diskOf{b: data}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
