package vmdk

import (
	"errors"
	"fmt"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/span"
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
	return &overlay{span.Overlay{Disk: own.Disk, Back: back, Name: "parent"}, own, files}, nil
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

// An overlay is a delta over its parent, which it owns.
type overlay struct {
	span.Overlay
	own   *disk
	files *pool // nil if the delta is one file
}

func (o *overlay) contentID() uint32 { return o.own.cid }

// Close closes the parent, and the delta's own files.
func (o *overlay) Close() error {
	err := o.Overlay.Close()
	if o.files != nil {
		err = errors.Join(err, o.files.Close())
	}
	return err
}
