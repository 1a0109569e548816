package storageprofile

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/agent/internal/profile"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// status is what a profile says of its class: what its spec asks for, else what is known. Volumes are those of the class,
// and matter where they are made by hand. The times of conditions are left to the caller.
func status(class *storagev1.StorageClass, spec *cdiv1.StorageProfileSpec, volumes []corev1.PersistentVolume) cdiv1.StorageProfileStatus {
	spec = spec.DeepCopy()
	traits, recognition := profile.Of(class)
	if class.Provisioner == profile.NoProvisioner {
		traits.Sets = profile.OfVolumes(class.Name, volumes)
	}
	s := cdiv1.StorageProfileStatus{
		StorageClass:               ptr.To(class.Name),
		Provisioner:                ptr.To(class.Provisioner),
		ClaimPropertySets:          spec.ClaimPropertySets,
		CloneStrategy:              spec.CloneStrategy,
		DataImportCronSourceFormat: spec.DataImportCronSourceFormat,
		SnapshotClass:              spec.SnapshotClass,
	}
	if len(s.ClaimPropertySets) == 0 {
		s.ClaimPropertySets = traits.Sets
	}
	if s.CloneStrategy == nil {
		s.CloneStrategy = ptr.To(cloneStrategy(class, traits))
	}
	if s.DataImportCronSourceFormat == nil {
		s.DataImportCronSourceFormat = ptr.To(cdiv1.DataImportCronSourceFormatPvc)
		if traits.CronFormat != "" {
			s.DataImportCronSourceFormat = ptr.To(traits.CronFormat)
		}
	}
	s.Conditions = []cdiv1.StorageProfileCondition{recognized(class, recognition, len(s.ClaimPropertySets) != 0)}
	return s
}

// cloneStrategy is what the class is annotated with, else what its driver does best, else by snapshot.
func cloneStrategy(class *storagev1.StorageClass, traits profile.Traits) cdiv1.CDICloneStrategy {
	switch wanted := cdiv1.CDICloneStrategy(class.Annotations[cdi.AnnCloneStrategy]); wanted {
	case cdiv1.CloneStrategyHostAssisted, cdiv1.CloneStrategySnapshot, cdiv1.CloneStrategyCsiClone:
		return wanted
	}
	if traits.Clone != "" {
		return traits.Clone
	}
	return cdiv1.CloneStrategySnapshot
}

func recognized(class *storagev1.StorageClass, r profile.Recognition, complete bool) cdiv1.StorageProfileCondition {
	c := cdiv1.StorageProfileCondition{Type: cdiv1.StorageProfileRecognized}
	c.Reason = string(r)
	c.Status = corev1.ConditionFalse
	switch {
	case r == profile.Recognized && class.Provisioner == profile.NoProvisioner && !complete:
		c.Status = corev1.ConditionTrue
		c.Message = fmt.Sprintf("no PersistentVolume has the class %s yet: access and volume modes are taken from those that do", class.Name)
		return c
	case r == profile.Recognized:
		c.Status = corev1.ConditionTrue
		c.Message = "provisioner " + class.Provisioner + " is known"
	case r == profile.UnknownClassParameter:
		c.Message = fmt.Sprintf("provisioner %s is known, but not with these parameters", class.Provisioner)
	default:
		c.Message = fmt.Sprintf("provisioner %s is not known", class.Provisioner)
	}
	if !complete {
		c.Message += "; set spec.claimPropertySets to the access and volume modes that it offers"
	}
	return c
}

// annotations are those that the profile has unless somebody sets others.
func annotations(class *storagev1.StorageClass) map[string]string {
	traits, _ := profile.Of(class)
	a := map[string]string{}
	if traits.MinimumSize != "" {
		a[cdi.AnnMinimumSize] = traits.MinimumSize
	}
	if traits.CronReadWriteOnce {
		a[cdi.AnnCronReadWriteOnce] = "true"
	}
	return a
}
