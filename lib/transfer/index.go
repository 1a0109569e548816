package transfer

import (
	"fmt"
	"math"
	"sort"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

// An entry is a run in the index: 24 bytes, because images have millions.
type entry struct {
	guest, stored int64
	length        uint32
	packed        uint32 // stored length of a packed run; 0: plain
}

func (e entry) storedLength() int64 {
	if e.packed != 0 {
		return int64(e.packed)
	}
	return int64(e.length)
}

func (e entry) storedEnd() int64 { return e.stored + e.storedLength() }

const (
	entrySize  = 24
	chunkShift = 14 // 16,384 entries, 384 KiB: the index grows without being copied
	chunkLen   = 1 << chunkShift
)

// index holds runs to be sorted by their place in the blob. The zero value is empty.
type index struct {
	chunks                 [][]entry
	n                      int
	maxPacked, maxUnpacked int64 // longest packed run, in the blob and in the guest
	maxPlain               int64 // longest plain run
}

func (x *index) Len() int           { return x.n }
func (x *index) at(i int) *entry    { return &x.chunks[i>>chunkShift][i&(chunkLen-1)] }
func (x *index) Less(i, j int) bool { return x.at(i).stored < x.at(j).stored }
func (x *index) Swap(i, j int)      { a, b := x.at(i), x.at(j); *a, *b = *b, *a }

// sort puts the entries into stored order. Images that were written once are in order already.
func (x *index) sort() {
	if !sort.IsSorted(x) {
		sort.Sort(x)
	}
}

func (x *index) reset() { x.n, x.maxPacked, x.maxUnpacked, x.maxPlain = 0, 0, 0, 0 }

func (x *index) push(e entry) {
	if x.n>>chunkShift == len(x.chunks) {
		x.chunks = append(x.chunks, make([]entry, chunkLen))
	}
	x.n++
	*x.at(x.n - 1) = e
}

// maxRun bounds what one entry covers: CopyHashed searches this far back for the entries of a piece.
const maxRun = 16 << 20

// add checks r, a run of an image of size bytes in a blob of blobSize, and takes it in.
func (x *index) add(r image.Run, size, blobSize int64) error {
	if r.Length <= 0 || r.Guest < 0 || r.Guest > size-r.Length && !r.Packed || r.Guest >= size ||
		r.StoredLength <= 0 || r.Stored < 0 || r.Stored >= blobSize {
		return fmt.Errorf("run of %d bytes at %d, stored at %d, does not fit the disk of %d and the file of %d bytes: %w",
			r.Length, r.Guest, r.Stored, size, blobSize, errdef.ErrCorrupt)
	}
	if r.Packed {
		if r.Length > maxRun || r.StoredLength > math.MaxUint32 || r.StoredLength > 2*r.Length+4096 {
			return fmt.Errorf("packed run of %d bytes at %d stored in %d: %w", r.Length, r.Guest, r.StoredLength, errdef.ErrCorrupt)
		}
		r.StoredLength = min(r.StoredLength, blobSize-r.Stored)
		x.maxPacked = max(x.maxPacked, r.StoredLength)
		x.maxUnpacked = max(x.maxUnpacked, r.Length)
		x.push(entry{r.Guest, r.Stored, uint32(r.Length), uint32(r.StoredLength)})
		return nil
	}
	if r.StoredLength != r.Length || r.Length > blobSize-r.Stored {
		return fmt.Errorf("run of %d bytes at %d passes the end of the file of %d bytes: %w", r.Length, r.Stored, blobSize, errdef.ErrCorrupt)
	}
	for r.Length > 0 {
		n := min(r.Length, maxRun)
		x.maxPlain = max(x.maxPlain, n)
		x.push(entry{r.Guest, r.Stored, uint32(n), 0})
		r.Guest, r.Stored, r.Length = r.Guest+n, r.Stored+n, r.Length-n
	}
	return nil
}

// The methods below keep an index as a heap with the lowest place in the blob first. A sorted one is such a heap.

// enqueue pushes e.
func (x *index) enqueue(e entry) {
	x.push(e)
	x.up(x.n - 1)
}

// up puts entry i to its place among those before it.
func (x *index) up(i int) {
	for i > 0 {
		up := (i - 1) / 2
		if !x.Less(i, up) {
			break
		}
		x.Swap(i, up)
		i = up
	}
}

// first is the entry with the lowest place, nil if there is none.
func (x *index) first() *entry {
	if x.n == 0 {
		return nil
	}
	return x.at(0)
}

// dequeue takes the first.
func (x *index) dequeue() entry {
	e := *x.at(0)
	x.Swap(0, x.n-1)
	x.n--
	if keep := x.n>>chunkShift + 2; keep < len(x.chunks) {
		clear(x.chunks[keep:])
		x.chunks = x.chunks[:keep]
	}
	for i := 0; ; {
		low := 2*i + 1
		if low >= x.n {
			return e
		}
		if low+1 < x.n && x.Less(low+1, low) {
			low++
		}
		if !x.Less(low, i) {
			return e
		}
		x.Swap(i, low)
		i = low
	}
}
