package population

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// sourceKind is what a claim's dataSourceRef names.
const sourceKind = "VolumeImportSource"

// flow is the way on which a claim gets its content.
type flow int

const (
	foreign flow = iota // it is not ours to fill
	viaPrime
	direct
)

// flowOf says whether and how a claim is filled by us.
func flowOf(c *corev1.PersistentVolumeClaim) flow {
	if owner := metav1.GetControllerOf(c); owner != nil && owner.Kind == "PersistentVolumeClaim" {
		return foreign // PVC′, or the scratch claim of another
	}
	if ref := c.Spec.DataSourceRef; ref != nil {
		if ptr.Deref(ref.APIGroup, "") == cdi.Group && ref.Kind == sourceKind {
			return viaPrime
		}
		return foreign
	}
	a := c.Annotations
	switch {
	case c.Spec.DataSource != nil, a[cdi.AnnUsePopulator] == "true", a[cdi.AnnPopulatedFor] != "" && a[cdi.AnnPopulation] == "":
		return foreign
	case a[cdi.AnnPodPhase] == string(corev1.PodSucceeded) && a[cdi.AnnPopulation] == "":
		return foreign // another filled it, before us
	}
	_, source := a[cdi.AnnSource]
	_, endpoint := a[cdi.AnnEndpoint]
	if source || endpoint {
		return direct
	}
	return foreign
}

// immediate says that the claim is filled without waiting for a pod that wants it.
func immediate(c *corev1.PersistentVolumeClaim) bool {
	_, ok := c.Annotations[cdi.AnnImmediateBinding]
	return ok
}

func retained(c *corev1.PersistentVolumeClaim) bool { return c.Annotations[cdi.AnnPodRetain] == "true" }

// bound says that a claim has its volume, and both sides know.
func bound(c *corev1.PersistentVolumeClaim) bool {
	return c.Spec.VolumeName != "" && c.Status.Phase == corev1.ClaimBound
}

func block(c *corev1.PersistentVolumeClaim) bool {
	return ptr.Deref(c.Spec.VolumeMode, "") == corev1.PersistentVolumeBlock
}
