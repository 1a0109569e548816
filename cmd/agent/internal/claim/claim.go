// Package claim makes the spec of a PersistentVolumeClaim from a DataVolume: modes and class from the StorageProfile, and a
// size that leaves room for the filesystem's own. It is pure: whoever calls it has fetched what it needs.
package claim

import (
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/resize"
)

// Input is all that the spec of a claim depends on. Only DV must be there.
type Input struct {
	DV      *cdiv1.DataVolume
	Class   *storagev1.StorageClass   // as Class returns it; nil: there is none of that name, or no default
	Profile *cdiv1.StorageProfile     // of the same name as Class; nil: not made yet
	Config  *cdiv1.CDIConfig          // nil: defaults
	Volumes []corev1.PersistentVolume // to choose the modes from where the class named is only a name that volumes have
}

// smallest is the smallest disk: KubeVirt takes none below.
const smallest = 1 << 20

// Render returns the spec of the DataVolume's claim, a copy that the caller may change.
//
// The pvc form is taken as it is, unless the label cdi.kubevirt.io/applyStorageProfile asks for what the storage form has:
// class and modes completed, and the size raised by the filesystem's overhead to at least the class's minimum. A clone
// without a size is returned without a request: its size is that of its source.
//
// An error that is an *Error is to be shown to the user.
func Render(in Input) (*corev1.PersistentVolumeClaimSpec, error) {
	dv := in.DV
	switch {
	case dv.Spec.PVC != nil && dv.Spec.Storage != nil:
		return nil, notValid("Duplicate storage definition, both target storage and target pvc defined", "keep one of spec.pvc and spec.storage")
	case dv.Spec.PVC != nil:
		spec := dv.Spec.PVC.DeepCopy()
		if !in.completesPVC() {
			return spec, nil
		}
		return spec, in.complete(spec)
	case dv.Spec.Storage != nil:
		spec := fromStorage(dv.Spec.Storage.DeepCopy())
		return spec, in.complete(spec)
	}
	return nil, notValid("Missing Data volume PVC", "add spec.storage with resources.requests.storage")
}

// completesPVC says whether a claim in the pvc form would be completed by a webhook of the containerized-data-importer.
func (in Input) completesPVC() bool {
	off := in.Config != nil && in.Config.Spec.WebhookPvcRendering == cdiv1.WebhookPvcRenderingDisabled
	return in.DV.Labels[cdi.LabelApplyProfile] == "true" && !off
}

func fromStorage(s *cdiv1.StorageSpec) *corev1.PersistentVolumeClaimSpec {
	return &corev1.PersistentVolumeClaimSpec{
		AccessModes:      s.AccessModes,
		Selector:         s.Selector,
		Resources:        s.Resources,
		VolumeName:       s.VolumeName,
		StorageClassName: s.StorageClassName,
		VolumeMode:       s.VolumeMode,
		DataSource:       s.DataSource,
		DataSourceRef:    s.DataSourceRef,
	}
}

func (in Input) complete(spec *corev1.PersistentVolumeClaimSpec) error {
	if err := in.completeModes(spec); err != nil {
		return err
	}
	return in.completeSize(spec)
}

func (in Input) completeSize(spec *corev1.PersistentVolumeClaimSpec) error {
	requested, ok := spec.Resources.Requests[corev1.ResourceStorage]
	switch {
	case !ok && in.sizedBySource():
		return nil
	case !ok:
		return notValid("Storage size is missing", "set spec.storage.resources.requests.storage to at least the virtual size of the image (cdictl inspect shows it)")
	case requested.Sign() <= 0:
		return notValid("Storage size can't be equal or less than zero", "set spec.storage.resources.requests.storage to at least the virtual size of the image")
	case requested.CmpInt64(smallest) < 0:
		return notValid("Storage size should be at least 1MiB", "set spec.storage.resources.requests.storage to 1Mi or more")
	case requested.CmpInt64(math.MaxInt64) >= 0: // Value would not say that it does not fit
		return notValid(fmt.Sprintf("Storage size %s is too large", requested.String()), "set spec.storage.resources.requests.storage to less than 8Ei")
	}
	if VolumeMode(spec) == corev1.PersistentVolumeFilesystem && !restoresSnapshot(spec) {
		n, err := in.withOverhead(requested.Value())
		if err != nil {
			return err
		}
		// What is the same number keeps the words it was written in.
		if requested.CmpInt64(n) != 0 {
			requested = *resource.NewQuantity(n, resource.BinarySI)
		}
	}
	minimum, err := in.minimum()
	if err != nil {
		return err
	}
	if requested.Cmp(minimum) < 0 {
		requested = minimum
	}
	spec.Resources.Requests[corev1.ResourceStorage] = requested
	return nil
}

func (in Input) withOverhead(size int64) (int64, error) {
	class := ClassName(in.DV)
	if in.Class != nil {
		class = in.Class.Name
	}
	overhead, err := Overhead(in.Config, class)
	if err != nil {
		return 0, notValid(fmt.Sprintf("CDIConfig %s: %v", cdi.ConfigName, err), fmt.Sprintf("correct spec.filesystemOverhead of CDIConfig %s", cdi.ConfigName))
	}
	n, err := resize.Required(size, overhead)
	if err != nil {
		return 0, notValid(fmt.Sprintf("Storage size %d: %v", size, err), "ask for a smaller disk")
	}
	return n, nil
}

// minimum is what the StorageProfile's annotation says of volumes of the class, zero where it says nothing.
func (in Input) minimum() (resource.Quantity, error) {
	if in.Profile == nil || in.Profile.Annotations[cdi.AnnMinimumSize] == "" {
		return resource.Quantity{}, nil
	}
	q, err := resource.ParseQuantity(in.Profile.Annotations[cdi.AnnMinimumSize])
	if err != nil {
		return q, notValid(fmt.Sprintf("StorageProfile %s: annotation %s is not a quantity: %v", in.Profile.Name, cdi.AnnMinimumSize, err),
			fmt.Sprintf("correct it: kubectl annotate --overwrite storageprofile %s %s=1Gi", in.Profile.Name, cdi.AnnMinimumSize))
	}
	return q, nil
}

// sizedBySource says whether the size may be left to the source: a clone, or a reference to what is cloned.
func (in Input) sizedBySource() bool {
	s := in.DV.Spec.Source
	return in.DV.Spec.SourceRef != nil || s != nil && (s.PVC != nil || s.Snapshot != nil)
}

// restoresSnapshot says whether the claim is restored from a VolumeSnapshot by its driver. Drivers refuse sizes that are
// not the snapshot's.
func restoresSnapshot(spec *corev1.PersistentVolumeClaimSpec) bool {
	const kind = "VolumeSnapshot"
	return spec.DataSource != nil && spec.DataSource.Kind == kind || spec.DataSourceRef != nil && spec.DataSourceRef.Kind == kind
}

func contains(have, want []corev1.PersistentVolumeAccessMode) bool {
	for _, m := range want {
		if !slices.Contains(have, m) {
			return false
		}
	}
	return true
}
