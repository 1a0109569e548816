package validate

import (
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
)

// VolumeImportSource checks one that is to be created.
func VolumeImportSource(v *cdiv1.VolumeImportSource) Causes {
	spec, path := &v.Spec, field.NewPath("spec")
	return first(
		func() Causes { return length(field.NewPath("metadata", "name"), v.Name, labelLimit) },
		func() Causes {
			src := importSource(spec.Source)
			switch named := sources(src); len(named) {
			case 0:
				return invalid(path.Child("source"), "Missing VolumeImport source")
			case 1:
				return first(
					func() Causes { return contentType(path.Child("contentType"), spec.ContentType, named[0]) },
					func() Causes { return source(path.Child("source"), src) },
				)
			default:
				return invalid(path.Child("source"), "Multiple VolumeImport sources")
			}
		},
		func() Causes {
			if len(spec.Checkpoints) > 0 && (spec.TargetClaim == nil || *spec.TargetClaim == "") {
				return invalid(path.Child("targetClaim"), "Unable to do multi-stage import without specifying a target claim")
			}
			return nil
		},
	)
}

// importSource is the source in the type that the checks are written for.
func importSource(s *cdiv1.ImportSourceType) *cdiv1.DataVolumeSource {
	if s == nil {
		return &cdiv1.DataVolumeSource{}
	}
	return &cdiv1.DataVolumeSource{
		HTTP: s.HTTP, S3: s.S3, Registry: s.Registry, GCS: s.GCS, Blank: s.Blank, Imageio: s.Imageio, VDDK: s.VDDK,
	}
}

// VolumeImportSourceUpdate lets only checkpoints change.
func VolumeImportSourceUpdate(old, v *cdiv1.VolumeImportSource) Causes {
	if equality.Semantic.DeepEqual(old.Spec, v.Spec) {
		return nil
	}
	if s := importSource(v.Spec.Source); (s.VDDK != nil || s.Imageio != nil) && len(v.Spec.Checkpoints) > 0 {
		a, b := old.Spec.DeepCopy(), v.Spec.DeepCopy()
		for _, spec := range []*cdiv1.VolumeImportSourceSpec{a, b} {
			spec.Checkpoints, spec.FinalCheckpoint = nil, nil
		}
		if equality.Semantic.DeepEqual(a, b) {
			return nil
		}
	}
	return duplicate("VolumeImportSource.Spec", "Cannot update VolumeImportSource Spec")
}
