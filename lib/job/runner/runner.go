// Package runner does what a job.Spec orders: it composes sources, sinks and the importer, and tells the end as a
// job.Result. A worker in a pod and `cdictl run-job` on a laptop are thin shells around it.
//
// A run may be killed at any moment and be run again. It goes on with what the one before left of a file, where that can be;
// else that is dropped. Nothing is visible at the target before all of it is there.
package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/job"
	"github.com/cdictl/cdictl/lib/limits"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
	"github.com/cdictl/cdictl/lib/trace"
	"github.com/cdictl/cdictl/lib/verify"
)

// Options of Run. The zero value is useful.
type Options struct {
	Limits  limits.Limits
	Tracker *progress.Tracker // counts; nil: nobody looks
	Limiter *limits.Rate      // paces the stored bytes; nil: unlimited
	Trace   *trace.Recorder   // nil: no timeline
	// OnPlan is told what will be done, as soon as the source's header is known. May be nil.
	OnPlan func(importer.Explanation)
	// OnRetry is told of each failed try within the source that will be repeated; nil, or safe for concurrent use.
	OnRetry func(source.Retry)
	// OnNotice is told what people should know, such as why what an earlier run left is of no use. May be nil.
	OnNotice func(text string)
	// Grace is how long it may take, when ctx ends, to note how far it has come; 0: a second.
	Grace time.Duration
	// State is a folder for the record of an import to a device, which an interrupted one is gone on with; empty: the Spec's
	// StateDir, and without that none is.
	State string
	// HTTP has what a Spec does not say: how patient to be. What a Spec says goes before it.
	HTTP httpsource.Options
}

// Run does what spec orders. All that can go wrong is in the Result.
func Run(ctx context.Context, spec job.Spec, o Options) job.Result {
	if o.Tracker == nil {
		o.Tracker = new(progress.Tracker)
	}
	r := &run{spec: spec, o: o, start: time.Now()}
	err := r.run(ctx)
	if cerr := context.Cause(ctx); err != nil && cerr != nil {
		err = fmt.Errorf("the worker was told to stop: %w", cerr) // whatever else broke, broke because of it
	}
	return r.result(err)
}

// run is one run.
type run struct {
	spec  job.Spec
	o     Options
	start time.Time

	size, room int64 // of the target: what to grow to, and what there is at most; 0: unbounded
	tries      int
	plan       importer.Explanation // zero before it is made
	done       importer.Result      // zero before the end
}

func (r *run) run(ctx context.Context) error {
	if err := r.spec.Validate(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var err error
	if r.tries, err = begin(r.spec); err != nil {
		return err
	}
	var sum verify.Digest
	if r.spec.Checksum != "" {
		if sum, err = verify.ParseDigest(r.spec.Checksum); err != nil {
			return fmt.Errorf("checksum: %w", err)
		}
	}
	req := importer.Request{
		Checksum: sum, Preallocate: r.spec.Preallocate, OnPlan: r.planned, OnNotice: r.o.OnNotice, Grace: r.o.Grace,
		Options: importer.Options{Limits: r.o.Limits, Tracker: r.o.Tracker, Limiter: r.o.Limiter, Trace: r.o.Trace, OnRetry: r.o.OnRetry},
	}
	if err := r.target(&req); err != nil {
		return err
	}
	if req.Source, err = r.source(); err != nil {
		return err
	}
	if h := r.spec.Source.HTTP; h != nil {
		req.Disk = h.Disk
	}
	r.done, err = importer.Import(ctx, req)
	return err
}

func (r *run) planned(x importer.Explanation) {
	r.plan = x
	if r.o.OnPlan != nil {
		r.o.OnPlan(x)
	}
}

// result tells how the run ended.
func (r *run) result(err error) job.Result {
	count := r.o.Tracker.Snapshot()
	res := job.Result{
		Version: job.Version, Outcome: job.Succeeded, Reason: job.Completed,
		Format: r.plan.Format, Codec: r.plan.Codec, Route: string(r.plan.Route), VirtualSize: max(r.plan.VirtualSize, 0), StoredSize: max(r.plan.StoredSize, 0),
		Fetched: count.Stored, Spooled: count.Spooled, Seconds: time.Since(r.start).Seconds(), Tries: r.tries,
	}
	if err == nil {
		d := r.done
		res.Format, res.VirtualSize, res.StoredSize, res.Digest, res.Written = d.Format, d.VirtualSize, d.StoredSize, d.Digest, d.Written
		res.HeldMax, res.Kept = d.HeldMax, d.Kept
		if d.Passes > 1 {
			res.Passes = d.Passes
		}
		res.Preallocated = r.spec.Preallocate
		if r.spec.Source.Blank != nil {
			res.Format, res.StoredSize = "blank", 0
		}
		res.Message = r.ownerNote()
		return res
	}
	c := errdef.Classify(err)
	res.Outcome, res.Reason, res.ExitCode, res.Message = job.Retry, c.Reason, c.ExitCode, err.Error()
	if c.Retry == errdef.RetryNever || c.Reason == tooSmall {
		res.Outcome = job.Failed
	}
	if c.Reason == tooSmall {
		res.RequiredSize = r.required()
	}
	res.Hint = r.hint(err, c, res.RequiredSize)
	return res
}

// ownerNote says where the disk is not as it was ordered, because this process may not give files away.
func (r *run) ownerNote() string {
	t := r.spec.Target
	if t.File == "" || t.UID == nil && t.GID == nil {
		return ""
	}
	fi, err := os.Stat(t.File)
	if err != nil {
		return fmt.Sprintf("the disk cannot be looked at: %v", errors.Unwrap(err))
	}
	uid, gid, ok := owner(fi)
	if !ok || (t.UID == nil || *t.UID == uid) && (t.GID == nil || *t.GID == gid) {
		return ""
	}
	return fmt.Sprintf("the disk belongs to %d:%d: this worker may not give it to another owner", uid, gid)
}
