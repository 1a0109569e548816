package datavolume

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/dvstatus"
)

// staleRetry is how long a cache that is behind is given: a watch is a few milliseconds late.
const staleRetry = 50 * time.Millisecond

// work is one look at one DataVolume.
type work struct {
	dv    *cdiv1.DataVolume
	claim *corev1.PersistentVolumeClaim // nil: there is none
	plan  *plan                         // what the claim is to be; set by the step that needs it first
	// settled is set by a step after which the claim needs nothing more.
	settled bool
}

func (w *work) finished() bool { return w.dv.Status.Phase == cdiv1.Succeeded }

// A step looks at one thing and does what is missing. An error that explain knows stops the steps, not the report.
type step func(context.Context, *work) error

// Reconcile brings one DataVolume forward.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	w, err := r.fetch(ctx, req)
	if w == nil || err != nil {
		return ctrl.Result{}, err
	}
	if r.writes.stale(req.NamespacedName, w.dv.ResourceVersion) {
		return ctrl.Result{RequeueAfter: staleRetry}, nil
	}
	for _, s := range []step{
		r.judgeClaim,     // ours, to be adopted, or in the way
		r.expectClaim,    // that somebody else is to restore
		r.planClaim,      // class, profile, size, and who fills it
		r.ensureSource,   // what the population controller is to fill it with
		r.ensureClaim,    //
		r.checkExternal,  // whether anybody can fill it
		r.passAnnotation, // that the user added since
		r.removeSource,   // when it has been used
	} {
		if err = s(ctx, w); err != nil || w.settled {
			break
		}
	}
	return r.report(ctx, w, err)
}

func (r *reconciler) fetch(ctx context.Context, req ctrl.Request) (*work, error) {
	w := &work{dv: &cdiv1.DataVolume{}}
	err := r.client.Get(ctx, req.NamespacedName, w.dv)
	if apierrors.IsNotFound(err) || err == nil && w.dv.DeletionTimestamp != nil {
		// What it owns goes with it, by garbage collection.
		r.writes.forget(req.NamespacedName)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("DataVolume %s: %w", req, err)
	}
	claim := &corev1.PersistentVolumeClaim{}
	if err := r.client.Get(ctx, req.NamespacedName, claim); err == nil {
		w.claim = claim
	} else if !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("PVC %s: %w", req, err)
	}
	return w, nil
}

// report writes the status if it says anything new, tells events of what changed, and says when to look again.
func (r *reconciler) report(ctx context.Context, w *work, cause error) (ctrl.Result, error) {
	why := explain(cause)
	if cause != nil && why == nil && apierrors.IsConflict(cause) {
		return ctrl.Result{RequeueAfter: staleRetry}, nil
	}
	if cause != nil && why == nil && w.claim == nil && !w.finished() {
		// Without a claim there is nothing else to show. With one, an error that passes would only make the status flap.
		why = &stuck{Stuck: dvstatus.Stuck{Reason: reasonNotCreated, Message: cause.Error(), Hint: "none yet: it is tried again"}}
	}
	f, err := r.facts(ctx, w)
	if err != nil {
		return ctrl.Result{}, err
	}
	if why != nil {
		f.Stuck = &why.Stuck
	}
	if cause == nil || why != nil {
		conflict, err := r.publish(ctx, w, f)
		if err != nil {
			return ctrl.Result{}, err
		}
		if conflict {
			return ctrl.Result{RequeueAfter: staleRetry}, nil
		}
	}
	switch {
	case cause != nil && explain(cause) == nil:
		return ctrl.Result{}, cause
	case why != nil && why.retry > 0:
		return ctrl.Result{RequeueAfter: why.retry}, nil
	case w.dv.Status.Phase == cdiv1.Succeeded:
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: resync}, nil
}

// publish writes over the version that was read and no other, so that two managers, one of which is about to learn that it
// leads no more, cannot undo each other. Who wrote tells the events.
func (r *reconciler) publish(ctx context.Context, w *work, f dvstatus.Facts) (conflict bool, err error) {
	old := w.dv.DeepCopy()
	w.dv.Status = dvstatus.Compute(f)
	if equality.Semantic.DeepEqual(old.Status, w.dv.Status) {
		return false, nil
	}
	patch := client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{})
	switch err := r.client.Status().Patch(ctx, w.dv, patch); {
	case apierrors.IsConflict(err):
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("status of DataVolume %s/%s: %w", old.Namespace, old.Name, err)
	}
	r.writes.set(client.ObjectKeyFromObject(old), old.ResourceVersion)
	for _, e := range dvstatus.Events(f, &old.Status, &w.dv.Status) {
		r.events.Eventf(w.dv, nil, e.Type, e.Reason, "Reconcile", "%s", cut(e.Message))
	}
	return false, nil
}

// cut shortens a message to what an event can hold.
func cut(message string) string {
	const most = 1000 // the API takes 1024 bytes
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most], "") + "…"
}

func (r *reconciler) facts(ctx context.Context, w *work) (dvstatus.Facts, error) {
	f := dvstatus.Facts{DV: w.dv, Claim: w.claim, Flow: flowOf(w), Now: metav1.NewTime(r.now()).Rfc3339Copy()}
	if w.claim == nil || w.claim.Status.Phase == corev1.ClaimBound {
		return f, nil
	}
	late, err := r.bindsLate(ctx, w)
	f.LateBinding = late
	return f, err
}
