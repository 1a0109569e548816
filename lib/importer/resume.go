package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cdictl/cdictl/lib/compress"
	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/plan"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/transfer"
)

// localStep is how much of a local file is written between two notes: what is read again after a kill costs little, and a
// flush costs as much as elsewhere. Writes are ahead of the last note by at most 240 MiB then.
const localStep = 120 << 20

// Interrupted is an import that can be gone on with: its part and what is known of it were kept.
type Interrupted struct{ Err error }

// Error is that of the cause.
func (e *Interrupted) Error() string { return e.Err.Error() }

// Unwrap is the cause.
func (e *Interrupted) Unwrap() error { return e.Err }

// goesOn reports whether another run may get further than the one that ended in err: else nothing is worth keeping.
func goesOn(err error) bool {
	switch errdef.ExitCode(err) {
	case 2, 12, 13, 14, 15, 17, 19, 20:
		return false
	}
	return true
}

// abandon drops what an earlier import of the same source left, if err, which came before it was looked at, is for good.
func (r Request) abandon(err error) error {
	switch errdef.ExitCode(err) {
	case 12, 13, 14, 15, 17, 20:
	default:
		return err
	}
	t, journals, jerr := r.journal()
	if jerr != nil || t == nil {
		return err
	}
	b, jerr := journals.Load()
	if jerr != nil || b == nil {
		return err
	}
	if rec, jerr := journal.Decode(b); jerr == nil && rec.Bind.Source == r.Source.String() {
		_, _ = Discard(t) // somebody else may be writing it: then it is his
	}
	return err
}

// defaultGrace is Request.Grace where nobody says. What is not saved then was not long before; a signal is answered within
// two seconds.
const defaultGrace = time.Second

// leave keeps what there is after err, if that is of use.
func (j *job) leave(ctx context.Context, err error) error {
	if j.durable == nil {
		return j.req.abandon(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(j.req.Grace, defaultGrace))
	defer cancel()
	if j.durable.Leave(ctx, goesOn(err)) {
		return &Interrupted{err}
	}
	return err
}

// restarts says where the import could go on, and if nowhere, why.
func (j *job) restarts() (where string, ok bool) {
	_, keeps := j.req.Target.(sink.Resumer)
	_, starts := j.blob.(source.Starter)
	stopped := "where it stopped"
	if m, ok := j.blob.(source.Marker); ok {
		if stopped, starts = m.Marks(); !starts {
			return stopped, false
		}
	}
	codec, _ := compress.ByName(j.codec)
	switch {
	case !keeps:
		return "the target cannot keep a part", false
	case !j.info.Strong || j.info.Identity == "" || !j.info.Reopenable || j.info.Size < 0:
		return "the source has nothing that would prove it unchanged", false
	case j.inArchive:
		return "archives have no place to begin at", false
	case j.opts.AllowBacking != "" || j.siblings.any():
		return "the disk lies in several files", false
	}
	switch j.plan.Route {
	case plan.Direct:
		return "at any extent", true
	case plan.Hashed:
		return "where all before was placed and hashed", true
	case plan.Stream, plan.StreamConvert:
		switch {
		case j.codec == "" && starts:
			return stopped, true
		case codec.Points() && starts:
			return pointText(codec), true
		case j.codec != "" && !codec.Points():
			return j.codec + " has no place to begin at but its start", false
		}
		return "the source gives no ranges", false
	}
	return "route " + string(j.plan.Route) + " has no place to begin at but its start", false
}

func pointText(c compress.Codec) string {
	switch c {
	case compress.Gzip:
		return "at blocks of gzip"
	case compress.Zstd:
		return "at frames of zstd, if there are several"
	}
	return "at blocks of " + c.Name() + ", if there are several"
}

// bind is what decides which bytes the disk has.
func (j *job) bind() journal.Bind {
	return journal.Bind{
		Source: j.name, Identity: j.info.Identity, Stored: j.info.Size, Format: j.format.Name, Codec: j.codec, Route: string(j.plan.Route),
		Snapshot: j.opts.Snapshot, Disk: j.opts.Disk, Checksum: j.req.Checksum.String(),
		Size: j.sinkSize(), ImageSize: j.imageSize, Preallocate: j.req.Preallocate,
	}
}

// other says what the record of another import differs in; "" if it is of this one.
func other(was, is journal.Bind) string {
	switch {
	case was == is:
		return ""
	case was.Source != is.Source:
		return "it is of another source, " + was.Source
	case was.Identity != is.Identity || was.Stored != is.Stored:
		return "the source has changed since"
	case was.Route != is.Route || was.Checksum != is.Checksum:
		return "it was begun with another checksum or another server"
	}
	return "it was begun with other options"
}

// left is what an earlier import left at the target, in words; "" for nothing.
func (j *job) left() string {
	_, journals, err := j.req.journal()
	if err != nil || journals == nil {
		return "" // there is a disk already, or no place for one: the import will say so
	}
	rec, why := j.load(journals)
	switch {
	case why != "":
		return "a part that is of no use: " + why
	case rec == nil:
		return ""
	}
	return fmt.Sprintf("a part with %s of the disk, to go on with", sizeText(rec.Done.Bytes()))
}

// load returns what an earlier import noted, or why that is of no use; neither if there is nothing.
func (j *job) load(journals sink.Journal) (*journal.Record, string) {
	b, err := journals.Load()
	if err != nil {
		return nil, err.Error()
	}
	if b == nil {
		return nil, ""
	}
	rec, err := journal.Decode(b)
	if err != nil {
		return nil, err.Error()
	}
	if where, ok := j.restarts(); !ok {
		return nil, where
	}
	why := other(rec.Bind, j.bind())
	if why == "" {
		why = j.sane(rec)
	}
	if why != "" {
		return nil, why
	}
	return rec, ""
}

// openDurable goes on with a part, if there is one of this very import; else it returns nil.
func (j *job) openDurable(ctx context.Context, t sink.Resumer, journals sink.Journal, o sink.Options) (sink.Sink, error) {
	rec, why := j.load(journals)
	if rec == nil && why == "" {
		return nil, nil // nothing was durable
	}
	if rec != nil {
		o.Mode = sink.Resume
		s, err := t.Open(ctx, o)
		if err == nil {
			// Only now nobody else writes it.
			if rec, _ = j.load(journals); rec == nil {
				return nil, errors.Join(s.Close(), fmt.Errorf("another import has just ended here: %w", errdef.ErrBusy))
			}
			j.adopt(ctx, s, journals, rec)
			return j.durable, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		why = "its part is gone, or not what it was"
	}
	j.notice("beginning from the start, without what an earlier import left: " + why)
	return nil, nil
}

func (j *job) notice(text string) {
	if j.req.OnNotice != nil {
		j.req.OnNotice(text)
	}
}

// sane says what is wrong with a record of this import, which somebody may have made up; "" for nothing.
func (j *job) sane(rec *journal.Record) string {
	p := rec.Point
	size := j.sinkSize()
	switch {
	case size >= 0 && rec.Done.End() > size:
		return "its record passes the end of the disk"
	case j.plan.Route == plan.Direct:
		return ""
	case p == nil, len(p.Source) == 0 && j.marks():
		return "it had come to no place to begin at"
	case j.plan.Route == plan.Hashed && (p.Stored != p.Hashed || p.Stored == 0),
		p.Hashed > p.Stored || p.Stored > j.info.Size || p.Out > p.Pos || p.Pos > j.opts.Limits.VirtualSize,
		j.plan.Route == plan.Stream && (p.Pos != p.Out || rec.Done.Prefix() < p.Out+transfer.TailSize):
		return "its record contradicts itself"
	case j.plan.Route == plan.StreamConvert:
		l, ok := j.newLearner()
		if !ok {
			return "its format is read in another way"
		}
		if err := transfer.Check(l, p); err != nil {
			return err.Error()
		}
	}
	return ""
}

func (j *job) marks() bool {
	_, ok := j.blob.(source.Marker)
	return ok
}

// adopt makes s the sink of this job, with a record that an earlier run left or, where rec is nil, a new one.
func (j *job) adopt(ctx context.Context, s sink.Sink, journals sink.Journal, rec *journal.Record) {
	k, ok := s.(sink.Keeper)
	if !ok {
		j.sink = s
		return
	}
	o := transfer.DurableOptions{Step: j.saveStep(), Journal: journals, Record: journal.Record{Bind: j.bind()}, CountZeros: j.plan.Route == plan.Stream}
	if rec != nil {
		o.Record, o.Resumed, j.record = *rec, true, rec
	}
	switch j.plan.Route {
	case plan.Direct:
		o.Auto = func(*journal.Extents) *journal.Point { return nil }
	case plan.Stream:
		o.Auto = j.streamPoint
	}
	j.durable = transfer.NewDurable(ctx, k, o)
	j.sink = j.durable
}

// saveStep is how much is written between two notes; 0 is what suits a network.
func (j *job) saveStep() int64 {
	if j.req.saveStep == 0 && j.info.Local {
		return localStep
	}
	return j.req.saveStep
}

// streamPoint is where a stream can go on with what is done of the disk. The end of the stream is looked at for a footer,
// so it is kept well ahead.
func (j *job) streamPoint(done *journal.Extents) *journal.Point {
	limit := done.Prefix() - 1<<20
	if limit <= 0 {
		return nil
	}
	if j.codec != "" {
		return j.withSource(j.points.before(limit))
	}
	off, state, ok := j.verifier.Mark(limit)
	if !ok {
		return nil
	}
	return j.withSource(&journal.Point{Stored: off, Out: off, Pos: off, Hashed: off, Hash: state})
}

// withSource adds to p what the source has to know; nil if it has noted nothing that far.
func (j *job) withSource(p *journal.Point) *journal.Point {
	m, ok := j.blob.(source.Marker)
	if !ok || p == nil {
		return p
	}
	if p.Source, ok = m.Mark(p.Hashed); !ok {
		return nil
	}
	return p
}

// goOn makes content begin where j.record says. Without a record it does nothing.
func (j *job) goOn(ctx context.Context) error {
	if j.record == nil || j.record.Point == nil {
		return nil
	}
	if err := j.restart(ctx, j.record.Point, j.req.Checksum); err != nil {
		return onSource("resume", j.name, err)
	}
	return nil
}

// done is what an earlier run has made durable.
func (j *job) done() transfer.Done {
	if j.record == nil {
		return nil
	}
	return &j.record.Done
}

// any reports whether a file beside the source was opened.
func (s *siblings) any() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen) > 0
}

// journal is where to note how far the import has come; nil if that is not wanted or cannot be.
func (r Request) journal() (sink.Resumer, sink.Journal, error) {
	t, ok := r.Target.(sink.Resumer)
	if !r.Resume || !ok {
		return nil, nil, nil
	}
	if r.Journal != nil {
		return t, r.Journal, nil
	}
	j, err := t.Journal()
	return t, j, err
}

// Discard drops what an interrupted import left at the target, and reports whether there was anything.
func Discard(t sink.Target) (bool, error) {
	c, ok := t.(interface{ Clean(disk bool) (bool, error) })
	if !ok {
		return false, errdef.WithHint(fmt.Errorf("%s keeps nothing of an interrupted import: %w", t, errdef.ErrUsage), "leave out --discard")
	}
	return c.Clean(false)
}
