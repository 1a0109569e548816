package population

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/podspec"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// act does what a step says and brings the world up to date. stop: nothing can be decided until something else happens;
// then the step, which it may have changed, is how it stands.
func (r *reconciler) act(ctx context.Context, w *world, s *step) (stop bool, err error) {
	switch s.do {
	case makePrime:
		return r.makePrime(ctx, w, s)
	case dropPrime:
		return true, r.remove(ctx, w.prime)
	case moveNode:
		node := w.claim.Annotations[cdi.AnnSelectedNode]
		return false, r.annotate(ctx, w.prime, map[string]any{annNode: node, cdi.AnnSelectedNode: node})
	case reschedule:
		return true, r.reschedule(ctx, w)
	case startWorker:
		return r.startWorker(ctx, w, s)
	case dropWorker:
		return true, r.remove(ctx, w.pod)
	case record:
		err := r.annotate(ctx, w.working(), map[string]any{annResult: string(s.result.Encode())})
		if err == nil && w.flow == viaPrime {
			w.volume, err = get(ctx, r, "", w.prime.Spec.VolumeName, &corev1.PersistentVolume{}, nil)
		}
		return false, err
	case publish:
		return true, r.publish(ctx, w, s)
	case finish:
		return true, r.finish(ctx, w, s)
	case giveUp:
		return false, r.report(ctx, w, *s)
	case cleanUp:
		return true, r.cleanUp(ctx, w, s)
	}
	return true, fmt.Errorf("no such action")
}

// remove deletes this very object, if it is still there.
func (r *reconciler) remove(ctx context.Context, o client.Object) error {
	uid := o.GetUID()
	err := r.Delete(ctx, o, client.Preconditions{UID: &uid})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // another has its name
		return nil
	}
	return err
}

// primeOf is PVC′: the same claim, without the reference to what is to be in it.
func primeOf(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
	p := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name:      cdi.PrimeName(c.UID),
			Namespace: c.Namespace,
			Labels: map[string]string{
				cdi.LabelApp:           cdi.App,
				cdi.LabelPartOf:        cdi.App,
				cdi.LabelManagedBy:     cdi.ManagedBy,
				cdi.LabelK8sComponent:  "storage",
				cdi.LabelExcludeBackup: "true",
			},
			Annotations:     map[string]string{cdi.AnnImmediateBinding: ""},
			OwnerReferences: []metav1.OwnerReference{podspec.OwnedBy(c)},
		},
		Spec: *c.Spec.DeepCopy(),
	}
	p.Spec.DataSource, p.Spec.DataSourceRef, p.Spec.VolumeName = nil, nil, ""
	if !block(c) {
		p.Labels[cdi.LabelFillingUp] = "disabled"
	}
	if node := c.Annotations[cdi.AnnSelectedNode]; node != "" {
		maps.Copy(p.Annotations, map[string]string{annNode: node, cdi.AnnSelectedNode: node})
	}
	return p
}

func (r *reconciler) makePrime(ctx context.Context, w *world, s *step) (stop bool, err error) {
	p := primeOf(w.claim)
	switch err := r.Create(ctx, p, owner); {
	case err == nil:
		w.prime = p
		r.event(w.claim, corev1.EventTypeNormal, eventPrime, fmt.Sprintf("claim %s is filled in place of this one", p.Name))
		return false, nil
	case apierrors.IsAlreadyExists(err):
		return true, r.adopt(ctx, w, p, s)
	case refused(err):
		reason := eventNoPrime
		if quota(err) {
			reason = eventQuota
		}
		r.refuse(w, s, reason, fmt.Sprintf("claim %s cannot be made: %v", p.Name, err))
		return true, nil
	default:
		return true, err
	}
}

// adopt is for a child that was there before the cache knew: if it is ours, its event will come.
func (r *reconciler) adopt(ctx context.Context, w *world, o client.Object, s *step) error {
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
		return client.IgnoreNotFound(err)
	}
	if metav1.IsControlledBy(o, w.claim) {
		s.again = soon
		return nil
	}
	*s = waits("NameTaken", fmt.Sprintf("%s %s is there and was not made for this claim", strings.ToLower(kindOf(o)), o.GetName()),
		fmt.Sprintf("see what it is, and delete it: kubectl describe -n %s %s %s", o.GetNamespace(), kindOf(o), o.GetName()))
	return nil
}

func kindOf(o client.Object) string {
	if _, ok := o.(*corev1.Pod); ok {
		return "pod"
	}
	return "pvc"
}

// refused says that the API server understood and will not: asking again at once does not help, and the user should know.
func refused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// quota tells a quota from other refusals. The API server gives it no reason of its own, only these words.
func quota(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota")
}

// refuse tells of a refusal, once, and looks again later.
func (r *reconciler) refuse(w *world, s *step, reason, message string) {
	hint := ""
	if strings.Contains(message, "exceeded quota") {
		hint = fmt.Sprintf("raise the quota or free some of it: kubectl describe -n %s resourcequota", w.claim.Namespace)
	}
	*s = waits(reason, message, hint)
	if w.said.Message != message {
		r.event(w.claim, corev1.EventTypeWarning, reason, message)
	}
}

// reschedule passes on that the volume cannot be made on the node that was chosen: the scheduler chooses again when the
// claim has none. The copy goes first: if nothing else happens after it, the same node is tried once more.
func (r *reconciler) reschedule(ctx context.Context, w *world) error {
	node := w.claim.Annotations[cdi.AnnSelectedNode]
	if err := r.annotate(ctx, w.prime, map[string]any{annNode: nil}); err != nil {
		return err
	}
	path := "/metadata/annotations/" + strings.ReplaceAll(cdi.AnnSelectedNode, "/", "~1")
	return r.patchIf(ctx, w.claim, []operation{{Op: "test", Path: path, Value: node}, {Op: "remove", Path: path}})
}

// operation is one of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

func (r *reconciler) patchIf(ctx context.Context, o client.Object, ops []operation) error {
	patch, err := json.Marshal(ops)
	if err != nil {
		return err
	}
	return r.Patch(ctx, o, client.RawPatch(types.JSONPatchType, patch), owner)
}

// publish points the volume at the user's claim, if it still points at PVC′. The volume's reclaim policy stays: it belongs
// to one of the two all the time. What is known of the image is told first; PVC′, which has it too, does not stay.
func (r *reconciler) publish(ctx context.Context, w *world, s *step) error {
	if err := r.report(ctx, w, *s); err != nil {
		return err
	}
	ref := corev1.ObjectReference{
		APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: w.claim.Namespace, Name: w.claim.Name, UID: w.claim.UID,
	}
	err := r.patchIf(ctx, w.volume.DeepCopy(), []operation{
		{Op: "test", Path: "/spec/claimRef/uid", Value: w.prime.UID},
		{Op: "replace", Path: "/spec/claimRef", Value: ref},
	})
	s.again = often
	return err
}

// finish takes away what is not needed any more and then says Done, which is never looked behind again.
func (r *reconciler) finish(ctx context.Context, w *world, s *step) error {
	if err := r.dropChildren(ctx, w); err != nil {
		return err
	}
	p := &s.status
	p.State, p.Reason, p.Message, p.Hint, p.Pod, p.NextTry = cdi.StateDone, "Completed", "the claim is filled", "", "", nil
	return nil
}

func (r *reconciler) cleanUp(ctx context.Context, w *world, s *step) error {
	if err := r.dropChildren(ctx, w); err != nil {
		return err
	}
	s.status.Pod = ""
	return nil
}

// dropChildren deletes the Secret, the pod and PVC′. The Secret is first: that there was one is known by the others, and in
// the end by the name of the pod in the claim's annotation.
func (r *reconciler) dropChildren(ctx context.Context, w *world) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: podspec.JobName(w.claim.UID), Namespace: w.claim.Namespace}}
	if err := r.Delete(ctx, secret); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("secret %s: %w", secret.Name, err)
	}
	if retained(w.claim) && !w.fatal() {
		if w.prime != nil {
			r.event(w.claim, corev1.EventTypeNormal, eventRetained, fmt.Sprintf("claim %s and its pod are kept, as annotation %s asks", w.prime.Name, cdi.AnnPodRetain))
		}
		return nil
	}
	if w.pod != nil && w.podIsOurs() && w.pod.DeletionTimestamp == nil {
		if err := r.remove(ctx, w.pod); err != nil {
			return fmt.Errorf("pod %s: %w", w.pod.Name, err)
		}
	}
	if w.prime != nil && w.prime.DeletionTimestamp == nil {
		if err := r.remove(ctx, w.prime); err != nil {
			return fmt.Errorf("claim %s: %w", w.prime.Name, err)
		}
	}
	return nil
}
