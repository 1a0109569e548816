package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/cdictl/cli/meter"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/cmd/internal/diagnose"
	"github.com/cdictl/cdictl/cmd/internal/diagnose/gather"
	"github.com/cdictl/cdictl/cmd/internal/kube"
	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/progress"
)

// detached is what an interrupt of following means: the import itself goes on.
type detached struct{ error }

func (d detached) Unwrap() error { return context.Canceled }

// lookEvery is the time between two looks for a cause while nothing moves. A look is some twenty requests.
const lookEvery = 10 * time.Second

// firstLook comes earlier: a typing error in a name shall not take ten seconds to be told.
const firstLook = 3 * time.Second

// errFinished ends the watch of follower: all has been seen.
var errFinished = errors.New("finished")

// follower watches one DataVolume to its end.
type follower struct {
	*app
	flags   *transferFlags
	cluster *kube.Cluster
	dv      *cdiv1.DataVolume
	claim   *corev1.PersistentVolumeClaim
	track   *progress.Tracker
	meter   *meter.Meter
	seen    progress.Snapshot // what the tracker was told
	last    *cdi.Population
	moved   atomic.Int64 // when the transfer moved last, in nanoseconds of Unix time
}

// follow shows the import until it has succeeded or failed for good.
func (a *app) follow(ctx context.Context, c *kube.Cluster, t *transferFlags, d *dvFlags, dv *cdiv1.DataVolume) error {
	start := time.Now()
	f := &follower{app: a, flags: t, cluster: c, dv: dv, track: &progress.Tracker{}}
	f.meter = a.meter(t, f.track)
	defer f.meter.Stop()
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	if t.pace.timeout > 0 {
		watching, cancel = context.WithTimeout(watching, t.pace.timeout)
		defer cancel()
	}
	looking := make(chan struct{})
	go func() {
		defer close(looking)
		f.lookNowAndThen(watching, dv.Namespace, dv.Name)
	}()
	err := watchBoth(watching, c, dv.Namespace, dv.Name, f.hear)
	timedOut := errors.Is(watching.Err(), context.DeadlineExceeded)
	cancel()
	<-looking
	f.meter.Stop()
	again := fmt.Sprintf("follow it again: cdictl get dv %s -n %s --watch", dv.Name, dv.Namespace)
	switch {
	case errors.Is(err, errFinished):
	case ctx.Err() != nil:
		return errdef.WithHint(detached{fmt.Errorf("stopped following dv/%s: the import goes on in the cluster", dv.Name)}, again)
	case timedOut:
		return errdef.WithHint(fmt.Errorf("dv/%s is not done after %s, the import goes on in the cluster: %w", dv.Name, t.pace.timeout, errdef.ErrTimeout),
			fmt.Sprintf("ask why: cdictl explain dv/%s -n %s", dv.Name, dv.Namespace))
	default:
		return err
	}
	if err := f.outcome(ctx); err != nil {
		return err
	}
	if t.output.quiet && !t.output.json() {
		return nil
	}
	return answer(a.out, t.output.json(), newOutcome(f.dv, f.last, start))
}

// hear takes in what the watch tells. It is called from one goroutine.
func (f *follower) hear(n news) error {
	switch {
	case n.claim != nil && !n.claim.Gone:
		f.claim = n.claim.Object
	case n.claim != nil:
		f.claim = nil
	case n.dv.Gone:
		return errdef.WithHint(fmt.Errorf("dv/%s in namespace %s was deleted: %w", f.dv.Name, f.dv.Namespace, errdef.ErrNotFound), "somebody else did; run the command again to make it anew")
	default:
		i, err := newItem(n.dv.Object)
		if err != nil {
			return err
		}
		if i.dv.UID != f.dv.UID {
			return errdef.WithHint(fmt.Errorf("dv/%s in namespace %s was deleted and made anew: %w", f.dv.Name, f.dv.Namespace, errdef.ErrNotFound), "run the command again to follow the new one")
		}
		f.dv = i.dv
	}
	s := diagnose.Summarize(f.dv, f.claim)
	if s.Population != nil {
		f.last = s.Population
		f.progress(s.Population)
	}
	if f.dv.Status.Phase == cdiv1.Succeeded || f.dv.Status.Phase == cdiv1.Failed || s.Population != nil && s.Population.State == cdi.StateFailed {
		return errFinished
	}
	return nil
}

// progress moves the tracker, which only knows steps, to where the worker is. After a restart that may be backwards.
func (f *follower) progress(p *cdi.Population) {
	if p.Total > 0 {
		f.track.SetTotal(p.Total)
	}
	if p.Done != f.seen.Virtual || p.Fetched != f.seen.Stored {
		f.moved.Store(time.Now().UnixNano())
	}
	f.track.AddVirtual(p.Done - f.seen.Virtual)
	f.track.AddStored(p.Fetched - f.seen.Stored)
	f.seen.Virtual, f.seen.Stored = p.Done, p.Fetched
}

// lookNowAndThen looks for the cause while the transfer does not move, and tells each cause once.
func (f *follower) lookNowAndThen(ctx context.Context, namespace, name string) {
	told := ""
	for wait := firstLook; ; wait = lookEvery {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if time.Since(time.Unix(0, f.moved.Load())) < wait {
			continue
		}
		found, err := gather.DataVolume(ctx, f.cluster, namespace, name)
		if err != nil {
			continue // the watch tells what is wrong with the cluster
		}
		r := diagnose.Explain(found)
		if r.ID == told || r.Verdict == diagnose.Done || r.Verdict == diagnose.Failed {
			continue
		}
		told = r.ID
		if r.Verdict == diagnose.Working {
			continue
		}
		f.meter.Say(r.Object + " " + r.Summary)
		if r.Cause != "" {
			f.meter.Say("  cause  " + r.Cause)
		}
		for _, step := range r.Next {
			f.meter.Say("  next   " + step)
		}
	}
}

// outcome is nil if the import has succeeded, else its cause as an error of errdef's table.
func (f *follower) outcome(ctx context.Context) error {
	if f.dv.Status.Phase == cdiv1.Succeeded {
		return nil
	}
	s := diagnose.Summarize(f.dv, f.claim)
	reason, message, hint := s.Reason, s.Message, ""
	if p := s.Population; p != nil && p.State == cdi.StateFailed {
		reason, message, hint = p.Reason, p.Message, p.Hint
	}
	// What explain finds is said in the words of a cluster, where the worker's own hint knows flags only.
	if found, err := gather.DataVolume(ctx, f.cluster, f.dv.Namespace, f.dv.Name); err == nil {
		r := diagnose.Explain(found)
		if message == "" {
			reason, message = r.ID, r.Cause
		}
		if len(r.Next) > 0 {
			hint = strings.Join(r.Next, " ")
		}
	}
	if message == "" {
		message = "its phase is " + string(f.dv.Status.Phase)
	}
	err := fmt.Errorf("dv/%s in namespace %s failed: %s", f.dv.Name, f.dv.Namespace, message)
	if class := classOf(reason); class != nil {
		err = caused{err, class}
	}
	if hint == "" {
		hint = fmt.Sprintf("ask why: cdictl explain dv/%s -n %s", f.dv.Name, f.dv.Namespace)
	}
	return errdef.WithHint(err, hint)
}

// caused is an error told by a cluster that is one of errdef's, without a word more in its text.
type caused struct {
	error
	class error
}

func (c caused) Unwrap() []error { return []error{c.error, c.class} }

// classOf is the sentinel whose reason in a condition is this one; nil if there is none.
func classOf(reason string) error {
	for _, err := range []error{errdef.ErrUsage, errdef.ErrNotFound, errdef.ErrUnauthorized, errdef.ErrCorrupt, errdef.ErrDigestMismatch, errdef.ErrTooSmall,
		errdef.ErrLimit, errdef.ErrScratchNeeded, errdef.ErrChanged, errdef.ErrBusy, errdef.ErrExists, errdef.ErrRefused, errdef.ErrUnavailable, errdef.ErrTimeout} {
		if errdef.Reason(err) == reason {
			return err
		}
	}
	switch reason {
	case "ChecksumError": // as KubeVirt's CDI calls it
		return errdef.ErrDigestMismatch
	case "ErrExceededQuota":
		return errdef.ErrTooSmall
	}
	return nil
}

// An outcome is what following a DataVolume tells in the end. Its JSON names are stable.
type outcome struct {
	Namespace   string  `json:"namespace"`
	Name        string  `json:"name"`
	Claim       string  `json:"claim"`
	Phase       string  `json:"phase"`
	Size        string  `json:"size"`
	Restarts    int32   `json:"restarts"`
	Format      string  `json:"format,omitempty"`
	VirtualSize int64   `json:"virtualSize,omitempty"`
	Digest      string  `json:"digest,omitempty"`
	Fetched     int64   `json:"bytesFetched,omitempty"`
	Seconds     float64 `json:"seconds,omitempty"`
}

func newOutcome(dv *cdiv1.DataVolume, p *cdi.Population, start time.Time) outcome {
	o := outcome{Namespace: dv.Namespace, Name: dv.Name, Claim: dv.Name, Phase: string(dv.Status.Phase), Size: sizeOf(dv), Restarts: dv.Status.RestartCount}
	if p != nil {
		o.Format, o.VirtualSize, o.Digest, o.Fetched = p.Format, p.VirtualSize, p.Digest, p.Fetched
	}
	if !start.IsZero() {
		o.Seconds = float64(time.Since(start).Milliseconds()) / 1000
	}
	return o
}

// String is a line that says what was made, and one for each thing worth knowing of how.
func (o outcome) String() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, clean(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(&b, "dv/%s in namespace %s: done, the disk is in claim %s (%s)\n", o.Name, o.Namespace, o.Claim, o.Size)
	if o.Format != "" {
		row("image", "%s, virtual size %s (%d bytes)", o.Format, meter.Size(o.VirtualSize), o.VirtualSize)
	}
	if o.Fetched > 0 {
		row("moved", "fetched %s", meter.Size(o.Fetched))
	}
	if o.Digest != "" {
		row("verified", "%s", o.Digest)
	}
	if o.Restarts > 0 {
		row("restarts", "%d", o.Restarts)
	}
	row("time", "%.1f s", o.Seconds)
	return b.String()
}
