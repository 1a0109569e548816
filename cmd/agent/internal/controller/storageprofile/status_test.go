package storageprofile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/agent/internal/profile"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

const unknown = "loop.csi.cdictl.test"

func class(name, provisioner string, annotations ...string) *storagev1.StorageClass {
	c := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}}, Provisioner: provisioner}
	for i := 0; i < len(annotations); i += 2 {
		c.Annotations[annotations[i]] = annotations[i+1]
	}
	return c
}

func set(mode corev1.PersistentVolumeMode, access ...corev1.PersistentVolumeAccessMode) cdiv1.ClaimPropertySet {
	return cdiv1.ClaimPropertySet{AccessModes: access, VolumeMode: &mode}
}

func TestStatus(t *testing.T) {
	rbd := []cdiv1.ClaimPropertySet{
		set(corev1.PersistentVolumeBlock, corev1.ReadWriteMany),
		set(corev1.PersistentVolumeBlock, corev1.ReadWriteOnce),
		set(corev1.PersistentVolumeFilesystem, corev1.ReadWriteOnce),
	}
	own := []cdiv1.ClaimPropertySet{set(corev1.PersistentVolumeFilesystem, corev1.ReadWriteOnce, corev1.ReadOnlyMany)}
	volumes := []corev1.PersistentVolume{{Spec: corev1.PersistentVolumeSpec{StorageClassName: "local", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}}}}
	for _, c := range []struct {
		name       string
		class      *storagev1.StorageClass
		spec       cdiv1.StorageProfileSpec
		volumes    []corev1.PersistentVolume
		sets       []cdiv1.ClaimPropertySet
		clone      cdiv1.CDICloneStrategy
		format     cdiv1.DataImportCronSourceFormat
		recognized bool
		reason     profile.Recognition
		says       string
	}{
		{name: "known", class: class("a", "rook-ceph.rbd.csi.ceph.com"), sets: rbd, clone: "csi-clone", format: "snapshot",
			recognized: true, reason: profile.Recognized, says: "is known"},
		{name: "the spec wins", class: class("a", "rook-ceph.rbd.csi.ceph.com", cdi.AnnCloneStrategy, "copy"), sets: own, clone: "snapshot", format: "pvc",
			spec: cdiv1.StorageProfileSpec{ClaimPropertySets: own, CloneStrategy: ptr.To(cdiv1.CloneStrategySnapshot),
				DataImportCronSourceFormat: ptr.To(cdiv1.DataImportCronSourceFormatPvc), SnapshotClass: ptr.To("vsc")},
			recognized: true, reason: profile.Recognized, says: "is known"},
		{name: "the class's annotation goes before what is known", class: class("a", "rook-ceph.rbd.csi.ceph.com", cdi.AnnCloneStrategy, "copy"),
			sets: rbd, clone: "copy", format: "snapshot", recognized: true, reason: profile.Recognized, says: "is known"},
		{name: "an annotation that is none", class: class("a", "rook-ceph.rbd.csi.ceph.com", cdi.AnnCloneStrategy, "fast"),
			sets: rbd, clone: "csi-clone", format: "snapshot", recognized: true, reason: profile.Recognized, says: "is known"},
		{name: "unknown", class: class("a", unknown), clone: "snapshot", format: "pvc", reason: profile.UnknownProvisioner, says: "spec.claimPropertySets"},
		{name: "unknown, and told", class: class("a", unknown), spec: cdiv1.StorageProfileSpec{ClaimPropertySets: own}, sets: own,
			clone: "snapshot", format: "pvc", reason: profile.UnknownProvisioner, says: "provisioner " + unknown + " is not known"},
		{name: "unknown parameters", class: class("a", "csi.trident.netapp.io"), clone: "snapshot", format: "pvc",
			reason: profile.UnknownClassParameter, says: "not with these parameters; set spec.claimPropertySets"},
		{name: "made by hand", class: class("local", profile.NoProvisioner), volumes: volumes,
			sets:  []cdiv1.ClaimPropertySet{set(corev1.PersistentVolumeFilesystem, corev1.ReadWriteOnce)},
			clone: "snapshot", format: "pvc", recognized: true, reason: profile.Recognized, says: "is known"},
		{name: "made by hand, none yet", class: class("other", profile.NoProvisioner), volumes: volumes,
			clone: "snapshot", format: "pvc", recognized: true, reason: profile.Recognized, says: "no PersistentVolume has the class other yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := status(c.class, &c.spec, c.volumes)
			want := cdiv1.StorageProfileStatus{
				StorageClass: &c.class.Name, Provisioner: &c.class.Provisioner, ClaimPropertySets: c.sets,
				CloneStrategy: &c.clone, DataImportCronSourceFormat: &c.format, SnapshotClass: c.spec.SnapshotClass,
			}
			conditions := got.Conditions
			got.Conditions = nil
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got): %s", d)
			}
			if len(conditions) != 1 || conditions[0].Type != cdiv1.StorageProfileRecognized || conditions[0].Reason != string(c.reason) ||
				(conditions[0].Status == corev1.ConditionTrue) != c.recognized || !strings.Contains(conditions[0].Message, c.says) {
				t.Errorf("conditions %+v", conditions)
			}
		})
	}
}

func TestAnnotations(t *testing.T) {
	hyperdisk := class("a", "pd.csi.storage.gke.io")
	hyperdisk.Parameters = map[string]string{"type": "hyperdisk-balanced"}
	want := map[string]string{cdi.AnnMinimumSize: "4Gi", cdi.AnnCronReadWriteOnce: "true"}
	if d := cmp.Diff(want, annotations(hyperdisk)); d != "" {
		t.Error(d)
	}
	if got := annotations(class("a", unknown)); len(got) != 0 {
		t.Error(got)
	}
}
