package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

// Compare looks for the first byte that two disks do not have in common; -1: they are equal. A disk that is shorter than the
// other has zeros behind its end. What is zeros in both is not read.
func Compare(ctx context.Context, a, b image.Image, o Options) (int64, error) {
	o = o.withDefaults()
	c := &comparer{a: a, b: b, size: max(a.Size(), b.Size()), o: o}
	c.first.Store(c.size)
	group, gctx := o.group(ctx)
	parts := make(chan image.Extent)
	group.Go(func() error {
		defer close(parts)
		return c.walk(gctx, parts)
	})
	for range max(o.Workers, 1) {
		group.Go(func() error {
			p, q := make([]byte, o.Segment), make([]byte, o.Segment)
			for x := range parts {
				if err := c.part(x, p[:x.Length], q[:x.Length]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	if n := c.first.Load(); n < c.size {
		return n, nil
	}
	return -1, nil
}

type comparer struct {
	a, b  image.Image
	size  int64
	o     Options
	first atomic.Int64 // lowest difference so far; size: none
}

// walk sends the stretches in which at least one disk may have data, up to the first difference.
func (c *comparer) walk(ctx context.Context, parts chan<- image.Extent) error {
	for off := int64(0); off < c.first.Load(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		x, err := c.extent(c.a, off)
		if err != nil {
			return err
		}
		y, err := c.extent(c.b, off)
		if err != nil {
			return err
		}
		x.Length = min(x.Length, y.Length)
		if x.Kind.IsZero() && y.Kind.IsZero() {
			c.o.Tracker.AddVirtual(x.Length)
			off = x.End()
			continue
		}
		for end := x.End(); off < end; {
			n := min(end, (off/c.o.Segment+1)*c.o.Segment) - off
			select {
			case parts <- image.Extent{Start: off, Length: n}:
			case <-ctx.Done():
				return ctx.Err()
			}
			off += n
		}
	}
	return nil
}

func (c *comparer) extent(img image.Image, off int64) (image.Extent, error) {
	if off >= img.Size() {
		return image.Extent{Start: off, Length: c.size - off, Kind: image.Hole}, nil
	}
	x, err := image.Next(img, off, img.Size()-off)
	if err == nil && x.Kind == image.Unchanged {
		err = fmt.Errorf("extent at %d is unchanged, but there is no disk below: %w", off, errdef.ErrUnsupported)
	}
	return x, c.o.readError(err)
}

// part compares one stretch.
func (c *comparer) part(x image.Extent, p, q []byte) error {
	if x.Start >= c.first.Load() {
		return nil
	}
	if err := c.read(c.a, p, x.Start); err != nil {
		return err
	}
	if err := c.read(c.b, q, x.Start); err != nil {
		return err
	}
	c.o.Tracker.AddVirtual(x.Length)
	if bytes.Equal(p, q) {
		return nil
	}
	i := 0
	for p[i] == q[i] {
		i++
	}
	at := x.Start + int64(i)
	for old := c.first.Load(); at < old && !c.first.CompareAndSwap(old, at); {
		old = c.first.Load()
	}
	return nil
}

// read fills p, with zeros behind the disk's end.
func (c *comparer) read(img image.Image, p []byte, off int64) error {
	n := max(0, min(int64(len(p)), img.Size()-off))
	if n > 0 {
		if got, err := img.ReadAt(p[:n], off); int64(got) < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = fmt.Errorf("image gave %d of %d bytes at %d: %w", got, n, off, errdef.ErrCorrupt)
			}
			return c.o.readError(err)
		}
	}
	clear(p[n:])
	return nil
}
