package span

import (
	"errors"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/image"
)

// An Overlay is a disk over another, which it owns. It is no image.Mapper: bytes lie in the files of both.
type Overlay struct {
	*Disk
	Back image.Image
	// Name is what the disk below is called in errors.
	Name string
}

// Close closes the disk below.
func (o *Overlay) Close() error { return o.Back.Close() }

// ReadAt reads through holes into the disk below; behind its end there are zeros.
func (o *Overlay) ReadAt(p []byte, off int64) (int, error) { return o.read(p, off, o.readBack) }

func (o *Overlay) readBack(p []byte, off int64) error {
	n := min(int64(len(p)), max(0, o.Back.Size()-off))
	if n > 0 {
		if got, err := o.Back.ReadAt(p[:n], off); int64(got) < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("%s: %s at %d: %w", o.o.Format, o.Name, off+int64(got), err)
		}
	}
	clear(p[n:])
	return nil
}

// NextExtent asks the disk below where this one has a hole.
func (o *Overlay) NextExtent(off, max int64) (image.Extent, error) {
	x, err := o.Disk.NextExtent(off, max)
	if err != nil || x.Kind != image.Hole {
		return x, err
	}
	size := o.Back.Size()
	if off >= size {
		return x, nil
	}
	b, err := image.Next(o.Back, off, min(x.Length, size-off))
	if err != nil {
		return image.Extent{}, fmt.Errorf("%s: %s: %w", o.o.Format, o.Name, err)
	}
	return b, nil
}
