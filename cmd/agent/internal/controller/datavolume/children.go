package datavolume

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/claim"
	"github.com/cdictl/cdictl/cmd/agent/internal/dvstatus"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// ensureSource makes the VolumeImportSource, before the claim that names it, and again if it was deleted while the claim
// is not bound.
func (r *reconciler) ensureSource(ctx context.Context, w *work) error {
	switch {
	case w.finished():
		return nil
	case w.claim == nil && w.plan.flow != dvstatus.Populated:
		return nil
	case w.claim != nil && (flowOf(w) != dvstatus.Populated || w.claim.Status.Phase == corev1.ClaimBound):
		return nil
	}
	key := client.ObjectKey{Namespace: w.dv.Namespace, Name: cdi.ImportSourceName(w.dv.UID)}
	if w.claim != nil {
		if w.claim.Spec.DataSourceRef.Name != key.Name {
			return nil // made for another DataVolume, or by hand
		}
		err := r.client.Get(ctx, key, &cdiv1.VolumeImportSource{})
		if err == nil {
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("VolumeImportSource %s: %w", key, err)
		}
	}
	c, err := contentOf(w.dv)
	if err != nil {
		return err
	}
	source := &cdiv1.VolumeImportSource{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       key.Namespace,
			Name:            key.Name,
			Labels:          r.ownLabels(),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(w.dv, kindDataVolume)},
		},
		Spec: cdiv1.VolumeImportSourceSpec{
			Source:        c.source,
			Preallocation: w.dv.Spec.Preallocation,
			ContentType:   w.dv.Spec.ContentType,
		},
	}
	err = r.client.Create(ctx, source)
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return nil
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err):
		return stop(reasonNotValid, fmt.Sprintf("VolumeImportSource %s was refused: %v", key.Name, err), "delete the DataVolume and create it again with what the message asks for")
	}
	return fmt.Errorf("create VolumeImportSource %s: %w", key, err)
}

// removeSource deletes the VolumeImportSource when nobody needs it any more.
func (r *reconciler) removeSource(ctx context.Context, w *work) error {
	if w.claim == nil || flowOf(w) != dvstatus.Populated || w.claim.Status.Phase != corev1.ClaimBound {
		return nil
	}
	if !w.finished() {
		f, err := r.facts(ctx, w)
		if err != nil || !dvstatus.Done(f) {
			return err
		}
	}
	source := &cdiv1.VolumeImportSource{}
	key := client.ObjectKey{Namespace: w.dv.Namespace, Name: cdi.ImportSourceName(w.dv.UID)}
	err := r.client.Get(ctx, key, source)
	if err == nil && source.DeletionTimestamp == nil {
		err = r.client.Delete(ctx, source, client.Preconditions{UID: &source.UID})
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete VolumeImportSource %s: %w", key, err)
	}
	return nil
}

// ensureClaim makes the claim.
func (r *reconciler) ensureClaim(ctx context.Context, w *work) error {
	if w.claim != nil || w.finished() {
		return nil
	}
	c := r.newClaim(w)
	err := r.client.Create(ctx, c)
	switch {
	case err == nil:
		w.claim = c
		return nil
	case !apierrors.IsAlreadyExists(err):
		return refused(c.Name, err)
	}
	// The cache has not heard of it yet: it was made a moment ago, by us or by somebody else.
	there := &corev1.PersistentVolumeClaim{}
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(c), there); err != nil {
		return fmt.Errorf("PVC %s/%s: %w", c.Namespace, c.Name, err)
	}
	w.claim = there
	return r.judgeClaim(ctx, w)
}

func (r *reconciler) newClaim(w *work) *corev1.PersistentVolumeClaim {
	dv, p := w.dv, w.plan
	labels := r.ownLabels()
	if claim.VolumeMode(p.spec) == corev1.PersistentVolumeFilesystem {
		labels[cdi.LabelFillingUp] = "disabled" // a disk image fills its filesystem by design
	}
	maps.Copy(labels, dv.Labels)

	annotations := map[string]string{}
	for key, value := range dv.Annotations {
		if !isState(key) {
			annotations[key] = value
		}
	}
	maps.Copy(annotations, map[string]string{
		cdi.AnnPodRestarts:     "0",
		cdi.AnnContentType:     string(contentType(dv)),
		cdi.AnnPreallocRequest: strconv.FormatBool(p.preallocate),
		cdi.AnnCreatedForDV:    string(dv.UID),
	})
	if dv.Spec.PriorityClassName != "" {
		annotations[cdi.AnnPriorityClass] = dv.Spec.PriorityClassName
	}
	if dv.Spec.ServiceAccountName != "" {
		annotations[cdi.AnnServiceAccount] = dv.Spec.ServiceAccountName
	}
	if _, ok := annotations[cdi.AnnImmediateBinding]; p.immediate && !ok {
		annotations[cdi.AnnImmediateBinding] = ""
	}
	switch p.flow {
	case dvstatus.Populated:
		annotations[cdi.AnnUsePopulator] = "true"
	case dvstatus.Plain:
		annotations[cdi.AnnUsePopulator] = "false"
		maps.Copy(annotations, p.content.annotations)
	case dvstatus.External:
		annotations[cdi.AnnExternalPopulation] = "true"
	case dvstatus.Given:
		annotations[cdi.AnnPopulatedFor] = dv.Name
	}
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       dv.Namespace,
			Name:            dv.Name,
			Labels:          labels,
			Annotations:     annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(dv, kindDataVolume)},
		},
		Spec: *p.spec,
	}
}

func contentType(dv *cdiv1.DataVolume) cdiv1.DataVolumeContentType {
	if dv.Spec.ContentType == "" {
		return cdiv1.DataVolumeKubeVirt
	}
	return dv.Spec.ContentType
}

// isState says that an annotation tells the state or the orders of a claim, or what kubectl applied. All others go from a
// DataVolume to its claim; these would lie there.
func isState(key string) bool {
	switch key {
	case cdi.AnnPopulation, cdi.AnnPodPhase, cdi.AnnPodReady, cdi.AnnPodRestarts, cdi.AnnPodSchedulable, cdi.AnnImportPod,
		cdi.AnnFatalError, cdi.AnnRequiresScratch, cdi.AnnPreallocated, cdi.AnnPopulatorProgress, cdi.AnnPopulatorKind,
		cdi.AnnPVCPrime, cdi.AnnPopulatedFor, cdi.AnnCreatedForDV, cdi.AnnSelectedNode, cdi.AnnUsePopulator,
		corev1.LastAppliedConfigAnnotation:
		return true
	}
	for _, prefix := range []string{cdi.AnnRunning, cdi.AnnBound, "pv.kubernetes.io/", "cdi.kubevirt.io/storage.import."} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

func (r *reconciler) ownLabels() map[string]string {
	labels := map[string]string{
		cdi.LabelApp:          cdi.App,
		cdi.LabelManagedBy:    cdi.ManagedBy,
		cdi.LabelK8sComponent: cdi.StorageOfUs,
	}
	maps.Copy(labels, r.labels)
	return labels
}

// checkExternal says so where nobody can fill a claim that is to be filled by others.
func (r *reconciler) checkExternal(ctx context.Context, w *work) error {
	if w.claim == nil || w.finished() || flowOf(w) != dvstatus.External || w.claim.Status.Phase == corev1.ClaimBound {
		return nil
	}
	kind := ""
	if ref := w.claim.Spec.DataSourceRef; ref != nil {
		kind = ref.Kind
	} else if source := w.claim.Spec.DataSource; source != nil {
		kind = source.Kind
	}
	switch kind {
	case "":
		return stop(reasonNoAnyVolume, fmt.Sprintf("PVC %s has lost its dataSourceRef: this Kubernetes has no feature AnyVolumeDataSource", w.claim.Name),
			"delete the DataVolume: its data source cannot be used here")
	case "VolumeSnapshot":
		return nil
	}
	class, err := r.classOf(ctx, w)
	if err != nil {
		return err
	}
	if class != nil {
		if has, err := r.hasCSIDriver(ctx, class); err != nil || has {
			return err
		}
	}
	return stop(reasonNoCSIDriver, fmt.Sprintf("PVC %s cannot be filled by %s: its StorageClass %q has no CSI driver", w.claim.Name, kind, ptr.Deref(w.claim.Spec.StorageClassName, "")),
		"delete the DataVolume and create it again with a class whose provisioner has a CSIDriver (kubectl get csidriver)")
}
