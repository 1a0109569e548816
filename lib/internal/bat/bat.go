// Package bat reads disks of blocks of one size whose places stand in one flat table: what VHD, VHDX and VDI have in
// common. A format parses its headers and entries; a [Table] holds and checks what they say, a [Disk] reads through it.
package bat

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/span"
	"github.com/cdictl/cdictl/lib/limits"
)

// Entries that stand for no stored block.
const (
	Hole uint32 = math.MaxUint32     // not allocated
	Zero uint32 = math.MaxUint32 - 1 // allocated, and all zeros
)

// A Layout is what the headers say of the blocks.
type Layout struct {
	// Format begins every error.
	Format string
	// Size is the virtual size.
	Size int64
	// Block is the size of a block, a power of two.
	Block int64
	// A block with entry e is stored at Base + e*Unit.
	Base, Unit int64
	// Lead is what lies before a block and belongs to it.
	Lead int64
	// Whole says that the last block is stored whole, also where the disk ends inside of it.
	Whole bool
	// Stored is how much of the file may hold blocks; -1: not known.
	Stored int64
	// Areas are where no block can lie.
	Areas []Area
}

// An Area is a part of the file that has another use.
type Area struct {
	Start, End int64
	What       string
}

// A Table is the places of all blocks. It holds four bytes for each: a table is read whole, so that what is wrong
// with it is known before the first byte of the disk is, and bounded by the limit of metadata.
type Table struct {
	Layout
	entries []uint32
	bits    uint // of Block

	last      uint32 // entry that was set last and has a place
	used      int64
	ascending bool
	end       int64 // behind the last stored byte of all blocks
}

// New makes a table of holes.
func New(l Layout, lim limits.Limits) (*Table, error) {
	t := &Table{Layout: l, ascending: true}
	for 1<<t.bits < l.Block {
		t.bits++
	}
	n := l.Size >> t.bits
	if l.Size&(l.Block-1) != 0 {
		n++
	}
	if n > math.MaxInt64/4 {
		return nil, fmt.Errorf("%s: %d blocks: %w", l.Format, n, errdef.ErrLimit)
	}
	if err := lim.CheckMetadata("block table", n*4); err != nil {
		return nil, fmt.Errorf("%s: %w", l.Format, err)
	}
	t.Areas = disjoint(l.Areas)
	t.entries = make([]uint32, n)
	for i := range t.entries {
		t.entries[i] = Hole
	}
	return t, nil
}

// disjoint sorts areas and cuts them so that none overlaps another.
func disjoint(areas []Area) []Area {
	areas = slices.Clone(areas)
	slices.SortStableFunc(areas, func(a, b Area) int { return cmp.Compare(a.Start, b.Start) })
	out := areas[:0]
	for _, a := range areas {
		if n := len(out); n > 0 {
			a.Start = max(a.Start, out[n-1].End)
		}
		if a.Start < a.End {
			out = append(out, a)
		}
	}
	return out
}

// Blocks is the number of blocks that the disk has.
func (t *Table) Blocks() int64 { return int64(len(t.entries)) }

// End is the offset behind the last stored byte of the blocks that were set.
func (t *Table) End() int64 { return t.end }

// place is where a block is stored.
func (t *Table) place(entry uint32) int64 { return t.Base + int64(entry)*t.Unit }

// length is how many bytes of the disk block i holds.
func (t *Table) length(i int64) int64 { return min(t.Block, t.Size-i<<t.bits) }

// Set tells the entry of a block, once. It checks that the block can be there.
func (t *Table) Set(i int64, entry uint32) error {
	t.entries[i] = entry
	if entry >= Zero {
		return nil
	}
	start := t.place(entry)
	n := t.length(i)
	if t.Whole {
		n = t.Block
	}
	if t.Stored >= 0 && (start > t.Stored || n > t.Stored-start) {
		return t.wrong(i, "block at %d (%d bytes) lies past the end of the stored file (%d bytes)", start, n, t.Stored)
	}
	at, _ := slices.BinarySearchFunc(t.Areas, start-t.Lead, func(a Area, off int64) int {
		if a.End <= off {
			return -1
		}
		return 1
	})
	if at < len(t.Areas) && t.Areas[at].Start < start+n {
		return t.wrong(i, "block at %d (%d bytes) overlaps %s", start, n, t.Areas[at].What)
	}
	t.ascending = t.ascending && (t.used == 0 || int64(entry-t.last)*t.Unit >= t.Block+t.Lead && entry > t.last)
	t.last = entry
	t.used++
	t.end = max(t.end, start+n)
	return nil
}

// wrong says what is wrong with block i.
func (t *Table) wrong(i int64, format string, args ...any) error {
	return fmt.Errorf("%s: guest offset %d: "+format+": %w", slices.Concat([]any{t.Format, i << t.bits}, args, []any{errdef.ErrCorrupt})...)
}

// Check is for when all entries were set: no two blocks may lie in one place. A small file could be a large disk full of
// data otherwise; no tool writes that.
func (t *Table) Check(lim limits.Limits) error {
	if t.ascending {
		return nil
	}
	if err := lim.CheckMetadata("block table out of order", (int64(len(t.entries))+t.used)*4); err != nil {
		return fmt.Errorf("%s: %w", t.Format, err)
	}
	sorted := make([]uint32, 0, t.used)
	for _, e := range t.entries {
		if e < Zero {
			sorted = append(sorted, e)
		}
	}
	slices.Sort(sorted)
	for i := 1; i < len(sorted); i++ {
		if int64(sorted[i]-sorted[i-1])*t.Unit < t.Block+t.Lead {
			return t.wrong(int64(slices.Index(t.entries, sorted[i])), "block at %d overlaps the one at %d", t.place(sorted[i]), t.place(sorted[i-1]))
		}
	}
	return nil
}

// Span returns the run of blocks of one kind, or the part of one, that begins at off and does not pass end. It has no error:
// the table was checked.
func (t *Table) Span(off, end int64) (span.Span, error) {
	i := off >> t.bits
	last := (end - 1) >> t.bits
	e := t.entries[i]
	s := span.Span{Kind: kind(e), Guest: off}
	next := i + 1
	if s.Kind == span.Data {
		host := t.place(e)
		s.Host = host + off&(t.Block-1)
		for ; next <= last && t.entries[next] < Zero; next++ {
			if host += t.Block; t.place(t.entries[next]) != host {
				break
			}
		}
	} else {
		for next <= last && t.entries[next] == e {
			next++
		}
	}
	s.N = min(next<<t.bits, end) - off
	return s, nil
}

func kind(entry uint32) span.Kind {
	switch entry {
	case Hole:
		return span.Hole
	case Zero:
		return span.Zero
	}
	return span.Data
}

// Append appends the runs of n blocks from first on to runs; the blocks were set.
func (t *Table) Append(runs []image.Run, first, n int64) []image.Run {
	end := min((first+n)<<t.bits, t.Size)
	for off := first << t.bits; off < end; {
		s, _ := t.Span(off, end)
		if s.Kind == span.Data {
			runs = append(runs, s.Run())
		}
		off += s.N
	}
	return runs
}

// Finish checks that a stored file of that length holds all blocks: for a table whose Stored was not known.
func (t *Table) Finish(stored int64) error {
	if t.end > stored {
		return fmt.Errorf("%s: blocks end at %d, past the end of the stored file (%d bytes): %w", t.Format, t.end, stored, errdef.ErrCorrupt)
	}
	return nil
}
