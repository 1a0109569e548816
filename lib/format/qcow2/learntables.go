package qcow2

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/limits"
)

// l2Tables are the L2 tables that are still wanted, in stored order, in pieces of at most image.MaxWant.
type l2Tables struct {
	pieces []piece
	length int64 // of a piece
	reach  int64 // guest bytes that a piece stands for
	// skip leads from a piece to one behind it that may be wanted: itself, if it is. Paths are shortened on the way.
	skip []uint32
}

type piece struct {
	host int64
	no   uint32 // in guest order
}

// pieceBytes is what a piece takes in memory, with its skip.
const pieceBytes = 20

// init takes over the L1 table of d, which is checked.
func (t *l2Tables) init(d *disk, l limits.Limits) error {
	t.length = min(d.cluster(), image.MaxWant)
	per := d.cluster() / t.length
	t.reach = d.reach() / per
	used := 0
	for _, host := range d.l1 {
		if host != 0 {
			used++
		}
	}
	n := int64(used) * per
	if err := l.CheckMetadata("L1 table, and where its L2 tables are,", n*pieceBytes); err != nil {
		return fmt.Errorf("qcow2: %w", err)
	}
	t.pieces, t.skip = make([]piece, 0, n), make([]uint32, n+1)
	for i, host := range d.l1 {
		for k := int64(0); k < per && host != 0; k++ {
			t.pieces = append(t.pieces, piece{int64(host) + k*t.length, uint32(int64(i)*per + k)})
		}
	}
	slices.SortFunc(t.pieces, func(a, b piece) int { return cmp.Compare(a.host, b.host) })
	for i := range t.skip {
		t.skip[i] = uint32(i)
	}
	return nil
}

// seek returns the first wanted piece from i on; len(t.pieces) if there is none.
func (t *l2Tables) seek(i int) int {
	at := uint32(i)
	for t.skip[at] != at {
		t.skip[at] = t.skip[t.skip[at]]
		at = t.skip[at]
	}
	return int(at)
}

func (t *l2Tables) find(host int64) (int, bool) {
	return slices.BinarySearchFunc(t.pieces, host, func(p piece, host int64) int { return cmp.Compare(p.host, host) })
}

func (t *l2Tables) next(from int64) (image.Range, bool) {
	if len(t.pieces) == 0 {
		return image.Range{}, false
	}
	i, _ := t.find(from)
	if i = t.seek(i); i == len(t.pieces) {
		return image.Range{}, false
	}
	return image.Range{Start: t.pieces[i].host, Length: t.length}, true
}

// take says that r is wanted no more, and where in the guest the piece begins.
func (t *l2Tables) take(r image.Range) (guest int64, ok bool) {
	i, ok := t.find(r.Start)
	if !ok || r.Length != t.length || t.skip[i] != uint32(i) {
		return 0, false
	}
	t.skip[i]++
	return int64(t.pieces[i].no) * t.reach, true
}
