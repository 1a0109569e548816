// Package raw reads a raw disk: the stored bytes are the disk.
//
// The virtual size is the stored size rounded up to whole sectors of 512 bytes, as qemu-img has it; what is added reads
// as zeros. There is no header, so nothing can be wrong with one: package format falls to raw only when no other magic
// matched.
package raw

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"math"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

// Sector is the unit of a raw disk's virtual size.
const Sector = 512

// VirtualSize is the virtual size of a raw disk of stored bytes.
func VirtualSize(stored int64) int64 {
	if stored > math.MaxInt64-(Sector-1) {
		return stored // above every limit, and only a limit keeps it out
	}
	return (stored + Sector - 1) &^ (Sector - 1)
}

// Image is a raw disk. It is an image.Mapper whose runs are never packed.
type Image struct {
	ra     io.ReaderAt
	ext    image.Extenter
	stored int64
	size   int64
}

var _ image.Mapper = (*Image)(nil)

// Open makes a disk of the first size bytes of ra. ext tells where those bytes have holes; nil: all of it is data.
// The image does not own ra: Close does nothing.
func Open(ra io.ReaderAt, size int64, ext image.Extenter) *Image {
	size = max(size, 0)
	return &Image{ra: ra, ext: ext, stored: size, size: VirtualSize(size)}
}

// Size is the virtual size.
func (d *Image) Size() int64 { return d.size }

// Close does nothing: who opened the blob closes it.
func (d *Image) Close() error { return nil }

// ReadAt reads the disk. Stored bytes that the blob told of and does not have are errdef.ErrChanged: it became shorter
// after it was opened.
func (d *Image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("raw: read at negative offset %d: %w", off, errdef.ErrUsage)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off >= d.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > d.size-off {
		p, end = p[:d.size-off], io.EOF
	}
	n := int(min(int64(len(p)), max(d.stored-off, 0)))
	if n > 0 {
		switch got, err := d.ra.ReadAt(p[:n], off); {
		case got == n: // an io.EOF with the last byte is no news
		case err == nil || errors.Is(err, io.EOF):
			return got, fmt.Errorf("raw: stored bytes end at %d of %d: %w", off+int64(got), d.stored, errdef.ErrChanged)
		default:
			return got, err
		}
	}
	clear(p[n:])
	return len(p), end
}

// NextExtent tells what the blob knows of its holes; behind the stored bytes it is a hole.
func (d *Image) NextExtent(off, max int64) (image.Extent, error) {
	if off < 0 || off >= d.size || max <= 0 {
		return image.Extent{}, fmt.Errorf("raw: extent of [%d,+%d) in a disk of %d bytes: %w", off, max, d.size, errdef.ErrUsage)
	}
	if off >= d.stored {
		return image.Extent{Start: off, Length: min(max, d.size-off), Kind: image.Hole}, nil
	}
	max = min(max, d.stored-off)
	if d.ext == nil {
		return image.Extent{Start: off, Length: max, Kind: image.Data}, nil
	}
	x, err := image.Next(d.ext, off, max)
	if err == nil && x.Kind != image.Data && !x.Kind.IsZero() {
		err = fmt.Errorf("raw: extent at %d is %s: %w", off, x.Kind, errdef.ErrCorrupt)
	}
	return x, err
}

// Runs yields the data extents of [off, off+n): guest and stored offsets are the same.
func (d *Image) Runs(off, n int64) iter.Seq2[image.Run, error] {
	return func(yield func(image.Run, error) bool) {
		if off < 0 || n < 0 {
			yield(image.Run{}, fmt.Errorf("raw: runs of [%d,+%d): %w", off, n, errdef.ErrUsage))
			return
		}
		if off >= d.stored {
			return
		}
		for end := off + min(n, d.stored-off); off < end; {
			x, err := d.NextExtent(off, end-off)
			if err != nil {
				yield(image.Run{}, err)
				return
			}
			if x.Kind == image.Data && !yield(image.Run{Guest: off, Length: x.Length, Stored: off, StoredLength: x.Length}, nil) {
				return
			}
			off = x.End()
		}
	}
}

// Unpack is an error: no run of a raw disk is packed.
func (d *Image) Unpack(_, _ []byte) error {
	return fmt.Errorf("raw: unpack of a run that is not packed: %w", errdef.ErrUsage)
}
