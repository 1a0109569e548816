package importer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/plan"
	"github.com/cdictl/cdictl/lib/resize"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/transfer"
)

// Import makes a raw disk at r.Target out of the image at r.Source. Nothing is visible at the target before all of it
// is there, verified and durable; after an error nothing is left, but after an *Interrupted. It returns after all its goroutines have ended.
func Import(ctx context.Context, r Request) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if r.Tracker == nil {
		r.Tracker = newTracker()
	}
	r.points, r.notice = r.Resume, r.OnNotice
	src, err := open(ctx, r.Source, r.Options, r.Checksum)
	if err != nil {
		return Result{}, r.abandon(err)
	}
	return importOpened(ctx, src, r)
}

// importOpened is Import of a source that is open; it closes src.
func importOpened(ctx context.Context, src *opened, r Request) (Result, error) {
	start := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer src.Close()
	r.Checksum = src.expected(r.Checksum)
	if r.Tracker == nil {
		r.Tracker = newTracker()
	}
	j := &job{opened: src, req: r, abort: cancel}
	defer j.close()
	if err := j.run(ctx); err != nil {
		return Result{}, j.leave(ctx, cause(ctx, err))
	}
	s := r.Tracker.Snapshot()
	res := Result{
		Source: src.name, Target: r.Target.String(), Format: src.format.Name, Codec: src.codec, Route: j.plan.Route, Reason: j.plan.Reason,
		VirtualSize: j.size, ImageSize: j.imageSize, StoredSize: src.info.Size, Identity: src.info.Identity, Labels: src.info.Labels, Passes: max(j.plan.Passes, j.passes), HeldMax: j.heldMax,
		Fetched: s.Stored, Spooled: s.Spooled, Written: j.stats.Data, Cloned: j.stats.Cloned, Resumed: j.record != nil, Kept: j.stats.Kept, Seconds: time.Since(start).Seconds(),
	}
	if !r.Checksum.IsZero() {
		res.Digest = r.Checksum.String()
	}
	if res.StoredSize < 0 {
		res.StoredSize = src.verifier.Bytes()
	}
	return res, nil
}

// cause prefers the caller's cancellation to what it broke. ctx is ours, a child that j.abort cancels too, so only an
// error that is a cancellation is of interest.
func cause(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) {
		if c := context.Cause(ctx); errors.Is(c, context.DeadlineExceeded) {
			return c
		}
	}
	return err
}

// job is one import under way.
type job struct {
	*opened
	req   Request
	abort context.CancelFunc
	plan  plan.Plan

	image     image.Image       // for routes that have one
	witness   *transfer.Witness // what image was opened through, on the Hashed route
	sink      sink.Sink
	imageSize int64 // -1: only the end of the stream tells
	size      int64 // of the disk; -1 likewise
	overlay   bool  // the image has a backing file that may be read
	stats     transfer.Stats
	passes    int               // over the stored bytes, where only the end tells
	heldMax   int64             // bytes of a stream held in memory
	durable   *transfer.Durable // sink, where the import can be gone on with
	record    *journal.Record   // of the one that this one goes on with
}

func (j *job) close() {
	if j.sink != nil {
		j.sink.Close()
	}
	if j.image != nil {
		j.image.Close()
	}
}

func (j *job) run(ctx context.Context) error {
	if err := j.prepare(ctx); err != nil {
		return err
	}
	if err := j.openSink(ctx); err != nil {
		return err
	}
	if err := j.transfer(ctx); err != nil {
		return err
	}
	if err := j.unchanged(ctx); err != nil {
		return err
	}
	if err := j.grow(ctx); err != nil {
		return err
	}
	j.req.Tracker.SetPhase("committing")
	return j.onTarget("commit", j.sink.Commit(ctx, j.size))
}

// growStep is how much is zeroed between two looks at the context: a device may take long.
const growStep = 256 << 20

// grow zeroes what is behind the image's end. A pipe pads in Commit.
func (j *job) grow(ctx context.Context) error {
	if j.sink.Caps().Ordered {
		return nil
	}
	for off := j.imageSize; off < j.size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(growStep, j.size-off)
		if err := j.sink.Zero(off, n); err != nil {
			return j.onTarget("write", err)
		}
		j.req.Tracker.AddVirtual(n)
		off += n
	}
	return nil
}

// prepare opens the image as far as the header tells, makes the plan, and finds the sizes: all that can be known, and
// refused, before the target is touched and content is read.
func (j *job) prepare(ctx context.Context) error {
	if err := j.openImage(ctx); err != nil {
		return onSource("read", j.name, err)
	}
	var err error
	if j.plan, err = plan.Make(j.facts()); err != nil {
		return onSource("plan", j.name, err)
	}
	if j.req.OnPlan != nil {
		j.req.OnPlan(j.explain(j.imageSize))
	}
	if j.imageSize < 0 {
		j.size = -1
		// What a server promises is not here yet, but nobody would want it: the target's filesystem would fill up.
		if err := j.opts.Limits.CheckVirtualSize(j.stored() - footer); err != nil {
			return onSource("read", j.name, err)
		}
		if room := j.req.room(); room > 0 && j.stored()-footer > room {
			return j.onTarget("size", fmt.Errorf("the image has at least %d bytes, there is room for %d: %w", j.stored()-footer, room, errdef.ErrTooSmall))
		}
		return nil
	}
	return j.setSize(j.imageSize)
}

// footer is what a plain format may have behind the disk: that of a fixed VHD.
const footer = 512

// stored is the size of a plain image behind no codec, which all but is the disk; 0 where that is not known.
func (j *job) stored() int64 {
	if j.format.Random || j.codec != "" {
		return 0
	}
	return max(j.info.Size, 0)
}

// setSize decides the disk's size from the image's.
func (j *job) setSize(imageSize int64) error {
	if err := j.opts.Limits.CheckVirtualSize(max(imageSize, j.req.Size)); err != nil {
		return onSource("read", j.name, err)
	}
	wanted := j.req.Size
	if j.req.Max > 0 {
		if room := j.req.room(); imageSize > room {
			return j.onTarget("size", fmt.Errorf("the image has a virtual size of %d bytes, there is room for %d: %w", imageSize, room, errdef.ErrTooSmall))
		}
		if imageSize > wanted {
			wanted = 0
		}
	}
	size, err := resize.Disk(imageSize, wanted)
	if err != nil {
		return j.onTarget("size", err)
	}
	j.imageSize, j.size = imageSize, size
	return nil
}

func (j *job) facts() plan.Facts {
	_, mapped := j.image.(image.Mapper)
	_, streams := j.newLearner()
	f := plan.Facts{
		Format: j.format.Name, Codec: j.codec, Tables: j.format.Random, Mapped: mapped,
		Streams: streams, RandomAccess: j.random != nil, Local: j.info.Local, Again: j.again(),
		Checksum: !j.req.Checksum.IsZero(), Spool: j.req.Spool != "",
	}
	if c, ok := j.req.Target.(sink.Capper); ok {
		f.Ordered = c.Caps().Ordered
	}
	return f
}

func (j *job) openSink(ctx context.Context) error {
	size := j.sinkSize()
	o := sink.Options{Size: size, Preallocate: j.req.Preallocate}
	t, journals, err := j.req.journal()
	if err != nil {
		return j.onTarget("open", err)
	}
	if t != nil {
		if j.sink, err = j.openDurable(ctx, t, journals, o); err != nil {
			return j.onTarget("open", err)
		}
	}
	if j.sink == nil {
		s, err := j.req.Target.Open(ctx, o)
		if err != nil {
			return j.onTarget("open", err)
		}
		j.sink = s
		if t != nil {
			if err := journals.Drop(); err != nil { // it is of another part, and may lie elsewhere
				return j.onTarget("open", err)
			}
			if _, ok := j.restarts(); ok {
				j.adopt(ctx, s, journals, nil)
			}
		}
	}
	if j.size < 0 {
		size = max(j.req.Size, j.stored())
	}
	j.req.Tracker.SetTotal(size)
	return nil
}

// sinkSize is the size to open the target with.
func (j *job) sinkSize() int64 {
	if j.size < 0 && j.most() > 0 {
		return j.most() // the stream may be shorter, never longer
	}
	return j.size
}

// most is the bound of a stream whose size only its end tells, 0 for none. What is preallocated is claimed beforehand, so
// there it is what will be kept of it.
func (j *job) most() int64 {
	if j.req.Preallocate && j.req.Size > 0 {
		return j.req.Size
	}
	return j.req.room()
}

// unchanged asks a local source whether it still is what it was. Others pin their identity in each request.
func (j *job) unchanged(ctx context.Context) error {
	if err := j.siblings.unchanged(ctx); err != nil {
		return onSource("read", j.name, err)
	}
	st, ok := j.req.Source.(source.Statter)
	if !ok || !j.info.Local || j.info.Identity == "" {
		return nil
	}
	now, err := st.Stat(ctx, source.Env{})
	if err != nil {
		return onSource("stat", j.name, err)
	}
	if now.Identity != j.info.Identity {
		return onSource("read", j.name, fmt.Errorf("was %s, is %s: %w", j.info.Identity, now.Identity, errdef.ErrChanged))
	}
	return nil
}

func (j *job) onTarget(op string, err error) error {
	var e *errdef.Error
	if err == nil || errors.As(err, &e) || errors.Is(err, context.Canceled) {
		return err
	}
	return &errdef.Error{Op: op, Side: errdef.Target, Name: j.req.Target.String(), Err: err}
}
