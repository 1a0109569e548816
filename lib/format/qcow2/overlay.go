package qcow2

import (
	"errors"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/image"
)

// An overlay is an image over its backing image, which it owns. It has no Runs: bytes lie in two files.
type overlay struct {
	*disk
	back image.Image
}

func (o *overlay) Close() error { return o.back.Close() }

// ReadAt reads through holes into the backing image; behind its end there are zeros.
func (o *overlay) ReadAt(p []byte, off int64) (int, error) { return o.read(p, off, o.readBack) }

func (o *overlay) readBack(p []byte, off int64) error {
	n := min(int64(len(p)), max(0, o.back.Size()-off))
	if n > 0 {
		if got, err := o.back.ReadAt(p[:n], off); int64(got) < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("qcow2: backing file at %d: %w", off+int64(got), err)
		}
	}
	clear(p[n:])
	return nil
}

// NextExtent asks the backing image where this one has a hole.
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
		return image.Extent{}, fmt.Errorf("qcow2: backing file: %w", err)
	}
	return b, nil
}
