package raw

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>9 + 1)
	}
	return b
}

func TestVirtualSize(t *testing.T) {
	for stored, want := range map[int64]int64{
		0: 0, 1: 512, 511: 512, 512: 512, 513: 1024, 4095: 4096, 1_000_000: 1_000_448,
		1<<63 - 1: 1<<63 - 1, 1<<63 - 512: 1<<63 - 512, // no overflow: a limit is to refuse them
	} {
		if got := VirtualSize(stored); got != want {
			t.Errorf("VirtualSize(%d) = %d, want %d", stored, got, want)
		}
	}
}

func TestReadAt(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 513, 4095, 1_000_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			stored := pattern(size)
			want := append(bytes.Clone(stored), make([]byte, int(VirtualSize(int64(size)))-size)...)
			d := Open(bytes.NewReader(stored), int64(size), nil)
			if d.Size() != int64(len(want)) {
				t.Fatalf("Size = %d, want %d", d.Size(), len(want))
			}
			if err := iotest.TestReader(io.NewSectionReader(d, 0, d.Size()), want); err != nil {
				t.Error(err)
			}
			for off := max(0, size-3); off <= len(want)+1; off++ {
				for _, n := range []int{0, 1, 2, 5, 600} {
					p := bytes.Repeat([]byte{0xaa}, n)
					got, err := d.ReadAt(p, int64(off))
					left := max(len(want)-off, 0)
					if wantN := min(n, left); got != wantN || !bytes.Equal(p[:got], want[min(off, len(want)):][:wantN]) {
						t.Fatalf("ReadAt(%d bytes, %d) = %d", n, off, got)
					}
					if wantErr := n > left; errors.Is(err, io.EOF) != wantErr || (err != nil) != wantErr {
						t.Fatalf("ReadAt(%d bytes, %d): error %v", n, off, err)
					}
				}
			}
		})
	}
}

func TestReadAtStopsAtSize(t *testing.T) {
	d := Open(bytes.NewReader(pattern(4096)), 1024, nil) // a VHD's footer lies behind
	p := make([]byte, 2048)
	if n, err := d.ReadAt(p, 0); n != 1024 || err != io.EOF {
		t.Errorf("ReadAt = %d, %v; want 1024, EOF", n, err)
	}
}

func TestShrunk(t *testing.T) {
	d := Open(bytes.NewReader(pattern(600)), 1000, nil)
	if n, err := d.ReadAt(make([]byte, 1024), 0); n != 600 || !errors.Is(err, errdef.ErrChanged) {
		t.Errorf("ReadAt of a file that shrank = %d, %v", n, err)
	}
	if _, err := d.ReadAt(make([]byte, 1), -1); !errors.Is(err, errdef.ErrUsage) {
		t.Errorf("ReadAt(-1): %v", err)
	}
	broken := errors.New("broken")
	d = Open(failing{broken}, 512, nil)
	if _, err := d.ReadAt(make([]byte, 1), 0); !errors.Is(err, broken) {
		t.Errorf("ReadAt: %v, want the blob's own error", err)
	}
}

func extent(start, length int64, k image.Kind) image.Extent {
	return image.Extent{Start: start, Length: length, Kind: k}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// list is an Extenter of extents in order.
type list []image.Extent

func (l list) NextExtent(off, max int64) (image.Extent, error) {
	for _, x := range l {
		if off >= x.Start && off < x.End() {
			return image.Extent{Start: off, Length: min(max, x.End()-off), Kind: x.Kind}, nil
		}
	}
	return image.Extent{}, nil // empty: an Extenter that breaks its promise
}

func TestExtents(t *testing.T) {
	blob := list{extent(0, 100, image.Hole), extent(100, 300, image.Data), extent(400, 400, image.Hole), extent(800, 200, image.Data)}
	d := Open(bytes.NewReader(pattern(1000)), 1000, blob)
	var got []image.Extent
	for off := int64(0); off < d.Size(); {
		x, err := image.Next(d, off, d.Size()-off)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, x)
		off = x.End()
	}
	if diff := cmp.Diff(append(blob[:4:4], image.Extent{Start: 1000, Length: 24, Kind: image.Hole}), list(got)); diff != "" {
		t.Error(diff)
	}

	var runs []image.Run
	for r, err := range d.Runs(50, 900) {
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	want := []image.Run{{Guest: 100, Length: 300, Stored: 100, StoredLength: 300}, {Guest: 800, Length: 150, Stored: 800, StoredLength: 150}}
	if diff := cmp.Diff(want, runs); diff != "" {
		t.Error(diff)
	}
	for r, err := range d.Runs(1000, 24) {
		t.Errorf("a run in the padding: %+v, %v", r, err)
	}
}

func TestExtentsOfALiar(t *testing.T) {
	tests := map[string]list{
		"empty":      {extent(0, 100, image.Data)},
		"delta":      {extent(0, 1000, image.Unchanged)},
		"wrong kind": {extent(0, 1000, image.Kind(9))},
	}
	for name, l := range tests {
		t.Run(name, func(t *testing.T) {
			d := Open(bytes.NewReader(pattern(1000)), 1000, l)
			var last error
			for off := int64(0); off < 1000 && last == nil; {
				var x image.Extent
				x, last = d.NextExtent(off, 1000)
				off = x.End()
			}
			if !errors.Is(last, errdef.ErrCorrupt) {
				t.Errorf("NextExtent: %v", last)
			}
			last = nil
			for _, err := range d.Runs(0, 1000) {
				last = err
			}
			if !errors.Is(last, errdef.ErrCorrupt) {
				t.Errorf("Runs: %v", last)
			}
		})
	}
}

func TestQueriesOutside(t *testing.T) {
	d := Open(bytes.NewReader(nil), 0, nil)
	for _, q := range [][2]int64{{-1, 1}, {0, 0}, {0, 1}, {512, 1}} {
		if _, err := d.NextExtent(q[0], q[1]); !errors.Is(err, errdef.ErrUsage) {
			t.Errorf("NextExtent(%d, %d): %v", q[0], q[1], err)
		}
	}
	if err := d.Unpack(nil, nil); !errors.Is(err, errdef.ErrUsage) {
		t.Errorf("Unpack: %v", err)
	}
	for _, err := range d.Runs(-1, 5) {
		if !errors.Is(err, errdef.ErrUsage) {
			t.Errorf("Runs(-1): %v", err)
		}
	}
}
