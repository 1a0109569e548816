package population

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/podspec"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

// What the containerized-data-importer calls these.
const (
	runningReason   = "Pod is running"
	completeReason  = "Completed"
	completeMessage = "Import Complete"
	dataVolumeKind  = "DataVolume"
)

// restartsOf is how often workers of the claim were started again. It never decreases.
func restartsOf(c *corev1.PersistentVolumeClaim) int32 {
	n, err := strconv.ParseInt(c.Annotations[cdi.AnnPodRestarts], 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

// telling are the annotations by which a step is told. An absent key is left as it is, nil is taken away.
func telling(w *world, s step) map[string]any {
	a := map[string]any{}
	p := s.status
	restarts := restartsOf(w.claim)
	phase, ready := corev1.PodPhase(w.claim.Annotations[cdi.AnnPodPhase]), false
	if s.sight != nil {
		if restarts = max(restarts, s.sight.restarts); s.counts {
			restarts++
		}
		phase, ready = corev1.PodPending, s.sight.ready && p.State == cdi.StateRunning
		a[cdi.AnnPodSchedulable] = strconv.FormatBool(!s.sight.noNode)
	}
	running, reason, message := "false", p.Reason, p.Message
	switch p.State {
	case cdi.StateRunning:
		phase, running, reason = corev1.PodRunning, "true", cmp.Or(exception(p.Reason), runningReason)
	case cdi.StateBackoff, cdi.StatePublishing:
		phase = corev1.PodRunning // the pod is not done before the claim is
	case cdi.StateFailed:
		phase = corev1.PodFailed
	case cdi.StateDone:
		phase, reason, message = corev1.PodSucceeded, completeReason, completeMessage
	case cdi.StateWaiting, cdi.StateConsumer, cdi.StateScheduled:
		if phase != "" || p.State == cdi.StateScheduled {
			phase = corev1.PodPending
		}
	}
	if phase != "" {
		a[cdi.AnnPodPhase] = string(phase)
		a[cdi.AnnPodReady] = strconv.FormatBool(ready)
		a[cdi.AnnPodRestarts] = strconv.Itoa(int(restarts))
	}
	a[cdi.AnnRunning], a[cdi.AnnRunningReason], a[cdi.AnnRunningMessage] = running, reason, message
	if p.Pod != "" {
		a[cdi.AnnImportPod] = p.Pod
	}
	if w.flow == viaPrime {
		a[cdi.AnnPopulatorKind] = sourceKind
		if w.prime != nil {
			a[cdi.AnnPVCPrime] = w.prime.Name
		}
	}
	switch {
	case p.State == cdi.StateDone:
		a[cdi.AnnPopulatorProgress] = "100.0%"
	case p.State == cdi.StateRunning && p.Percent >= 0:
		a[cdi.AnnPopulatorProgress] = fmt.Sprintf("%.2f%%", min(p.Percent, 99.99)) // 100 is for Done
	}
	if s.do == giveUp {
		a[cdi.AnnFatalError] = cmp.Or(p.Reason, "Failed") + ": " + p.Message
	}
	if r := w.record(); r != nil && r.Preallocated {
		a[cdi.AnnPreallocated] = "true"
	}
	if p.State == cdi.StateDone {
		if owner := metav1.GetControllerOf(w.claim); owner != nil && owner.Kind == dataVolumeKind {
			a[cdi.AnnPopulatedFor] = owner.Name
		}
	}
	b, err := json.Marshal(p)
	if err == nil {
		a[cdi.AnnPopulation] = string(b)
	}
	return a
}

// exception is a reason that is worth more than that the pod runs.
func exception(reason string) string {
	if reason == "Running" {
		return ""
	}
	return reason
}

// report tells a step, in one patch, if it says anything new.
func (r *reconciler) report(ctx context.Context, w *world, s step) error {
	changed := map[string]any{}
	for key, value := range telling(w, s) {
		if have, ok := w.claim.Annotations[key]; !ok || have != value {
			changed[key] = value
		}
	}
	if len(changed) == 0 {
		return nil
	}
	said, restarts := w.said, restartsOf(w.claim)
	if err := r.annotate(ctx, w.claim, changed); err != nil {
		return fmt.Errorf("claim %s: tell how it stands: %w", w.claim.Name, err)
	}
	w.said = s.status
	r.announce(w, said, restarts)
	return nil
}

// annotate patches annotations of a claim as it was read. If it has changed since, or was made again under its name, that is
// a conflict, and its event brings the next reconcile: so nothing is told twice because a cache is behind.
func (r *reconciler) annotate(ctx context.Context, c *corev1.PersistentVolumeClaim, a map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": c.UID, "resourceVersion": c.ResourceVersion, "annotations": a}})
	if err != nil {
		return err
	}
	return r.Patch(ctx, c, client.RawPatch(types.MergePatchType, patch), owner)
}

// tellProgress puts a worker's answer into p.
func tellProgress(p *cdi.Population, now *job.Progress) {
	if now == nil {
		return
	}
	p.Done, p.Total, p.Fetched, p.Rate, p.Remaining = now.Virtual, now.Total, now.Stored, now.Rate, now.Remaining
	p.Percent = now.Percent()
	text := size(p.Done)
	switch {
	case p.Total > 0:
		text = fmt.Sprintf("%s of %s (%.0f%%)", size(p.Done), size(p.Total), p.Percent)
	case p.Done == 0:
		text = size(p.Fetched) + " fetched"
	}
	if p.Rate > 0 {
		text += ", " + size(int64(p.Rate)) + "/s"
	}
	if p.Remaining > 0 {
		text += ", " + time.Duration(p.Remaining*float64(time.Second)).Round(time.Second).String() + " left"
	}
	if now.LastRetry != "" {
		text += fmt.Sprintf("; repeated %d times, last: %s", now.Retries, now.LastRetry)
	}
	if p.Reason == "Running" {
		p.Message = text
	}
}

// size is a number of bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, i := float64(n)/unit, 0
	for ; f >= unit && i < 5; i++ {
		f /= unit
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTPE"[i])
}

// podName is that of the claim's worker, whether there is one or not.
func podName(c *corev1.PersistentVolumeClaim, f flow) string {
	if f == direct {
		return podspec.Name(c)
	}
	return podspec.Name(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: cdi.PrimeName(c.UID)}})
}
