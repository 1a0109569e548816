package importer

import (
	"context"
	"errors"
	"time"

	"github.com/cdictl/cdictl/lib/compress"
	"github.com/cdictl/cdictl/lib/extract"
	"github.com/cdictl/cdictl/lib/plan"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/verify"
)

// ExtractRequest says which archive to unpack where.
type ExtractRequest struct {
	Source source.Source
	Folder string
	// Checksum of the stored bytes, checked before anything becomes visible; zero: none.
	Checksum verify.Digest
	// SkipDevices and Force are those of extract.Options.
	SkipDevices, Force bool
	// OnPlan is told the plan before anything is done to the folder. May be nil.
	OnPlan func(Explanation)
	// OnNotice is told what people should know. May be nil.
	OnNotice func(text string)
	Options
}

// ExtractResult tells what an extraction did. Its JSON names are stable, and those of Result where they mean the same.
type ExtractResult struct {
	Source     string     `json:"source"`
	Target     string     `json:"target"`
	Format     string     `json:"format"`
	Codec      string     `json:"codec,omitempty"`
	Route      plan.Route `json:"route"`
	Reason     string     `json:"reason"`
	StoredSize int64      `json:"storedSize"`
	Digest     string     `json:"digest,omitempty"` // of the stored bytes, verified
	Identity   string     `json:"identity,omitempty"`
	Passes     int        `json:"passes"`
	Fetched    int64      `json:"bytesFetched"`
	extract.Stats
	Seconds float64 `json:"seconds"`
}

// Extract unpacks the tar at r.Source, under a codec or none, into r.Folder. Nothing is visible there before all of it is
// there, verified and durable; after an error nothing is left. What package extract says holds.
func Extract(ctx context.Context, r ExtractRequest) (ExtractResult, error) {
	start := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if r.Tracker == nil {
		r.Tracker = newTracker()
	}
	src, err := openTar(ctx, r)
	if err != nil {
		return ExtractResult{}, cause(ctx, err)
	}
	x := src.explainTar()
	if r.OnPlan != nil {
		r.OnPlan(x)
	}
	stats, err := extractTar(ctx, src, r)
	cancel() // whoever still reads ahead would make Close wait
	src.Close()
	if err != nil {
		return ExtractResult{}, cause(ctx, err)
	}
	res := ExtractResult{
		Source: src.name, Target: r.Folder, Format: x.Format, Codec: x.Codec, Route: x.Route, Reason: x.Reason, StoredSize: src.info.Size,
		Identity: src.info.Identity, Passes: 1, Fetched: r.Tracker.Snapshot().Stored, Stats: stats, Seconds: time.Since(start).Seconds(),
	}
	if !r.Checksum.IsZero() {
		res.Digest = r.Checksum.String()
	}
	if res.StoredSize < 0 {
		res.StoredSize = src.verifier.Bytes()
	}
	return res, nil
}

// ExplainExtract makes the plan for r and moves nothing.
func ExplainExtract(ctx context.Context, r ExtractRequest) (Explanation, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	src, err := openTar(ctx, r)
	if err != nil {
		return Explanation{}, err
	}
	defer src.Close()
	defer cancel()
	return src.explainTar(), nil
}

// openTar opens an archive, whose members are of interest here and not a disk in it.
func openTar(ctx context.Context, r ExtractRequest) (_ *opened, err error) {
	o := r.Options
	o.Limits = o.Limits.WithDefaults()
	blob, err := r.Source.Open(ctx, source.Env{Limiter: o.Limiter, Tracker: o.Tracker, OnRetry: o.OnRetry, Trace: o.Trace})
	if err != nil {
		return nil, onSource("open", r.Source.String(), err)
	}
	c := &opened{name: r.Source.String(), source: r.Source, opts: o, blob: blob, info: blob.Info()}
	o.Tracker.SetStoredTotal(c.info.Size)
	c.verifier = verify.NewReader(blob, r.Checksum)
	if err = c.peek(c.verifier, nil); err == nil {
		if codec, ok := compress.Detect(c.head); ok {
			err = c.decode(codec)
		}
	}
	if err == nil {
		err = extract.Detect(c.head)
	}
	if err != nil {
		return nil, errors.Join(onSource("read", c.name, err), c.Close())
	}
	return c, nil
}

func (c *opened) explainTar() Explanation {
	name := "tar"
	if c.codec != "" {
		name += " in " + c.codec
	}
	return Explanation{Source: c.name, Format: "tar", Codec: c.codec, VirtualSize: -1, StoredSize: c.info.Size, Plan: plan.Plan{
		Route: plan.Extract, Passes: 1, Reason: name + ": one pass into a hidden folder of the target, whose entries are renamed at the end"}}
}

func extractTar(ctx context.Context, src *opened, r ExtractRequest) (extract.Stats, error) {
	x, err := extract.Open(r.Folder, extract.Options{Limits: src.opts.Limits, SkipDevices: r.SkipDevices, Force: r.Force, OnNotice: r.OnNotice})
	if err != nil {
		return extract.Stats{}, err
	}
	r.Tracker.SetPhase("extracting")
	j := job{opened: src, req: Request{Source: r.Source}}
	if err = x.Unpack(ctx, src.content); err != nil {
		err = onSource("extract", src.name, err)
	} else if err = j.verify(); err == nil {
		err = j.unchanged(ctx)
	}
	if err == nil {
		r.Tracker.SetPhase("committing")
		err = x.Commit(ctx)
	}
	return x.Stats(), errors.Join(err, x.Close())
}
