package population

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// Reasons of events on claims: those of the containerized-data-importer.
const (
	eventPrime     = "CreatedPVCPrimeSuccessfully"
	eventNoPrime   = "ErrCreatingPVCPrime"
	eventQuota     = "ErrExceededQuota"
	eventNoPod     = "ErrStartingPod"
	eventInUse     = "ImportTargetInUse"
	eventSucceeded = "ImportSucceeded"
	eventFailed    = "ErrImportFailed"
	eventRetained  = "RetainedPVCPrime"
)

const maxNote = 1000 // the API takes 1024

func (r *reconciler) event(about runtime.Object, kind, reason, note string) {
	if len(note) > maxNote {
		note = strings.ToValidUTF8(note[:maxNote], "") + "…"
	}
	r.events.Eventf(about, nil, kind, reason, "Populate", "%s", note)
}

// announce makes events of what a report changed.
func (r *reconciler) announce(w *world, said cdi.Population, restarts int32) {
	now := w.said
	text := now.Message
	if now.Hint != "" {
		text += " (" + now.Hint + ")"
	}
	switch {
	case now.State == cdi.StateDone && said.State != cdi.StateDone:
		r.event(w.claim, corev1.EventTypeNormal, eventSucceeded, cmp.Or(now.Message, "the claim is filled"))
	case now.State == cdi.StateFailed && (said.State != cdi.StateFailed || said.Reason != now.Reason):
		r.event(w.claim, corev1.EventTypeWarning, eventFailed, now.Reason+": "+text)
	case now.State == cdi.StateBackoff && (said.State != cdi.StateBackoff || restarts != restartsOf(w.claim)):
		r.event(w.claim, corev1.EventTypeWarning, eventFailed, now.Reason+": "+text)
	}
}

// hear asks for the newest warning about an object, and puts it into s. That of a PVC′ is repeated on the user's claim.
func (r *reconciler) hear(ctx context.Context, w *world, s *step) error {
	var list corev1.EventList
	err := r.live.List(ctx, &list, client.InNamespace(s.ask.GetNamespace()), client.MatchingFieldsSelector{
		Selector: fields.SelectorFromSet(fields.Set{"involvedObject.uid": string(s.ask.GetUID()), "type": corev1.EventTypeWarning}),
	})
	if err != nil {
		return fmt.Errorf("events of %s: %w", s.ask.GetName(), err)
	}
	var newest *corev1.Event
	for i := range list.Items {
		e := &list.Items[i]
		if e.Reason == "ClaimMisbound" || e.Reason == "FailedScheduling" && scheduled(s.ask) {
			continue // PVC′ loses its volume on purpose; a node was found since
		}
		if newest == nil || lastSeen(newest).Before(lastSeen(e)) {
			newest = e
		}
	}
	if newest == nil {
		return nil
	}
	s.status.Reason = newest.Reason
	s.status.Message += ": " + strings.TrimSpace(newest.Message)
	if s.status.Hint == "" {
		kind := "pod"
		if _, ok := s.ask.(*corev1.PersistentVolumeClaim); ok {
			kind = "pvc"
		}
		s.status.Hint = fmt.Sprintf("kubectl describe -n %s %s %s", s.ask.GetNamespace(), kind, s.ask.GetName())
	}
	if s.ask.GetUID() != w.claim.UID && w.prime != nil && s.ask.GetUID() == w.prime.UID && w.said.Message != s.status.Message {
		r.event(w.claim, corev1.EventTypeWarning, newest.Reason, fmt.Sprintf("[%s] : %s", w.prime.Name, newest.Message))
	}
	return nil
}

func scheduled(o client.Object) bool {
	p, ok := o.(*corev1.Pod)
	return ok && p.Spec.NodeName != ""
}

// lastSeen is when an event happened last; which field says so depends on who wrote it.
func lastSeen(e *corev1.Event) time.Time {
	if e.Series != nil {
		return e.Series.LastObservedTime.Time
	}
	for _, t := range []time.Time{e.LastTimestamp.Time, e.EventTime.Time} {
		if !t.IsZero() {
			return t
		}
	}
	return e.CreationTimestamp.Time
}
