package claim

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/resize"
)

// ClassName is the class that a DataVolume asks for by name; "" for the default or, in the pvc form only, for none.
func ClassName(dv *cdiv1.DataVolume) string {
	var name *string
	switch {
	case dv.Spec.PVC != nil:
		name = dv.Spec.PVC.StorageClassName
	case dv.Spec.Storage != nil:
		name = dv.Spec.Storage.StorageClassName
	}
	if name == nil {
		return ""
	}
	return *name
}

// Class is the class that the claim of a DataVolume will have: the one it names, or the default. It is nil where the
// class is not there, and where the pvc form asks for none with an empty name. The result points into classes.
func Class(dv *cdiv1.DataVolume, classes []storagev1.StorageClass) *storagev1.StorageClass {
	if name := ClassName(dv); name != "" {
		for i := range classes {
			if classes[i].Name == name {
				return &classes[i]
			}
		}
		return nil
	}
	if dv.Spec.PVC == nil {
		return DefaultClass(classes, dv.Spec.ContentType)
	}
	if dv.Spec.PVC.StorageClassName != nil {
		return nil
	}
	return newest(classes, cdi.AnnDefaultClass) // Kubernetes chooses, and does not know of the other default
}

// DefaultClass is the class of a claim in the storage form that names none: for VM disks the default for virtualization,
// for archives and where there is none the default of Kubernetes; the newest of several. The result points into classes.
func DefaultClass(classes []storagev1.StorageClass, contentType cdiv1.DataVolumeContentType) *storagev1.StorageClass {
	if contentType != cdiv1.DataVolumeArchive {
		if c := newest(classes, cdi.AnnDefaultVirtClass); c != nil {
			return c
		}
	}
	return newest(classes, cdi.AnnDefaultClass)
}

func newest(classes []storagev1.StorageClass, annotation string) (best *storagev1.StorageClass) {
	for i := range classes {
		c := &classes[i]
		if c.Annotations[annotation] != "true" {
			continue
		}
		if best == nil || best.CreationTimestamp.Before(&c.CreationTimestamp) ||
			best.CreationTimestamp.Equal(&c.CreationTimestamp) && c.Name < best.Name { // as Kubernetes does
			best = c
		}
	}
	return best
}

// Overhead is what a filesystem of the class named keeps to itself, as CDIConfig's status says: its own figure, else the
// one for all, else 6%. A figure that cannot be read is an error: a guess would be a disk that does not fit.
func Overhead(config *cdiv1.CDIConfig, class string) (resize.Overhead, error) {
	if config == nil || config.Status.FilesystemOverhead == nil {
		return resize.DefaultOverhead, nil
	}
	configured := config.Status.FilesystemOverhead
	percent, ok := configured.StorageClass[class]
	if !ok {
		percent = configured.Global
	}
	if percent == "" {
		return resize.DefaultOverhead, nil
	}
	return resize.ParseOverhead(string(percent))
}

// VolumeMode of a claim: Filesystem unless it says otherwise.
func VolumeMode(spec *corev1.PersistentVolumeClaimSpec) corev1.PersistentVolumeMode {
	if spec.VolumeMode == nil || *spec.VolumeMode == "" {
		return corev1.PersistentVolumeFilesystem
	}
	return *spec.VolumeMode
}
