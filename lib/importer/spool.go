package importer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/transfer"
)

// spoolPrefix begins the names of spools, for the moment that they have one.
const spoolPrefix = ".cdictl-spool-"

// CleanSpool removes from dir what a process that was killed in the wrong moment left of its spool. Most never had a name.
func CleanSpool(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return &errdef.Error{Op: "look for old spools in", Name: dir, Err: err}
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), spoolPrefix) || !e.Type().IsRegular() {
			continue
		}
		_ = os.Remove(filepath.Join(dir, e.Name())) // what cannot be removed is somebody's, and counts as used
	}
	return nil
}

// OpenSpool makes a file in dir that has no name, so that nothing is left of it however the process ends. It may come to hold
// most bytes, -1: nobody knows.
func OpenSpool(dir string, most int64) (*os.File, error) { return newSpool(dir, most) }

// newSpool makes a spool in dir that may come to hold most bytes, -1: nobody knows. If those do not fit, it
// is refused at once, although zeros would take no room: a stream may take hours to fail.
func newSpool(dir string, most int64) (*os.File, error) {
	f, err := openSpool(dir)
	if err != nil {
		return nil, &errdef.Error{Op: "open spool in", Name: dir, Err: err, Hint: "name another folder: --scratch DIR"}
	}
	if free, known := space(f); known && most > free {
		_ = f.Close() // nothing is in it
		return nil, &errdef.Error{Op: "make spool in", Name: dir, Hint: roomHint,
			Err: fmt.Errorf("up to %d bytes of the stream may have to wait there, %d are free: %w", most, free, errdef.ErrNoSpace)}
	}
	return f, nil
}

const roomHint = "name a folder with room for the image as stored: --scratch DIR"

// contentSize is the length of the content, -1 where only its end tells.
func (c *opened) contentSize() int64 {
	if c.decoder != nil {
		return -1
	}
	return c.info.Size
}

// spool makes a sparse copy of the content, verifies it, and converts from there.
func (j *job) spool(ctx context.Context) error {
	f, err := newSpool(j.req.Spool, j.contentSize())
	if err != nil {
		return err
	}
	defer f.Close()
	s := &spoolSink{f: f, dir: j.req.Spool, count: j.req.Tracker.AddSpooled}

	j.req.Tracker.SetPhase("spooling")
	o := j.transferOptions()
	o.Tracker = nil
	limit := j.opts.Limits.VirtualSize // a stored image has no reason to be larger than the largest disk
	size, _, err := transfer.Stream(ctx, s, j.content, transfer.StreamOptions{
		Max: limit, TooLarge: j.opts.Limits.CheckVirtualSize(limit + 1),
		Tail: func(_ []byte, length int64) (int64, error) { return length, nil }, // as stored, to the byte
	}, o)
	if err != nil {
		return err
	}
	if err := j.verify(); err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return s.explain(err)
	}

	j.req.Tracker.SetPhase("importing")
	img, err := j.format.Open(ctx, f, size, j.formatOptions())
	if err != nil {
		return onSource("read", j.name, err)
	}
	j.image = img // closed by the job: it does not own f, and its reads end here
	if err := j.setSize(img.Size()); err != nil {
		return err
	}
	o = j.transferOptions()
	o.Segment = j.segment()
	j.stats, err = transfer.Copy(ctx, j.sink, img, o)
	return err
}

// spoolSink writes a file that is read again at once: through the page cache, without durability, zeros as holes.
type spoolSink struct {
	f     *os.File
	dir   string
	count func(int64)
}

func (s *spoolSink) Caps() sink.Caps { return sink.Caps{Align: 1} }

// Zero does nothing: the file is new, and transfer.Stream writes nothing twice.
func (s *spoolSink) Zero(int64, int64) error { return nil }

func (s *spoolSink) WriteAt(p []byte, off int64) (int, error) {
	n, err := s.f.WriteAt(p, off)
	s.count(int64(n))
	return n, s.explain(err)
}

// explain says that it was the spool and not the target.
func (s *spoolSink) explain(err error) error {
	if err == nil {
		return nil
	}
	e := &errdef.Error{Op: "write spool in", Name: s.dir, Err: err}
	var pe *os.PathError
	if errors.As(err, &pe) {
		e.Err = pe.Err // its path is one that nobody can look at
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		e.Err, e.Hint = fmt.Errorf("%w: %w", errdef.ErrNoSpace, e.Err), roomHint
	}
	return e
}

func (s *spoolSink) Commit(context.Context, int64) error { return nil }
func (s *spoolSink) Close() error                        { return nil }
