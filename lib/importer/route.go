package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format"
	"github.com/cdictl/cdictl/lib/format/raw"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/plan"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/transfer"
	"github.com/cdictl/cdictl/lib/verify"
)

func newTracker() *progress.Tracker { return new(progress.Tracker) }

// openImage sets image and imageSize as far as the blob allows without reading content.
func (j *job) openImage(ctx context.Context) error {
	o := j.formatOptions()
	if !j.format.Random {
		j.imageSize = -1
		if o.Snapshot != "" {
			_, err := j.format.Open(ctx, bytes.NewReader(nil), 0, o) // says that there are none
			return err
		}
		if j.random == nil {
			return nil
		}
		size, err := j.format.StreamSize(j.tail, j.info.Size)
		j.imageSize = size
		return err
	}
	if j.random == nil {
		// The header is at the start; the tables are read as they come, or when there is a spool.
		return j.details(ctx, o)
	}
	ra := j.random
	if !j.req.Checksum.IsZero() {
		j.witness = transfer.NewWitness(ra)
		ra = j.witness
	}
	img, err := j.format.Open(ctx, ra, j.info.Size, o)
	if err != nil {
		return err
	}
	j.image, j.imageSize = img, img.Size()
	return nil
}

// transfer moves the content along the route. When it returns, what is in the sink is complete and verified.
func (j *job) transfer(ctx context.Context) error {
	switch j.plan.Route {
	case plan.Stream:
		return j.stream(ctx)
	case plan.StreamConvert:
		return j.convert(ctx)
	case plan.Spool:
		return j.spool(ctx)
	case plan.Hashed:
		return j.hashed(ctx)
	case plan.Direct:
		return j.direct(ctx)
	}
	return fmt.Errorf("route %s: %w", j.plan.Route, errdef.ErrUnsupported)
}

func (j *job) transferOptions() transfer.Options {
	l := j.opts.Limits
	return transfer.Options{
		Workers: l.Workers, MaxIndex: l.Metadata, Segment: j.req.segment,
		SourceName: j.name, TargetName: j.req.Target.String(), Abort: j.abort,
		Tracker: j.req.Tracker, Trace: j.req.Trace, Done: j.done(),
	}
}

func (j *job) direct(ctx context.Context) error {
	if j.plan.HashFirst {
		if err := j.hashFirst(); err != nil {
			return err
		}
	}
	if j.image == nil { // raw in a local file
		o := j.formatOptions()
		o.Holes, _ = j.blob.(image.Extenter)
		img, err := j.format.Open(ctx, j.random, j.info.Size, o)
		if err != nil {
			return onSource("read", j.name, err)
		}
		j.image = img
	}
	j.req.Tracker.SetPhase("importing")
	var err error
	o := j.transferOptions()
	mapper, mapped := j.image.(image.Mapper)
	if mapped && !j.info.Local && !j.sink.Caps().Ordered {
		j.stats, err = transfer.CopyStored(ctx, j.sink, mapper, transfer.File{ReaderAt: j.random, Size: j.info.Size}, o)
		return err
	}
	o.Segment = j.segment()
	o.Clone = j.clone()
	j.stats, err = transfer.Copy(ctx, j.sink, j.image, o)
	return err
}

// clone is how a raw file of this machine becomes the disk without being read, nil where it cannot. A checksum has been
// compared by then, or the route is another: it wants every byte read.
func (j *job) clone() func(off, n int64) (int64, error) {
	f, isFile := j.blob.(source.Filer)
	to, can := j.sink.(sink.Cloner)
	if _, isRaw := j.image.(*raw.Image); !isFile || !can || !isRaw || j.inArchive {
		return nil
	}
	return func(off, n int64) (int64, error) {
		// A raw disk is rounded up to whole sectors: what lies behind the file is no part of it.
		return to.Clone(f.File(), off, min(n, j.info.Size-off))
	}
}

// segment is a length for transfer.Copy that decodes no cluster twice and makes remote reads worth their round trip.
func (j *job) segment() int64 {
	if j.req.segment > 0 {
		return j.req.segment
	}
	n := int64(2 << 20) // half of the system calls of 1 MiB; a disk gains no more from longer ones
	if !j.info.Local {
		n = 4 << 20
	}
	if c, ok := j.image.(interface{ ClusterSize() int64 }); ok {
		n = max(n, c.ClusterSize())
	}
	return n
}

func (j *job) hashFirst() error {
	j.req.Tracker.SetPhase("verifying")
	return onSource("verify", j.name, j.verifier.Verify())
}

func (j *job) hashed(ctx context.Context) error {
	j.req.Tracker.SetPhase("importing")
	h := j.req.Checksum.Hash()
	var ho transfer.HashedOptions
	if j.record != nil {
		p := j.record.Point
		ho.From, ho.Tables = p.Stored, p.Tables
		if err := verify.SetState(h, p.Hash); err != nil {
			return onSource("resume", j.name, err)
		}
	}
	if d := j.durable; d != nil {
		ho.Due = d.Due
		ho.Save = func(off, ahead int64, tables []byte) error {
			return d.Checkpoint(&journal.Point{Stored: off, Hashed: off, Hash: verify.State(h), Tables: tables}, ahead, false)
		}
	}
	var err error
	j.stats, err = transfer.CopyHashed(ctx, j.sink, j.image.(image.Mapper),
		transfer.File{ReaderAt: j.random, Size: j.info.Size}, j.witness, h, ho, j.transferOptions())
	if err != nil {
		return err
	}
	return onSource("verify", j.name, j.req.Checksum.Check(h.Sum(nil)))
}

func (j *job) stream(ctx context.Context) error {
	j.req.Tracker.SetPhase("importing")
	limit := j.opts.Limits.VirtualSize
	so := transfer.StreamOptions{Max: limit, TooLarge: j.opts.Limits.CheckVirtualSize(limit + 1)}
	if most := j.most(); most > 0 && most <= limit {
		so.Max = most
		so.TooLarge = errdef.WithHint(fmt.Errorf("the disk is larger than the %d bytes asked for: %w", most, errdef.ErrTooSmall),
			"ask for a larger --size, or none")
	}
	if err := j.goOn(ctx); err != nil {
		return err
	}
	if j.record != nil {
		so.From = j.record.Point.Pos
	}
	so.Tail = func(tail []byte, length int64) (int64, error) {
		f, err := format.Detect(j.head, tail)
		if err != nil {
			return 0, err
		}
		if f.Random {
			return 0, fmt.Errorf("%s: a stream of %d bytes that ends as one does not begin as one: %w", f.Name, length, errdef.ErrCorrupt)
		}
		j.format = f
		return f.StreamSize(tail, length)
	}
	imageSize, stats, err := transfer.Stream(ctx, j.sink, j.content, so, j.transferOptions())
	if err != nil {
		return err
	}
	j.stats = stats
	if err := j.verify(); err != nil {
		return err
	}
	if err := j.setSize(imageSize); err != nil {
		return err
	}
	j.req.Tracker.SetTotal(j.size)
	return nil
}

// verify checks the stored bytes of a stream that was read out.
func (j *job) verify() error {
	err := j.finishArchive()
	if err == nil {
		err = j.verifier.Verify()
	}
	if err != nil {
		op := "read"
		if errors.Is(err, errdef.ErrDigestMismatch) {
			op = "verify"
		}
		return onSource(op, j.name, err)
	}
	return nil
}

// prefix is the start of a stream as an io.ReaderAt.
func prefix(head []byte) io.ReaderAt { return bytes.NewReader(head) }
