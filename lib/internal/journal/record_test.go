package journal

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

func sample() *Record {
	r := &Record{
		Bind:  Bind{Source: "https://h/x.qcow2\n", Identity: `"e"`, Stored: 5, Format: "qcow2", Codec: "xz", Route: "stream-convert", Size: -1, Preallocate: true},
		Point: &Point{Stored: 1 << 40, Out: 7, Codec: []byte{1, 2}, Hashed: 3, Hash: []byte("state"), Source: []byte("place"), Pos: 9, Learnt: []Bytes{{4, []byte("table")}}, Held: []Bytes{{6, []byte("x")}, {8, []byte("yz")}}},
	}
	r.Done.Add(0, 10)
	r.Done.Add(1<<50, 4096)
	return r
}

func TestRecord(t *testing.T) {
	for _, r := range []*Record{sample(), {}} {
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v, %v; want %+v", got, err, r)
		}
		for i := range b { // every bit of it counts
			bad := bytes.Clone(b)
			bad[i] ^= 1 << (i % 8)
			if _, err := Decode(bad); !errors.Is(err, errdef.ErrCorrupt) {
				t.Fatalf("byte %d changed: %v", i, err)
			}
			if _, err := Decode(b[:i]); !errors.Is(err, errdef.ErrCorrupt) {
				t.Fatalf("cut to %d: %v", i, err)
			}
		}
	}
	r := sample()
	r.Point.Held[0].Data = make([]byte, MaxRecord)
	if _, err := r.Encode(); !errors.Is(err, errdef.ErrLimit) {
		t.Errorf("too long: %v", err)
	}
}

func TestExtents(t *testing.T) {
	const size = 300
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var x Extents
		var want [size]bool
		for range rng.IntN(40) {
			off := rng.IntN(size)
			n := rng.IntN(min(20, size-off) + 1)
			x.Add(int64(off), int64(n))
			for i := range n {
				want[off+i] = true
			}
		}
		for off := range size {
			for n := range min(12, size-off) {
				all := true
				for i := range n {
					all = all && want[off+i]
				}
				if got := x.Has(int64(off), int64(n)); got != all {
					t.Fatalf("%+v has [%d,+%d): %v", x, off, n, got)
				}
			}
			in, n := x.At(int64(off))
			for i := off; i < size && i < off+int(min(n, size)); i++ {
				if want[i] != in {
					t.Fatalf("%+v at %d: %v for %d", x, off, in, n)
				}
			}
			if end := int64(off) + n; end < size && want[end] == in {
				t.Fatalf("%+v at %d: %v for %d, too short", x, off, in, n)
			}
		}
		for i := 1; i < len(x.runs); i++ {
			if x.runs[i].off <= x.runs[i-1].end {
				t.Fatalf("not merged: %+v", x)
			}
		}
		b, _ := x.MarshalBinary()
		var y Extents
		if err := y.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(x.runs, y.runs) && x.Len() > 0 {
			t.Fatalf("%+v became %+v, %v", x, y, err)
		}
	}
}

func TestExtentsBounds(t *testing.T) {
	var x Extents
	for i := range int64(MaxExtents) + 10 {
		x.Add(2*i, 1)
	}
	last := int64(2 * MaxExtents)
	if x.Len() != MaxExtents || x.Has(last, 1) || !x.Has(last-2, 1) {
		t.Errorf("%d runs; has the last: %v", x.Len(), x.Has(last, 1))
	}
	x.Add(0, last) // what joins others still counts
	if x.Len() != 1 || x.Prefix() != last || x.Bytes() != last || x.End() != last {
		t.Errorf("%+v", x)
	}
	x.Add(math.MaxInt64-1, 5)
	x.Add(-1, 5)
	if x.Len() != 1 {
		t.Errorf("%+v", x)
	}
	for name, b := range map[string][]byte{
		"half":      {1},
		"empty run": {1, 0},
		"touching":  {1, 1, 0, 1},
		"overflow":  {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"huge":      bytes.Repeat([]byte{0xff}, 12),
		"too many":  bytes.Repeat([]byte{1}, 2*MaxExtents+2),
	} {
		if err := new(Extents).UnmarshalBinary(b); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	b, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	head := len(magic) + sha256.Size
	f.Add(b[head:])
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body) // right, so that what is behind it is looked at
		r, err := Decode(bytes.Join([][]byte{magic, sum[:], body}, nil))
		if err != nil {
			return
		}
		if _, err := r.Encode(); err != nil && !errors.Is(err, errdef.ErrLimit) {
			t.Error(err)
		}
	})
}
