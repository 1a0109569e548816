package validate

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// DataVolume checks one that is to be created.
func DataVolume(dv *cdiv1.DataVolume) Causes {
	return first(
		func() Causes { return length(field.NewPath("metadata", "name"), dv.Name, nameLimit) },
		func() Causes { return DataVolumeSpec(field.NewPath("spec"), &dv.Spec) },
	)
}

// DataVolumeUpdate checks what changed. A spec may not, but for the checkpoints of a warm migration, which arrive one by one.
func DataVolumeUpdate(old, dv *cdiv1.DataVolume) Causes {
	if equality.Semantic.DeepEqual(old.Spec, dv.Spec) {
		return nil // whatever it was created with, its metadata may change
	}
	if s := dv.Spec.Source; s != nil && (s.VDDK != nil || s.Imageio != nil) && len(dv.Spec.Checkpoints) > 0 {
		a, b := old.Spec.DeepCopy(), dv.Spec.DeepCopy()
		for _, spec := range []*cdiv1.DataVolumeSpec{a, b} {
			spec.Checkpoints, spec.FinalCheckpoint = nil, false
		}
		if equality.Semantic.DeepEqual(a, b) {
			return nil
		}
	}
	return duplicate("DataVolume.Spec", "Cannot update DataVolume Spec")
}

// DataVolumeExists is the cause for a DataVolume whose claim is there already and may not become its own.
func DataVolumeExists(claim *corev1.PersistentVolumeClaim) Causes {
	return duplicate("DataVolume.Name", "Destination PVC %s/%s already exists (choose another name, or annotate the claim with %s=true to keep what it holds)",
		claim.Namespace, claim.Name, cdi.AnnAllowClaimAdoption)
}

// DataVolumeSpec checks the spec of a DataVolume, or of a template for some.
func DataVolumeSpec(path *field.Path, spec *cdiv1.DataVolumeSpec) Causes {
	return first(
		func() Causes { return target(path, spec) },
		func() Causes { return external(path, spec) },
		func() Causes { return origin(path, spec) },
		func() Causes { return sourceRef(path.Child("sourceRef"), spec.SourceRef) },
		func() Causes { return dataVolumeSource(path, spec) },
	)
}

// origin checks that it is said, once, where the data comes from.
func origin(path *field.Path, spec *cdiv1.DataVolumeSpec) Causes {
	n := 0
	for _, given := range []bool{spec.Source != nil, spec.SourceRef != nil, isExternal(spec)} {
		if given {
			n++
		}
	}
	if n != 1 {
		return invalid(path, "Data volume should have either Source or SourceRef, or be externally populated")
	}
	return nil
}

func sourceRef(path *field.Path, ref *cdiv1.DataVolumeSourceRef) Causes {
	switch {
	case ref == nil:
		return nil
	case ref.Kind == "":
		return invalid(path.Child("kind"), "Missing sourceRef kind")
	case ref.Kind != cdiv1.DataVolumeDataSource:
		return invalid(path.Child("kind"), "Unsupported sourceRef kind %s, currently only %s is supported", ref.Kind, cdiv1.DataVolumeDataSource)
	case ref.Name == "":
		return invalid(path.Child("name"), "Missing sourceRef name")
	}
	return nil
}

func dataVolumeSource(path *field.Path, spec *cdiv1.DataVolumeSpec) Causes {
	if spec.Source == nil {
		return nil
	}
	src := path.Child("source")
	switch named := sources(spec.Source); len(named) {
	case 0:
		return invalid(src, "Missing Data volume source")
	case 1:
		return first(
			func() Causes { return contentType(path.Child("contentType"), spec.ContentType, named[0]) },
			func() Causes { return source(src, spec.Source) },
		)
	default:
		return invalid(src, "Multiple Data volume sources")
	}
}
