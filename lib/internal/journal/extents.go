package journal

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/cdictl/cdictl/lib/errdef"
)

// MaxExtents bounds a set: 1 MiB of memory, a move of which costs some 30 µs, and at most that much in a record.
const MaxExtents = 64 << 10

// Extents is a set of bytes of a disk as sorted runs that do not touch. The zero value is empty. Not safe for concurrent
// use.
type Extents struct{ runs []run }

type run struct{ off, end int64 }

// Add takes [off, off+n) in. Of a set that is full a run that touches no other is forgotten: it is done again then.
func (x *Extents) Add(off, n int64) {
	if n <= 0 || off < 0 || off > math.MaxInt64-n {
		return
	}
	end := off + n
	i := sort.Search(len(x.runs), func(i int) bool { return x.runs[i].end >= off })
	k := i
	for ; k < len(x.runs) && x.runs[k].off <= end; k++ {
		off, end = min(off, x.runs[k].off), max(end, x.runs[k].end)
	}
	switch {
	case k > i:
		x.runs[i] = run{off, end}
		x.runs = slices.Delete(x.runs, i+1, k)
	case len(x.runs) < MaxExtents:
		x.runs = slices.Insert(x.runs, i, run{off, end})
	}
}

// Has reports whether all of [off, off+n) is in the set; nothing is in any.
func (x *Extents) Has(off, n int64) bool {
	if n <= 0 {
		return true
	}
	i := sort.Search(len(x.runs), func(i int) bool { return x.runs[i].end > off })
	return i < len(x.runs) && x.runs[i].off <= off && n <= x.runs[i].end-off
}

// At tells whether off is in the set, and for how many bytes from there on that is so.
func (x *Extents) At(off int64) (in bool, n int64) {
	i := sort.Search(len(x.runs), func(i int) bool { return x.runs[i].end > off })
	switch {
	case i == len(x.runs):
		return false, math.MaxInt64 - off
	case x.runs[i].off > off:
		return false, x.runs[i].off - off
	}
	return true, x.runs[i].end - off
}

// Prefix is how many bytes from 0 on are in the set without a gap.
func (x *Extents) Prefix() int64 {
	if len(x.runs) == 0 || x.runs[0].off > 0 {
		return 0
	}
	return x.runs[0].end
}

// End is the end of the last run.
func (x *Extents) End() int64 {
	if len(x.runs) == 0 {
		return 0
	}
	return x.runs[len(x.runs)-1].end
}

// Bytes is how much is in the set.
func (x *Extents) Bytes() (n int64) {
	for _, r := range x.runs {
		n += r.end - r.off
	}
	return n
}

// Len is the number of runs.
func (x *Extents) Len() int { return len(x.runs) }

// Clone is a copy.
func (x *Extents) Clone() Extents { return Extents{slices.Clone(x.runs)} }

// MarshalBinary writes gaps and lengths as numbers of variable length.
func (x Extents) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, 4+6*len(x.runs))
	at := int64(0)
	for _, r := range x.runs {
		b = binary.AppendUvarint(b, uint64(r.off-at))
		b = binary.AppendUvarint(b, uint64(r.end-r.off))
		at = r.end
	}
	return b, nil
}

// UnmarshalBinary takes only what MarshalBinary writes.
func (x *Extents) UnmarshalBinary(b []byte) error {
	var runs []run
	at := int64(0)
	number := func() (int64, bool) {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > math.MaxInt64 {
			return 0, false
		}
		b = b[n:]
		return int64(v), true
	}
	for len(b) > 0 {
		gap, ok := number()
		n, ok2 := number()
		switch {
		case !ok || !ok2 || n == 0 || gap == 0 && len(runs) > 0 || gap > math.MaxInt64-at || n > math.MaxInt64-at-gap:
			return fmt.Errorf("journal: extent %d is none: %w", len(runs), errdef.ErrCorrupt)
		case len(runs) == MaxExtents:
			return fmt.Errorf("journal: more than %d extents: %w", MaxExtents, errdef.ErrLimit)
		}
		runs = append(runs, run{at + gap, at + gap + n})
		at += gap + n
	}
	x.runs = runs
	return nil
}
