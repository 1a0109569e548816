package vmdk

import (
	"errors"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

// over makes an image of a disk that the descriptor describes: its parent, if it has one, lies under it. files may be nil.
func (d *descriptor) over(own *disk, files *pool, o Options) (image.Image, error) {
	own.cid = d.cid
	switch {
	case d.delta():
	case files != nil:
		return &multi{disk: own, files: files}, nil
	default:
		return &Image{own}, nil
	}
	back, err := o.Parent(d.parent)
	if err != nil {
		return nil, fmt.Errorf("vmdk: parent %q: %w", d.parent, err)
	}
	if cid, ok := CID(back); !ok || cid != d.parentCID {
		err := errdef.WithHint(corrupt("parent %q has the content ID %08x, the delta was made over %08x", d.parent, cid, d.parentCID),
			"the parent was written after the delta was made, or it is another disk")
		return nil, errors.Join(err, back.Close())
	}
	// What a flat extent's file has no data for are zeros of its own.
	for _, e := range own.extents {
		e.holes = nil
	}
	return &overlay{disk: own, files: files, back: back}, nil
}

// CID returns the content ID of an open disk; false if img is none of this package. Wrappers may have a method Unwrap.
func CID(img image.Image) (uint32, bool) {
	for range 8 {
		switch x := img.(type) {
		case interface{ contentID() uint32 }:
			return x.contentID(), true
		case interface{ Unwrap() image.Image }:
			img = x.Unwrap()
		default:
			return 0, false
		}
	}
	return 0, false
}

func (d *disk) contentID() uint32 { return d.cid }

// An overlay is a delta over its parent, which it owns. It is no image.Mapper: there is no one blob.
type overlay struct {
	*disk
	files *pool // nil if the delta is one file
	back  image.Image
}

// Close closes the parent, and the delta's own files.
func (o *overlay) Close() error {
	err := o.back.Close()
	if o.files != nil {
		err = errors.Join(err, o.files.Close())
	}
	return err
}

// ReadAt reads through holes into the parent; behind its end there are zeros.
func (o *overlay) ReadAt(p []byte, off int64) (int, error) { return o.read(p, off, o.readBack) }

func (o *overlay) readBack(p []byte, off int64) error {
	n := min(int64(len(p)), max(0, o.back.Size()-off))
	if n > 0 {
		if got, err := o.back.ReadAt(p[:n], off); int64(got) < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("vmdk: parent at %d: %w", off+int64(got), err)
		}
	}
	clear(p[n:])
	return nil
}

// NextExtent asks the parent where the delta has a hole.
func (o *overlay) NextExtent(off, max int64) (image.Extent, error) {
	x, err := o.disk.NextExtent(off, max)
	if err != nil || x.Kind != image.Hole {
		return x, err
	}
	size := o.back.Size()
	if off >= size {
		return x, nil
	}
	b, err := image.Next(o.back, off, min(x.Length, size-off))
	if err != nil {
		return image.Extent{}, fmt.Errorf("vmdk: parent: %w", err)
	}
	return b, nil
}
