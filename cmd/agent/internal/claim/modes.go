package claim

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
)

// completeModes fills in class, access modes and volume mode.
func (in Input) completeModes(spec *corev1.PersistentVolumeClaimSpec) error {
	if VolumeMode(spec) == cdiv1.PersistentVolumeFromStorageProfile {
		spec.VolumeMode = nil
	}
	if in.DV.Spec.ContentType == cdiv1.DataVolumeArchive {
		if VolumeMode(spec) == corev1.PersistentVolumeBlock {
			return notValid("ContentType Archive cannot have block volumeMode", "an archive is unpacked into a filesystem: set volumeMode to Filesystem, or leave it out")
		}
		spec.VolumeMode = ptr.To(corev1.PersistentVolumeFilesystem)
	}
	if in.Class == nil {
		return in.modesOfVolume(spec)
	}
	spec.StorageClassName = ptr.To(in.Class.Name)
	return in.modesOfProfile(spec)
}

// modesOfVolume is for claims whose class is but a name that volumes made by hand have, or is not there at all.
func (in Input) modesOfVolume(spec *corev1.PersistentVolumeClaimSpec) error {
	name := ptr.Deref(spec.StorageClassName, "")
	for i := range in.Volumes {
		pv := &in.Volumes[i]
		if name == "" || pv.Spec.StorageClassName != name || pv.Status.Phase != corev1.VolumeAvailable {
			continue
		}
		mode := ptr.Deref(pv.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
		if spec.VolumeMode != nil && *spec.VolumeMode != mode || !contains(pv.Spec.AccessModes, spec.AccessModes) {
			continue
		}
		spec.VolumeMode = &mode
		if len(spec.AccessModes) == 0 {
			spec.AccessModes = slices.Clone(pv.Spec.AccessModes)
		}
		return nil
	}
	if len(spec.AccessModes) != 0 {
		return nil
	}
	hint := "name a class in spec.storage.storageClassName, or make one the default: kubectl annotate storageclass NAME storageclass.kubernetes.io/is-default-class=true"
	if name != "" {
		hint = fmt.Sprintf("StorageClass %s does not exist, and no Available PersistentVolume of that class fits: create it, or correct the name (kubectl get storageclass)", name)
	}
	return notValid("PVC spec is missing accessMode and no storageClass to choose profile", hint)
}

// modesOfProfile takes what is missing from the first property set that fits what is given, else from the first of all.
func (in Input) modesOfProfile(spec *corev1.PersistentVolumeClaimSpec) error {
	var sets []cdiv1.ClaimPropertySet
	if in.Profile != nil {
		for _, s := range in.Profile.Status.ClaimPropertySets {
			if len(s.AccessModes) != 0 {
				sets = append(sets, s)
			}
		}
	}
	noAccess, noMode := len(spec.AccessModes) == 0, spec.VolumeMode == nil || *spec.VolumeMode == ""
	if len(sets) == 0 && noAccess {
		message := "Spec is missing accessMode and cannot get access mode from StorageProfile " + in.Class.Name
		if noMode {
			message = "Spec is missing accessMode and volumeMode, cannot get access mode from StorageProfile " + in.Class.Name
		}
		hint := fmt.Sprintf("set accessModes (and volumeMode) in spec.storage, or for all: spec.claimPropertySets of StorageProfile %s", in.Class.Name)
		if in.Profile == nil {
			hint = fmt.Sprintf("StorageProfile %s is not there yet; it is made a moment after its class. Else: %s", in.Class.Name, hint)
		}
		return notValid(message, hint)
	}
	if len(sets) == 0 {
		return nil // Kubernetes makes it Filesystem
	}
	set := sets[0]
	for _, s := range sets {
		mode := ptr.Deref(s.VolumeMode, corev1.PersistentVolumeFilesystem)
		if (noMode || mode == *spec.VolumeMode) && contains(s.AccessModes, spec.AccessModes) {
			set = s
			break
		}
	}
	if noAccess {
		spec.AccessModes = slices.Clone(set.AccessModes)
	}
	if noMode {
		spec.VolumeMode = ptr.To(ptr.Deref(set.VolumeMode, corev1.PersistentVolumeFilesystem))
	}
	return nil
}
