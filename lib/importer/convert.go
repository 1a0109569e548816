package importer

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/transfer"
	"github.com/cdictl/cdictl/lib/verify"
)

// newLearner makes what reads a stream of the format, if that can be.
func (j *job) newLearner() (image.Learner, bool) {
	if !j.format.Random || j.overlay {
		return nil, false // what lies under an overlay is opened from the spool
	}
	return j.format.Learner(j.formatOptions())
}

// foresee lets a learner see what is known of the stream's start: an image that it refuses for its header is refused
// before the target is touched.
func (j *job) foresee() error {
	l, ok := j.newLearner()
	if !ok {
		return nil
	}
	for {
		r, ok := l.Next(0)
		if !ok || r.End() > int64(len(j.head)) || l.Size() >= 0 {
			break
		}
		if _, err := l.Learn(r, j.head[r.Start:r.End()], nil); err != nil {
			return err
		}
	}
	if l.Size() >= 0 {
		j.imageSize = l.Size()
	}
	return nil
}

// again reports whether the source can be opened once more and be known by its identity.
func (c *opened) again() bool { return c.info.Reopenable && c.info.Identity != "" }

// convert writes a stream of a format with tables as the tables arrive.
func (j *job) convert(ctx context.Context) error {
	l, ok := j.newLearner()
	if !ok {
		return fmt.Errorf("%s has no reader of streams: %w", j.format.Name, errdef.ErrUnsupported)
	}
	j.req.Tracker.SetPhase("importing")
	limit := j.opts.Limits.VirtualSize // a stored image has no reason to be larger than the largest disk
	co := transfer.ConvertOptions{Hold: j.req.Hold, Max: limit, TooLarge: j.opts.Limits.CheckVirtualSize(limit + 1), Size: j.learnt, Stored: j.contentSize()}
	if err := j.goOn(ctx); err != nil {
		return err
	}
	if j.record != nil {
		co.From = j.record.Point
	}
	if d := j.durable; d != nil {
		var next time.Time // after a place was asked for that was not noted yet; what waits for the answer stands still
		co.Due = func() bool { return d.Due() && (j.codec == "" || j.points.any()) && !time.Now().Before(next) }
		co.Save = func(p *journal.Point) error {
			if p = j.convertPoint(p); p == nil {
				next = time.Now().Add(time.Second)
				return nil
			}
			return d.Checkpoint(p, 0, true)
		}
	}
	switch {
	case j.again():
		p := &passes{job: j, n: 1}
		defer p.close()
		co.Again = p.again
	case j.req.Spool != "":
		var f *os.File
		defer func() {
			if f != nil {
				f.Close()
			}
		}()
		co.Spool = func(most int64) (_ transfer.SpoolFile, err error) {
			if f, err = newSpool(j.req.Spool, most); err != nil {
				return nil, err
			}
			return spoolFile{&spoolSink{f: f, dir: j.req.Spool, count: j.req.Tracker.AddSpooled}}, nil
		}
	}
	done, err := transfer.Convert(ctx, j.sink, j.content, l, co, j.transferOptions())
	j.stats, j.passes, j.heldMax = done.Stats, done.Passes, done.HeldMax
	if err != nil {
		return err
	}
	return j.verify()
}

// convertPoint adds to where a conversion can go on how to get there.
func (j *job) convertPoint(p *journal.Point) *journal.Point {
	if p.Stored > 0 || p.Hashed > 0 {
		return p // of the first pass
	}
	at := j.points.before(p.Pos)
	if off, state, ok := j.verifier.Mark(p.Pos); ok && j.codec == "" {
		at = &journal.Point{Stored: off, Out: off, Hashed: off, Hash: state}
	}
	if at == nil {
		return p
	}
	if at = j.withSource(at); at == nil {
		return nil
	}
	p.Stored, p.Out, p.Codec, p.Hashed, p.Hash, p.Source = at.Stored, at.Out, at.Codec, at.Hashed, at.Hash, at.Source
	return p
}

// learnt takes the virtual size, which the header at the start may have told already.
func (j *job) learnt(size int64) error {
	if j.size >= 0 {
		if size != j.imageSize {
			return onSource("read", j.name, fmt.Errorf("virtual size is %d, the header said %d: %w", size, j.imageSize, errdef.ErrCorrupt))
		}
		return nil
	}
	if err := j.setSize(size); err != nil {
		return err
	}
	j.req.Tracker.SetTotal(j.size)
	return nil
}

// passes opens the source again for each pass behind the first.
type passes struct {
	job *job
	n   int
	now *opened // nil in the first
}

func (p *passes) close() {
	if p.now != nil {
		p.now.Close()
	}
}

func (p *passes) again(ctx context.Context) (io.Reader, error) {
	j := p.job
	// What the first pass brought is what was asked for; transfer.Convert compares the others with it.
	if err := j.verify(); err != nil {
		return nil, err
	}
	p.close()
	p.n++
	j.req.Tracker.SetPhase(fmt.Sprintf("importing, pass %d", p.n))
	o := j.opts
	o.Tracker = j.req.Tracker
	var err error
	if p.now, err = open(ctx, j.req.Source, o, verify.Digest{}); err != nil {
		p.now = nil
		return nil, err
	}
	o.Tracker.SetStoredTotal(int64(p.n) * j.info.Size)
	if was, is := j.info, p.now.info; was.Identity != is.Identity || was.Size != is.Size || p.now.codec != j.codec {
		return nil, onSource("read", j.name, fmt.Errorf("was %s, is %s: %w", was.Identity, is.Identity, errdef.ErrChanged))
	}
	return p.now.content, nil
}

// spoolFile is a spool that is read again.
type spoolFile struct{ *spoolSink }

func (s spoolFile) ReadAt(p []byte, off int64) (int, error) {
	return s.f.ReadAt(p, off)
}

// details is what the header tells of an image whose stream has only begun.
func (j *job) details(ctx context.Context, o format.Options) error {
	d, err := j.format.Describe(ctx, prefix(j.head), -1, o)
	if err != nil {
		return err
	}
	j.imageSize, j.overlay = d.VirtualSize, d.BackingFilename != "" && o.AllowBacking != ""
	if o.Snapshot != "" {
		j.imageSize = -1 // it may have had another size
	}
	return j.foresee()
}
