package bat

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/limits"
)

var lim = limits.Limits{}.WithDefaults()

func layout() Layout {
	return Layout{Format: "x", Size: 10*4096 - 100, Block: 4096, Base: 512, Unit: 512, Lead: 512, Stored: -1}
}

func TestDisjoint(t *testing.T) {
	got := disjoint([]Area{{50, 60, "c"}, {0, 20, "a"}, {10, 30, "b"}, {12, 15, "inside"}, {60, 60, "empty"}, {60, 70, "d"}})
	want := []Area{{0, 20, "a"}, {20, 30, "b"}, {50, 60, "c"}, {60, 70, "d"}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSet(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(l *Layout)
		block  int64
		entry  uint32
		ok     bool
	}{
		{"anywhere", nil, 0, 1 << 30, true},
		{"hole", nil, 0, Hole, true},
		{"zero", nil, 0, Zero, true},
		{"the highest", nil, 0, Zero - 1, true},
		{"up to the end", func(l *Layout) { l.Stored = 512 + 4096 }, 0, 0, true},
		{"past the end", func(l *Layout) { l.Stored = 512 + 4095 }, 0, 0, false},
		{"begins past the end", func(l *Layout) { l.Stored = 512 }, 0, 2, false},
		{"the last, cut", func(l *Layout) { l.Stored = 512 + 4096 - 100 }, 9, 0, true},
		{"the last, not whole", func(l *Layout) { l.Stored = 512 + 4096 - 100; l.Whole = true }, 9, 0, false},
		{"behind an area", func(l *Layout) { l.Areas = []Area{{0, 1024, "a"}} }, 0, 2, true},
		{"lead in an area", func(l *Layout) { l.Areas = []Area{{0, 1025, "a"}} }, 0, 2, false},
		{"before an area", func(l *Layout) { l.Areas = []Area{{512 + 4096, 5000, "a"}} }, 0, 0, true},
		{"end in an area", func(l *Layout) { l.Areas = []Area{{511 + 4096, 5000, "a"}} }, 0, 0, false},
		{"between areas", func(l *Layout) { l.Areas = []Area{{10000, 11000, "b"}, {0, 1024, "a"}} }, 0, 2, true},
		{"around an area", func(l *Layout) { l.Areas = []Area{{1000, 1001, "a"}} }, 0, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := layout()
			if tt.change != nil {
				tt.change(&l)
			}
			tab, err := New(l, lim)
			if err != nil {
				t.Fatal(err)
			}
			err = tab.Set(tt.block, tt.entry)
			if (err == nil) != tt.ok || err != nil && !errors.Is(err, errdef.ErrCorrupt) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestCheck compares the check for overlaps with one that looks at all pairs.
func TestCheck(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	bad := 0
	for range 3000 {
		tab, err := New(layout(), lim)
		if err != nil {
			t.Fatal(err)
		}
		want := true
		var entries []uint32
		for i := range tab.Blocks() {
			e := Hole
			switch r.IntN(3) {
			case 0:
				e = uint32(r.IntN(200))
			case 1:
				e = uint32(i * 9)
			}
			if e != Hole {
				for _, other := range entries {
					want = want && max(e, other)-min(e, other) >= 9
				}
				entries = append(entries, e)
			}
			if err := tab.Set(i, e); err != nil {
				t.Fatal(err)
			}
		}
		if err := tab.Check(lim); (err == nil) != want || err != nil && !errors.Is(err, errdef.ErrCorrupt) {
			t.Fatalf("%v: %v", entries, err)
		}
		if !want {
			bad++
		}
	}
	if bad < 500 || bad > 2500 {
		t.Errorf("%d of 3000 tables were wrong: that tests little", bad)
	}
}

func TestNewLimits(t *testing.T) {
	l := layout()
	for _, n := range []int64{39, 40} {
		if _, err := New(l, limits.Limits{Metadata: n}); (err == nil) != (n >= 40) || err != nil && !errors.Is(err, errdef.ErrLimit) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	l.Size, l.Block = math.MaxInt64, 1
	if _, err := New(l, limits.Limits{Metadata: math.MaxInt64}); !errors.Is(err, errdef.ErrLimit) {
		t.Errorf("2^63-1 blocks: %v", err)
	}
}

func TestPieces(t *testing.T) {
	const start, length = 1000, 5*pieceLength + 8
	r := rand.New(rand.NewPCG(1, 2))
	for trim := range int64(7) {
		p := NewPieces(start, length)
		keep := min(trim*pieceLength-8, length)
		done := int64(0)
		for !p.Done() {
			if done == 2 && keep > 0 {
				p.Trim(keep)
			}
			from := r.Int64N(start + length)
			got, ok := p.Next(from)
			if !ok {
				from = 0
				if got, ok = p.Next(0); !ok {
					if p.Done() {
						break
					}
					t.Fatal("pieces are left, but there is none")
				}
			}
			if got.Start < from || (got.Start-start)%pieceLength != 0 {
				t.Fatalf("Next(%d) is %+v", from, got)
			}
			off, ok := p.See(got)
			if !ok || off != got.Start-start {
				t.Fatalf("See(%+v) = %d, %v", got, off, ok)
			}
			if _, ok := p.See(got); ok {
				t.Fatal("a piece was seen twice")
			}
			done++
		}
		if r, ok := p.Next(0); ok {
			t.Errorf("trimmed to %d: Next is %+v at the end", keep, r)
		}
	}
	p := NewPieces(start, length)
	for _, r := range []image.Range{{Start: 0, Length: pieceLength}, {Start: start + 1, Length: pieceLength}, {Start: start, Length: 5},
		{Start: start + 6*pieceLength, Length: pieceLength}, {Start: start + 5*pieceLength, Length: pieceLength}} {
		if _, ok := p.See(r); ok {
			t.Errorf("%+v is no piece", r)
		}
	}
}

// TestReadErrors passes a source's error on, and tells a file that became shorter.
func TestReadErrors(t *testing.T) {
	tab, err := New(layout(), lim)
	if err != nil {
		t.Fatal(err)
	}
	if err := tab.Set(1, 0); err != nil {
		t.Fatal(err)
	}
	d := NewDisk(tab, bytes.NewReader(make([]byte, 1000)))
	if n, err := d.ReadAt(make([]byte, 10000), 0); n != 4096 || !errors.Is(err, errdef.ErrChanged) {
		t.Errorf("%d, %v", n, err)
	}
	d = NewDisk(tab, failing{})
	if n, err := d.ReadAt(make([]byte, 10000), 0); n != 4096 || !errors.Is(err, errdef.ErrUnavailable) {
		t.Errorf("%d, %v", n, err)
	}
	if err := d.Unpack(nil, nil); !errors.Is(err, errdef.ErrUsage) {
		t.Error(err)
	}
	if err := tab.Finish(512 + 4095); !errors.Is(err, errdef.ErrCorrupt) {
		t.Error(err)
	}
	if err := tab.Finish(512 + 4096); err != nil {
		t.Error(err)
	}
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errdef.ErrUnavailable }
