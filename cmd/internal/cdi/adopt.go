package cdi

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GateClaimAdoption is the feature gate of CDIConfig.spec that lets every DataVolume adopt a claim of its name.
const GateClaimAdoption = "DataVolumeClaimAdoption"

// PopulatedFor says that the claim has the data of the DataVolume with this name: backup tools restore claims so.
func PopulatedFor(claim *corev1.PersistentVolumeClaim, dv string) bool {
	return dv != "" && claim.Annotations[AnnPopulatedFor] == dv
}

// MayAdopt says whether a DataVolume may take a claim that nobody made for it, as it is. The annotation of either, if there
// is one, goes before the feature gate; "false" goes before "true".
func MayAdopt(claim *corev1.PersistentVolumeClaim, dv metav1.Object, gate bool) bool {
	if uid := dv.GetUID(); uid != "" && claim.Annotations[AnnCreatedForDV] == string(uid) {
		return false // it was made for this very DataVolume: there is nothing to adopt
	}
	said := false
	for _, annotations := range []map[string]string{dv.GetAnnotations(), claim.Annotations} {
		value, ok := annotations[AnnAllowClaimAdoption]
		if !ok {
			continue
		}
		if yes, err := strconv.ParseBool(value); err != nil || !yes {
			return false
		}
		said = true
	}
	return said || gate
}

// ControlledByDataVolume says that a DataVolume, this one or an older one of the same name, controls the claim.
func ControlledByDataVolume(claim *corev1.PersistentVolumeClaim) bool {
	owner := metav1.GetControllerOf(claim)
	return owner != nil && owner.Kind == "DataVolume"
}
