package format

import (
	"context"
	"fmt"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/qcow2"
	"github.com/cdictl/cdictl/lib/limits"
)

// A GrowFile is a stored image that Grow changes in place.
type GrowFile interface {
	qcow2.GrowFile
	Truncate(size int64) error
}

// Growable reports whether Grow can enlarge the disk of an image of the format.
func (f Format) Growable() bool { return f.grow != nil }

// Grow makes the disk of the image in file, which has stored bytes, size bytes large, a multiple of 512. What is new reads as
// zeros. Whenever it is interrupted, the image is whole, in the old size or the new one. A disk is never shrunk.
func (f Format) Grow(ctx context.Context, file GrowFile, stored, size int64, l limits.Limits) error {
	if f.grow == nil {
		return errdef.WithHint(fmt.Errorf("a %s image cannot be grown: %w", f.Name, errdef.ErrUnsupported), "convert it first: cdictl convert -O qcow2 IN OUT")
	}
	return f.grow(ctx, file, stored, size, l.WithDefaults())
}

func growQcow2(ctx context.Context, file GrowFile, stored, size int64, l limits.Limits) error {
	return qcow2.Grow(ctx, file, stored, size, l)
}

func growRaw(_ context.Context, file GrowFile, stored, size int64, l limits.Limits) error {
	switch {
	case size < stored:
		return fmt.Errorf("the disk has %d bytes, and is never shrunk to %d: %w", stored, size, errdef.ErrUsage)
	case size%512 != 0:
		return fmt.Errorf("size %d is no multiple of 512: %w", size, errdef.ErrUsage)
	}
	if err := l.CheckVirtualSize(size); err != nil {
		return err
	}
	if err := file.Truncate(size); err != nil {
		return err
	}
	return file.Sync()
}
