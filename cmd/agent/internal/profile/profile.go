// Package profile says what is known of provisioners of storage: the access and volume modes they can do, how they clone
// best, the smallest volume they make. It is data and pure functions; the StorageProfile controller publishes it.
package profile

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
)

// NoProvisioner is the provisioner of classes whose volumes are made by hand.
const NoProvisioner = "kubernetes.io/no-provisioner"

// Traits are what is known of the volumes of a class.
type Traits struct {
	// Sets are access and volume modes that go together, best first. None: nobody knows.
	Sets []cdiv1.ClaimPropertySet
	// Clone is how a volume is best cloned; "" where nothing speaks against the default, snapshots.
	Clone cdiv1.CDICloneStrategy
	// CronFormat is what a DataImportCron best keeps of its images; "" for claims.
	CronFormat cdiv1.DataImportCronSourceFormat
	// MinimumSize is a quantity: the driver refuses to make smaller volumes, or makes them as large without a word.
	MinimumSize string
	// CronReadWriteOnce: images of a DataImportCron are best kept with ReadWriteOnce, whatever Sets says.
	CronReadWriteOnce bool
}

// Recognition says how far a class is known. The value is the reason of a StorageProfile's condition Recognized.
type Recognition string

// How far a class is known.
const (
	Recognized            Recognition = "RecognizedProvisioner"
	UnknownProvisioner    Recognition = "UnrecognizedProvisioner"
	UnknownClassParameter Recognition = "UnrecognizedStorageClassParameters"
)

// Of returns what is known of a class by its provisioner and parameters. Those of NoProvisioner are told by OfVolumes.
func Of(class *storagev1.StorageClass) (Traits, Recognition) {
	if class.Provisioner == NoProvisioner {
		return Traits{}, Recognized
	}
	variants, ok := provisioners[class.Provisioner]
	if !ok {
		return Traits{}, UnknownProvisioner
	}
	for _, v := range variants {
		if v.when == nil || v.when(class.Parameters) {
			if len(v.pairs) == 0 { // something is known of it, but not what it can do
				return v.traits(), UnknownProvisioner
			}
			return v.traits(), Recognized
		}
	}
	return Traits{}, UnknownClassParameter
}

// Unsupported says that volumes of a class are not for disks at all: buckets, and volumes that are made elsewhere. Nobody
// need be warned that its profile is empty.
func Unsupported(class *storagev1.StorageClass) bool {
	switch class.Provisioner {
	case NoProvisioner, "openshift-storage.noobaa.io/obc", "openshift-storage.ceph.rook.io/bucket", "rook-ceph.ceph.rook.io/bucket", "stork-snapshot":
		return true
	}
	return false
}

// OfVolumes returns the property sets of a class by the volumes that have its name: what several pods may write first,
// then devices before filesystems.
func OfVolumes(class string, volumes []corev1.PersistentVolume) []cdiv1.ClaimPropertySet {
	found := map[pair]bool{}
	for i := range volumes {
		pv := &volumes[i].Spec
		if pv.StorageClassName != class {
			continue
		}
		mode := corev1.PersistentVolumeFilesystem
		if pv.VolumeMode != nil {
			mode = *pv.VolumeMode
		}
		for _, access := range pv.AccessModes {
			found[pair{access, mode}] = true
		}
	}
	access := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod, corev1.ReadOnlyMany}
	pairs := make([]pair, 0, len(found))
	for p := range found {
		if slices.Contains(access, p.access) {
			pairs = append(pairs, p)
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(slices.Index(access, a.access), slices.Index(access, b.access)), cmp.Compare(a.mode, b.mode))
	})
	return sets(pairs)
}

// A pair is one way to have a volume.
type pair struct {
	access corev1.PersistentVolumeAccessMode
	mode   corev1.PersistentVolumeMode
}

func sets(pairs []pair) []cdiv1.ClaimPropertySet {
	var out []cdiv1.ClaimPropertySet
	for _, p := range pairs {
		out = append(out, cdiv1.ClaimPropertySet{AccessModes: []corev1.PersistentVolumeAccessMode{p.access}, VolumeMode: &p.mode})
	}
	return out
}
