package image

import (
	"errors"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

type answer struct {
	x   Extent
	err error
}

func (a answer) NextExtent(int64, int64) (Extent, error) { return a.x, a.err }

func TestNext(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name string
		a    answer
		want error
	}{
		{"whole", answer{Extent{Start: 100, Length: 50}, nil}, nil},
		{"part", answer{Extent{Start: 100, Length: 1, Kind: Hole}, nil}, nil},
		{"empty", answer{Extent{Start: 100}, nil}, errdef.ErrCorrupt},
		{"negative", answer{Extent{Start: 100, Length: -1}, nil}, errdef.ErrCorrupt},
		{"too long", answer{Extent{Start: 100, Length: 51}, nil}, errdef.ErrCorrupt},
		{"elsewhere", answer{Extent{Start: 99, Length: 10}, nil}, errdef.ErrCorrupt},
		{"error", answer{Extent{Start: 100, Length: 50}, broken}, broken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x, err := Next(tt.a, 100, 50)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err == nil && x != tt.a.x || err != nil && x != (Extent{}) {
				t.Errorf("extent %+v", x)
			}
		})
	}
}

func TestWords(t *testing.T) {
	for k, want := range map[Kind]string{Data: "data", Zero: "zero", Hole: "hole", Unchanged: "unchanged", 7: "kind(7)"} {
		if k.String() != want {
			t.Errorf("Kind(%d) = %q, want %q", uint8(k), k, want)
		}
		if k.IsZero() != (k == Zero || k == Hole) {
			t.Errorf("%s reads as zeros: %v", k, k.IsZero())
		}
	}
	if e := (Extent{Start: 5, Length: 7}); e.End() != 12 {
		t.Errorf("End = %d", e.End())
	}
	if r := (Run{Stored: 5, StoredLength: 7, Guest: 1, Length: 100}); r.StoredEnd() != 12 {
		t.Errorf("StoredEnd = %d", r.StoredEnd())
	}
}
