// Package image is the vocabulary for disks: extents, images, and where their bytes lie in a stored file.
//
// Offsets and lengths are bytes everywhere. An image may come from a hostile file, so a caller checks what an
// Extenter or a Mapper tells it; [Next] does so for extents.
package image

import (
	"fmt"
	"io"
	"iter"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Kind says what a run of a disk holds.
type Kind uint8

const (
	// Data has stored bytes.
	Data Kind = iota
	// Zero is allocated and reads as zeros.
	Zero
	// Hole is not allocated and reads as zeros.
	Hole
	// Unchanged occurs only in a delta: leave what the target has.
	Unchanged
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	switch k {
	case Data:
		return "data"
	case Zero:
		return "zero"
	case Hole:
		return "hole"
	case Unchanged:
		return "unchanged"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// IsZero reports whether a run of this kind reads as zeros.
func (k Kind) IsZero() bool { return k == Zero || k == Hole }

// An Extent is a run of bytes of one Kind.
type Extent struct {
	Start, Length int64
	Kind          Kind
}

// End is the offset behind the extent's last byte.
func (e Extent) End() int64 { return e.Start + e.Length }

// An Extenter tells the extents of what it is.
type Extenter interface {
	// NextExtent returns the extent that begins at off. It never passes off+max and is never empty.
	// It is safe for concurrent use.
	NextExtent(off, max int64) (Extent, error)
}

// An Image is a read-only view of a virtual disk. All methods but Close are safe for concurrent use.
type Image interface {
	io.ReaderAt
	Extenter
	io.Closer
	// Size is the virtual size.
	Size() int64
}

// A Run says where Length guest bytes at Guest are stored: at Stored in the blob, as they are, or packed
// (compressed). It holds data: zeros and holes have no runs.
type Run struct {
	Guest, Length int64
	Stored        int64
	// StoredLength equals Length, except for a packed run, where it is an upper bound: the bytes of the next
	// packed run may begin before Stored+StoredLength.
	StoredLength int64
	Packed       bool
}

// StoredEnd is the offset in the blob behind the run's last byte.
func (r Run) StoredEnd() int64 { return r.Stored + r.StoredLength }

// A Mapper is an Image that tells where its bytes lie in the blob it was opened from. It exists beside ReaderAt
// because the Direct and Hashed routes read a remote blob in its stored order, in ranges much larger than a cluster,
// which a reader of guest offsets cannot express.
type Mapper interface {
	Image
	// Runs yields the runs of [off, off+n) in guest order, without overlap, cut at the range's ends unless packed
	// (a packed run is yielded whole if it touches the range). An error ends the sequence.
	Runs(off, n int64) iter.Seq2[Run, error]
	// Unpack decodes a packed run. dst has the run's Length, stored its StoredLength (less only at the blob's end).
	// It is safe for concurrent use.
	Unpack(dst, stored []byte) error
}

// Next asks e for the extent at off and checks the answer: it begins at off, is not empty, and does not pass off+max.
func Next(e Extenter, off, max int64) (Extent, error) {
	x, err := e.NextExtent(off, max)
	if err != nil {
		return Extent{}, err
	}
	if x.Start != off || x.Length <= 0 || x.Length > max {
		return Extent{}, fmt.Errorf("extent [%d,+%d) does not fit the query [%d,+%d): %w", x.Start, x.Length, off, max, errdef.ErrCorrupt)
	}
	return x, nil
}
