package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/bufpool"
	"github.com/cdictl/cdictl/lib/sink"
)

// Copy writes img, read in guest order, to dst. It suits images whose reads cost no round trip, and sinks that want
// their bytes in order.
func Copy(ctx context.Context, dst sink.Sink, img image.Image, o Options) (Stats, error) {
	o = o.withDefaults()
	workers := max(o.Workers, 1)
	c := &copier{writer: writer{dst: dst, o: o}, img: img, ordered: dst.Caps().Ordered,
		pool: bufpool.New(int(o.Segment), workers)}

	group, gctx := o.group(ctx)
	segments := make(chan part)
	group.Go(func() error {
		defer close(segments)
		return c.walk(gctx, segments)
	})
	for lane := range workers {
		group.Go(func() error {
			buf, err := c.pool.Get(gctx)
			if err != nil {
				return err
			}
			defer c.pool.Put(buf)
			for s := range segments {
				if err := c.segment(gctx, s, buf, lane); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return c.stats.stats(), err
}

// zeroStep is a multiple of every segment.
const zeroStep = 64 << 20

// A part is a segment, and in an ordered copy its turn: it is written after turn is closed and closes done.
type part struct {
	image.Extent
	turn <-chan struct{}
	done chan struct{}
}

type copier struct {
	writer
	img     image.Image
	ordered bool
	pool    *bufpool.Pool
}

// walk sends the segments that hold data and zeros the stretches between them.
func (c *copier) walk(ctx context.Context, segments chan<- part) error {
	size, seg := c.img.Size(), c.o.Segment
	turn := make(chan struct{})
	close(turn)
	cloning := c.o.Clone != nil && !c.ordered
	for off := int64(0); off < size; {
		x, err := c.next(off, size-off)
		if err != nil {
			return err
		}
		next := min((off/seg+1)*seg, size)
		if cloning {
			n, err := c.share(ctx, x)
			if err != nil {
				return err
			}
			if off += n; n > 0 {
				continue
			}
			// A run shorter than the filesystem's blocks is none that can be shared, and the next one may be.
			cloning = x.Length < minClone
			next = min(next, x.End())
		}
		if x.Kind.IsZero() && x.End() >= next {
			// Whole segments of zeros; what is left of the extent shares a segment with data.
			end := x.End()
			if end < size {
				end -= end % seg
			}
			// In steps, so that a cancel is seen between them: a pipe and a device take their time over zeros.
			end = min(end, off+zeroStep)
			next = end
			x = image.Extent{Start: off, Length: end - off, Kind: x.Kind}
			if !c.ordered {
				if err := c.zero(off, x.Length); err != nil {
					return err
				}
				off = next
				if err := ctx.Err(); err != nil {
					return err
				}
				continue
			}
		} else {
			x = image.Extent{Start: off, Length: next - off, Kind: image.Data}
			if c.o.has(off, x.Length) {
				c.kept(x.Length)
				off = next
				continue
			}
		}
		p := part{Extent: x}
		if c.ordered {
			p.turn, p.done = turn, make(chan struct{})
			turn = p.done
		}
		select {
		case segments <- p:
		case <-ctx.Done():
			return ctx.Err()
		}
		off = next
	}
	return nil
}

const (
	// cloneStep bounds what is cloned between two looks at the context.
	cloneStep = 1 << 30
	// minClone is as large as any filesystem's block.
	minClone = 64 << 10
)

// share makes what x begins with without reading it: data by sharing its storage, zeros as they are. It returns how much that
// is. Zeros in data are not looked for: they take no room of their own.
func (c *copier) share(ctx context.Context, x image.Extent) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if x.Kind.IsZero() {
		n := min(x.Length, zeroStep)
		return n, c.zero(x.Start, n)
	}
	n, err := c.o.Clone(x.Start, min(x.Length, cloneStep))
	if err != nil {
		return 0, c.o.writeError(err)
	}
	c.stats.cloned.Add(n)
	c.o.Tracker.AddVirtual(n)
	return n, nil
}

func (c *copier) next(off, max int64) (image.Extent, error) {
	x, err := image.Next(c.img, off, max)
	if err != nil {
		return x, c.o.readError(err)
	}
	if x.Kind == image.Unchanged {
		return x, c.o.readError(fmt.Errorf("extent at %d is unchanged, but there is no disk to change: %w", off, errdef.ErrUnsupported))
	}
	return x, nil
}

// segment reads the extents of s into buf and writes them when it is their turn.
func (c *copier) segment(ctx context.Context, s part, buf []byte, lane int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var p []byte
	if !s.Kind.IsZero() {
		p = buf[:s.Length]
		end := c.o.Trace.Span("decode", "read", lane, s.Start, s.Length)
		err := c.read(s.Extent, p)
		end()
		if err != nil {
			return err
		}
	}
	if c.ordered {
		select {
		case <-s.turn:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	end := c.o.Trace.Span("write", "write", lane, s.Start, s.Length)
	defer end()
	err := c.put(s, p)
	if err == nil && c.ordered {
		close(s.done) // after an error nobody gets a turn
	}
	return err
}

func (c *copier) put(s part, p []byte) error {
	if s.Kind.IsZero() {
		return c.zero(s.Start, s.Length)
	}
	return c.write(s.Start, p)
}

// read fills p with the content of s.
func (c *copier) read(s image.Extent, p []byte) error {
	for off := s.Start; off < s.End(); {
		x, err := c.next(off, s.End()-off)
		if err != nil {
			return err
		}
		q := p[off-s.Start:][:x.Length]
		if x.Kind.IsZero() {
			clear(q)
		} else if n, err := c.img.ReadAt(q, off); n < len(q) {
			if err == nil || errors.Is(err, io.EOF) {
				err = fmt.Errorf("image gave %d of %d bytes at %d: %w", n, len(q), off, errdef.ErrCorrupt)
			}
			return c.o.readError(err)
		}
		off = x.End()
	}
	return nil
}
