package filesource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/source"
)

// step is the most that one system call reads: the context and the limiter are asked that often.
const step = 1 << 20

// file is a Blob over a regular file or a block device: source.Blob, io.ReaderAt and image.Extenter. All of them go by
// explicit offsets, so they do not disturb each other.
type file struct {
	ctx  context.Context // of Open: a Blob observes it until it is closed
	env  source.Env
	src  *Source
	f    *os.File
	info source.Info
	pos  int64 // of Read only

	noHoles atomic.Bool // the filesystem cannot tell
}

// File is the file.
func (b *file) File() *os.File { return b.f }

func (b *file) Info() source.Info { return b.info }

func (b *file) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	p = p[:min(len(p), step)]
	defer b.env.Trace.Span("fetch", "stream", 0, b.pos, int64(len(p)))()
	n, err := b.ReadAt(p, b.pos)
	b.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil // the next Read says it
	}
	return n, err
}

// StartAt makes Read begin at off.
func (b *file) StartAt(off int64) error {
	if off < 0 || off > b.info.Size || b.pos > 0 {
		return b.src.fail("read", fmt.Errorf("begin at %d of %d bytes: %w", off, b.info.Size, errdef.ErrUsage))
	}
	b.pos = off
	return nil
}

func (b *file) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, b.src.fail("read", fmt.Errorf("offset %d is negative: %w", off, errdef.ErrUsage))
	}
	if len(p) == 0 {
		return 0, nil
	}
	// A file that grows is read up to the size it had: Identity tells that it changed.
	short := false
	if rest := b.info.Size - off; int64(len(p)) > rest {
		p, short = p[:max(rest, 0)], true
	}
	n := 0
	for n < len(p) {
		m, err := b.readStep(p[n:min(n+step, len(p))], off+int64(n))
		n += m
		if err != nil {
			return n, err
		}
	}
	if short {
		if err := b.ctx.Err(); err != nil {
			return n, b.src.fail("read", err)
		}
		if n == 0 { // a closed file is closed at its end, too
			if _, err := b.f.ReadAt(make([]byte, 1), off); errors.Is(err, os.ErrClosed) {
				return 0, b.src.fail("read", os.ErrClosed)
			}
		}
		return n, io.EOF
	}
	return n, nil
}

func (b *file) readStep(p []byte, off int64) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, b.src.fail("read", err)
	}
	if err := b.env.Limiter.Wait(b.ctx, len(p)); err != nil {
		return 0, b.src.fail("read", err)
	}
	n, err := b.f.ReadAt(p, off)
	b.env.Tracker.AddStored(int64(n))
	switch {
	case n == len(p):
		return n, nil
	case err == io.EOF:
		err = errdef.WithHint(fmt.Errorf("it ends at %d, but had %d bytes when it was opened: %w", off+int64(n), b.info.Size, errdef.ErrChanged),
			"do not write to an image while it is read")
	case err == nil:
		err = io.ErrNoProgress
	}
	return n, b.src.explain("read", err)
}

// NextExtent tells data from holes as the filesystem knows them.
func (b *file) NextExtent(off, limit int64) (image.Extent, error) {
	size := b.info.Size
	if off < 0 || off >= size || limit <= 0 {
		return image.Extent{}, b.src.fail("find extents of", fmt.Errorf("query [%d,+%d) is outside of %d bytes: %w", off, limit, size, errdef.ErrUsage))
	}
	if err := b.ctx.Err(); err != nil {
		return image.Extent{}, b.src.fail("find extents of", err)
	}
	e := image.Extent{Start: off, Length: min(limit, size-off), Kind: image.Data}
	if b.noHoles.Load() {
		return e, nil
	}
	data, hole, err := b.seek(off)
	if errors.Is(err, errNoSeek) {
		b.noHoles.Store(true)
		return e, nil
	}
	if err != nil {
		return image.Extent{}, b.src.explain("find extents of", err)
	}
	end := hole
	if data > off {
		e.Kind, end = image.Hole, data
	}
	if end <= off {
		return image.Extent{}, b.src.fail("find extents of", fmt.Errorf("the filesystem answers [%d,%d) for offset %d: %w", data, hole, off, errdef.ErrCorrupt))
	}
	e.Length = min(e.Length, end-off)
	return e, nil
}

// errNoSeek: this filesystem or system does not tell holes.
var errNoSeek = errors.New("holes unknown")

// checkShrunk tells a hole up to the end from an end that moved.
func (b *file) checkShrunk() error {
	fi, err := b.f.Stat()
	if err != nil {
		return err
	}
	if fi.Mode().IsRegular() && fi.Size() < b.info.Size {
		return fmt.Errorf("it has %d bytes now, but had %d when it was opened: %w", fi.Size(), b.info.Size, errdef.ErrChanged)
	}
	return nil
}

func (b *file) Close() error {
	if err := b.f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return b.src.explain("close", err)
	}
	return nil
}
