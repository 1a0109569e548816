package validate

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
)

// smallest is the least that a claim may ask for: less does not hold the headers of most formats.
var smallest = resource.MustParse("1Mi")

// target checks where the data goes: pvc or storage.
func target(path *field.Path, spec *cdiv1.DataVolumeSpec) Causes {
	switch {
	case spec.PVC == nil && spec.Storage == nil:
		return invalid(path, "Missing Data volume PVC")
	case spec.PVC != nil && spec.Storage != nil:
		return invalid(path, "Duplicate storage definition, both target storage and target pvc defined")
	case spec.PVC != nil:
		p, path := spec.PVC, path.Child("pvc")
		return first(
			func() Causes { return size(path, "PVC", p.Resources, true) },
			func() Causes { return className(path, p.StorageClassName) },
			func() Causes { return pvcModes(path.Child("accessModes"), p.AccessModes) },
			func() Causes { return volumeMode(path, p.VolumeMode) },
		)
	default:
		s, path := spec.Storage, path.Child("storage")
		return first(
			// A clone is as large as what is cloned.
			func() Causes { return size(path, "Storage", s.Resources, !isClone(spec)) },
			func() Causes { return className(path, s.StorageClassName) },
			func() Causes { return knownAccessModes(path.Child("accessModes"), s.AccessModes) },
			func() Causes { return volumeMode(path, s.VolumeMode) },
		)
	}
}

func isClone(spec *cdiv1.DataVolumeSpec) bool {
	return spec.SourceRef != nil || spec.Source != nil && (spec.Source.PVC != nil || spec.Source.Snapshot != nil)
}

func size(path *field.Path, what string, r corev1.VolumeResourceRequirements, required bool) Causes {
	path = path.Child("resources", "requests", "storage")
	q, ok := r.Requests[corev1.ResourceStorage]
	switch {
	case !ok && required:
		return invalid(path, "%s size is missing", what)
	case !ok:
		return nil
	case q.Sign() <= 0:
		return invalid(path, "%s size can't be equal or less than zero", what)
	case q.Cmp(smallest) < 0:
		return invalid(path, "%s size should be at least 1MiB", what)
	}
	return nil
}

func className(path *field.Path, class *string) Causes {
	if class == nil {
		return nil
	}
	return length(path.Child("storageClassName"), *class, nameLimit)
}

func pvcModes(path *field.Path, modes []corev1.PersistentVolumeAccessMode) Causes {
	switch {
	case len(modes) == 0:
		return wrong(field.Required(path, "at least 1 access mode is required"))
	case len(modes) > 1:
		return invalid(path, "PVC multiple accessModes")
	}
	return knownAccessModes(path, modes)
}

// volumeMode lets the word through that clients write for "what the StorageProfile says".
func volumeMode(path *field.Path, mode *corev1.PersistentVolumeMode) Causes {
	if mode == nil {
		return nil
	}
	switch *mode {
	case "", corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem, cdiv1.PersistentVolumeFromStorageProfile:
		return nil
	}
	return wrong(field.NotSupported(path.Child("volumeMode"), *mode,
		[]corev1.PersistentVolumeMode{corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem}))
}

// populators returns what a DataVolume names as filling its claim in our place.
func populators(spec *cdiv1.DataVolumeSpec) (*corev1.TypedLocalObjectReference, *corev1.TypedObjectReference) {
	switch {
	case spec.PVC != nil:
		return spec.PVC.DataSource, spec.PVC.DataSourceRef
	case spec.Storage != nil:
		return spec.Storage.DataSource, spec.Storage.DataSourceRef
	}
	return nil, nil
}

func isExternal(spec *cdiv1.DataVolumeSpec) bool {
	src, ref := populators(spec)
	return src != nil || ref != nil
}

// external checks a DataVolume whose claim is filled by somebody else.
func external(path *field.Path, spec *cdiv1.DataVolumeSpec) Causes {
	if !isExternal(spec) {
		return nil
	}
	if spec.Source != nil || spec.SourceRef != nil {
		return invalid(path, "External population is incompatible with Source and SourceRef")
	}
	src, ref := populators(spec)
	if spec.PVC != nil {
		path = path.Child("pvc")
	} else {
		path = path.Child("storage")
	}
	if src != nil && ref != nil && (group(src.APIGroup) != group(ref.APIGroup) || src.Kind != ref.Kind || src.Name != ref.Name) {
		return invalid(path.Child("dataSource"), "DataSourceRef and DataSource must match")
	}
	return first(
		func() Causes {
			if src == nil {
				return nil
			}
			return reference(path.Child("dataSource"), "DataSource", src.APIGroup, src.Kind, src.Name)
		},
		func() Causes {
			if ref == nil {
				return nil
			}
			if ref.Namespace != nil && *ref.Namespace != "" {
				return wrong(field.Invalid(path.Child("dataSourceRef", "namespace"), *ref.Namespace, "DataSourceRef namespace not supported"))
			}
			return reference(path.Child("dataSourceRef"), "DataSourceRef", ref.APIGroup, ref.Kind, ref.Name)
		},
	)
}

func group(g *string) string {
	if g == nil {
		return ""
	}
	return *g
}

func reference(path *field.Path, what string, apiGroup *string, kind, name string) Causes {
	switch {
	case name == "":
		return wrong(field.Required(path.Child("name"), what+" name"))
	case kind == "":
		return wrong(field.Required(path.Child("kind"), what+" kind"))
	case group(apiGroup) == "" && kind != "PersistentVolumeClaim":
		return wrong(field.Required(path.Child("apiGroup"), what+" apiGroup when kind is not 'PersistentVolumeClaim'"))
	}
	return nil
}
