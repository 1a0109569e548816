package datavolume

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/dvstatus"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

var kindDataVolume = cdiv1.SchemeGroupVersion.WithKind("DataVolume")

// judgeClaim decides what a claim that is there is to this DataVolume.
func (r *reconciler) judgeClaim(ctx context.Context, w *work) error {
	c := w.claim
	switch {
	case c == nil:
		return nil
	case c.DeletionTimestamp != nil:
		return stop(reasonDeleting, fmt.Sprintf("Resource %q is marked for deletion", c.Name),
			"none, if it was deleted on purpose: it is made again when it is gone. What keeps it are its finalizers: kubectl get pvc "+c.Name+" -o jsonpath={.metadata.finalizers}")
	case metav1.IsControlledBy(c, w.dv):
		return nil
	case w.finished():
		return r.inTheWay(w)
	}
	owner := metav1.GetControllerOf(c)
	populated := cdi.PopulatedFor(c, w.dv.Name)
	// A claim that was restored with its owner's reference names the DataVolume that was, which has another UID.
	mayTake := owner == nil || populated && owner.Kind == kindDataVolume.Kind && owner.Name == w.dv.Name
	switch {
	case !mayTake:
		return r.inTheWay(w)
	case populated:
		return r.adopt(ctx, w, true)
	case c.Annotations[cdi.AnnCreatedForDV] == string(w.dv.UID):
		return r.adopt(ctx, w, false) // somebody took the reference from the claim that was made here
	}
	config, err := r.config(ctx)
	if err != nil {
		return err
	}
	gate := config != nil && slices.Contains(config.Spec.FeatureGates, cdi.GateClaimAdoption)
	if cdi.MayAdopt(c, w.dv, gate) {
		return r.adopt(ctx, w, true)
	}
	return r.inTheWay(w)
}

func (r *reconciler) inTheWay(w *work) error {
	by := "nobody"
	if owner := metav1.GetControllerOf(w.claim); owner != nil {
		by = owner.Kind + " " + owner.Name
	}
	return stop(reasonExists, fmt.Sprintf("Resource %q already exists and is not managed by DataVolume: it belongs to %s", w.claim.Name, by),
		fmt.Sprintf("delete the PVC, or give the DataVolume another name; if the PVC has the content already: kubectl annotate dv %s %s=true", w.dv.Name, cdi.AnnAllowClaimAdoption))
}

// adopt takes the claim. With its content, it is marked as filled, so that it is known as such from then on.
func (r *reconciler) adopt(ctx context.Context, w *work, filled bool) error {
	before := w.claim
	c := before.DeepCopy()
	c.OwnerReferences = slices.DeleteFunc(c.OwnerReferences, func(o metav1.OwnerReference) bool {
		return o.Controller != nil && *o.Controller
	})
	c.OwnerReferences = append(c.OwnerReferences, *metav1.NewControllerRef(w.dv, kindDataVolume))
	if filled {
		c.Annotations = with(c.Annotations, cdi.AnnPopulatedFor, w.dv.Name)
	}
	c.Labels = with(c.Labels, cdi.LabelApp, cdi.App)
	if err := r.client.Patch(ctx, c, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("adopt PVC %s/%s: %w", c.Namespace, c.Name, err)
	}
	w.claim = c
	return nil
}

func with(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

// expectClaim waits for a claim that is to be there with its content, and makes none.
func (r *reconciler) expectClaim(_ context.Context, w *work) error {
	if w.claim != nil || w.finished() {
		return nil
	}
	if _, ok := w.dv.Annotations[cdi.AnnPrePopulated]; !ok {
		return nil
	}
	return stop(reasonPrePopulated, fmt.Sprintf("No PVC found: PVC %s is to be restored with its content, as annotation %s says", w.dv.Name, cdi.AnnPrePopulated),
		fmt.Sprintf("restore the PVC with annotation %s=%s, or remove the DataVolume's annotation to have it filled", cdi.AnnPopulatedFor, w.dv.Name))
}

// passAnnotation gives the claim the wish not to wait for a consumer that the DataVolume got after its claim.
func (r *reconciler) passAnnotation(ctx context.Context, w *work) error {
	value, asked := w.dv.Annotations[cdi.AnnImmediateBinding]
	if w.claim == nil || w.claim.Status.Phase == corev1.ClaimBound || !asked {
		return nil
	}
	if _, ok := w.claim.Annotations[cdi.AnnImmediateBinding]; ok {
		return nil
	}
	before := w.claim
	c := before.DeepCopy()
	c.Annotations = with(c.Annotations, cdi.AnnImmediateBinding, value)
	if err := r.client.Patch(ctx, c, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("annotate PVC %s/%s: %w", c.Namespace, c.Name, err)
	}
	w.claim = c
	return nil
}

// flowOf tells how a claim comes by its content, by what is on it.
func flowOf(w *work) dvstatus.Flow {
	c := w.claim
	switch {
	case c == nil:
		return dvstatus.Populated
	case cdi.PopulatedFor(c, w.dv.Name) && !(c.Annotations[cdi.AnnCreatedForDV] == string(w.dv.UID) && isImported(c)):
		return dvstatus.Given
	case external(w.dv):
		return dvstatus.External
	case fromSource(c):
		return dvstatus.Populated
	}
	return dvstatus.Plain
}

// isImported says that it is, or was, for the population controller to fill the claim. It marks those it has filled.
func isImported(c *corev1.PersistentVolumeClaim) bool {
	_, ok := c.Annotations[cdi.AnnSource]
	return ok || fromSource(c)
}

// fromSource says that the claim is filled through a VolumeImportSource.
func fromSource(c *corev1.PersistentVolumeClaim) bool {
	ref := c.Spec.DataSourceRef
	return ref != nil && ref.APIGroup != nil && *ref.APIGroup == cdi.Group && ref.Kind == cdiv1.VolumeImportSourceRef
}
