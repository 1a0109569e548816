package profile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
)

// words are the short names of access and volume modes, "rwo file" and so on.
func words(s []cdiv1.ClaimPropertySet) string {
	access := map[corev1.PersistentVolumeAccessMode]string{
		corev1.ReadWriteOnce: "rwo", corev1.ReadWriteMany: "rwx", corev1.ReadOnlyMany: "rox", corev1.ReadWriteOncePod: "rwop",
	}
	mode := map[corev1.PersistentVolumeMode]string{corev1.PersistentVolumeBlock: "blk", corev1.PersistentVolumeFilesystem: "file"}
	var out []string
	for _, set := range s {
		if len(set.AccessModes) != 1 {
			return fmt.Sprintf("%v", s)
		}
		out = append(out, access[set.AccessModes[0]]+" "+mode[*set.VolumeMode])
	}
	return strings.Join(out, ", ")
}

// TestOf is what KubeVirt's CDI says of the same classes.
func TestOf(t *testing.T) {
	const fstype = "csi.storage.k8s.io/fstype"
	type p = map[string]string
	for _, c := range []struct {
		provisioner string
		parameters  p
		sets        string
		clone       cdiv1.CDICloneStrategy
		snapshots   bool
		minimum     string
		cronRWO     bool
	}{
		{provisioner: "kubevirt.io.hostpath-provisioner", sets: "rwo file"},
		{provisioner: "kubevirt.io.hostpath-provisioner", parameters: p{"overlayCSI": "nfs.csi.k8s.io"}, sets: "rwx file"},
		{provisioner: "k8s.io/minikube-hostpath", sets: "rwo file"},
		{provisioner: "nfs.csi.k8s.io", sets: "rwx file"},
		{provisioner: "file.csi.azure.com", sets: "rwx file"},
		{provisioner: "kubernetes.io/rbd", sets: "rwx blk, rwo blk, rwo file"},
		{provisioner: "rbd.csi.ceph.com", sets: "rwx blk, rwo blk, rwo file", clone: "csi-clone"},
		{provisioner: "rook-ceph.rbd.csi.ceph.com", sets: "rwx blk, rwo blk, rwo file", clone: "csi-clone", snapshots: true},
		{provisioner: "openshift-storage.cephfs.csi.ceph.com", sets: "rwx file, rwo file", clone: "csi-clone"},
		{provisioner: "efs.csi.aws.com", sets: "rwx file, rwo file"},
		{provisioner: "csi-isilon.dellemc.com", sets: "rwx file, rwo file, rox file", clone: "csi-clone"},
		{provisioner: "vpc.file.csi.ibm.io", sets: "rwx file, rwo file", clone: "snapshot", snapshots: true},
		{provisioner: "vpc.file.csi.ibm.io", parameters: p{"profile": "dp2"}, sets: "rwx file, rwo file", clone: "snapshot", snapshots: true, minimum: "10Gi"},
		{provisioner: "vpc.file.csi.ibm.io", parameters: p{"profile": "dp2", "vmState": "true"}, sets: "rwo file", clone: "snapshot", snapshots: true, minimum: "10Gi"},
		{provisioner: "vpc.file.csi.ibm.io", parameters: p{"profile": "rfs", "vmState": "true"}, sets: "rwo file", clone: "snapshot", snapshots: true, minimum: "1Gi"},
		{provisioner: "ebs.csi.aws.com", sets: "rwo blk"},
		{provisioner: "ebs.csi.aws.com", parameters: p{"type": "io1"}, sets: "rwo blk", minimum: "4Gi"},
		{provisioner: "ebs.csi.aws.com", parameters: p{"type": "io2"}, sets: "rwx blk, rwo blk, rwo file", minimum: "4Gi"},
		{provisioner: "ebs.csi.aws.com", parameters: p{"type": "gp3"}, sets: "rwo blk", minimum: "1Gi"},
		{provisioner: "disk.csi.azure.com", sets: "rwo blk"},
		{provisioner: "kubernetes.io/gce-pd", sets: "rwo blk, rwo file"},
		{provisioner: "pd.csi.storage.gke.io", parameters: p{"type": "pd-ssd"}, sets: "rwo blk, rwo file", clone: "snapshot", snapshots: true, cronRWO: true},
		{provisioner: "pd.csi.storage.gke.io", parameters: p{"type": "hyperdisk-balanced"}, sets: "rwx blk, rwo blk, rwo file", clone: "snapshot", snapshots: true, minimum: "4Gi", cronRWO: true},
		{provisioner: "vpc.block.csi.ibm.io", sets: "rwo blk, rwo file", clone: "copy"},
		{provisioner: "csi.vsphere.vmware.com", sets: "rwo blk, rwo file"},
		{provisioner: "csi.vsphere.vmware.com", parameters: p{fstype: "NFS4"}, sets: "rwx file, rwo blk, rwo file"},
		{provisioner: "topolvm.io", sets: "rwo blk, rwo file", clone: "copy"},
		{provisioner: "linstor.csi.linbit.com", sets: "rwx blk, rwo blk, rwo file, rox blk, rox file"},
		{provisioner: "kubesan.gitlab.io", sets: "rwx blk, rox blk, rwo blk, rwo file", clone: "csi-clone"},
		{provisioner: "driver.longhorn.io", sets: "rwo blk"},
		{provisioner: "driver.longhorn.io", parameters: p{"migratable": "true", "fsType": "ext4"}, sets: "rwx blk, rwo blk"},
		{provisioner: "driver.longhorn.io", parameters: p{"nfsOptions": "vers=4.2", "fsType": "ext4"}, sets: "rwx file, rwo file"},
		{provisioner: "driver.longhorn.io", parameters: p{"fsType": "ext4"}, sets: "rwo file"},
		{provisioner: "kubernetes.io/portworx-volume", sets: "rwx blk, rwx file, rwo blk, rwo file"},
		{provisioner: "kubernetes.io/portworx-volume", parameters: p{"sharedv4_mount_options": "vers=3.0,nolock"}, sets: "rwx file, rwo file"},
		{provisioner: "pxd.portworx.com", sets: "rwx blk, rwx file, rwo blk, rwo file", clone: "csi-clone"},
		{provisioner: "pxd.portworx.com", parameters: p{"sharedv4_mount_options": "nolock,vers=3.0"}, sets: "rwx file, rwo file", clone: "csi-clone"},
		{provisioner: "pxd.portworx.com", parameters: p{"backend": "pure_block", "sharedv4_mount_options": "nolock,vers=3.0"}, sets: "rwx blk, rwo blk, rwo file", clone: "csi-clone"},
		{provisioner: "pxd.portworx.com", parameters: p{"backend": "pure_fa_file"}, sets: "rwx file, rwo file"},
		{provisioner: "csi-unity.dellemc.com", parameters: p{"protocol": "FC"}, sets: "rwx blk, rwo blk, rwo file, rox blk, rox file"},
		{provisioner: "csi-unity.dellemc.com", parameters: p{"protocol": "NFS"}, sets: "rwx file, rwo file, rox file"},
		{provisioner: "csi-vxflexos.dellemc.com", sets: "rwx blk, rwo blk, rwo file, rox blk, rox file", clone: "csi-clone"},
		{provisioner: "csi-powermax.dellemc.com", sets: "rwx blk, rwo blk, rwo file, rox blk", clone: "csi-clone"},
		{provisioner: "csi-powerstore.dellemc.com", sets: "rwx blk, rwo blk, rwo file, rox blk", clone: "copy"},
		{provisioner: "csi-powerstore.dellemc.com", parameters: p{fstype: "nfs"}, sets: "rwx file, rwo file, rox file"},
		{provisioner: "csi.huawei.com", parameters: p{"protocol": "nfs"}, sets: "rwx file, rwo file, rox file"},
		{provisioner: "hspc.csi.hitachi.com", sets: "rwx blk, rwo blk, rwo file", clone: "csi-clone", minimum: "1Gi"},
		{provisioner: "infinibox-csi-driver", parameters: p{"storage_protocol": "fc"}, sets: "rwx blk, rwo blk, rwo file", clone: "csi-clone"},
		{provisioner: "infinibox-csi-driver", parameters: p{"storage_protocol": "nfs_treeq"}, sets: "rwx file, rwo file", clone: "csi-clone"},
		{provisioner: "csi.san.synology.com", sets: "rwx blk, rwo blk, rwo file", clone: "csi-clone", minimum: "1Gi"},
		{provisioner: "csi.san.synology.com", parameters: p{"protocol": "smb"}, sets: "rwx file, rwo file", clone: "csi-clone", minimum: "1Gi"},
		{provisioner: "csi.trident.netapp.io", parameters: p{"backendType": "ontap-nas-economy"}, sets: "rwx file, rwo file", clone: "snapshot", snapshots: true},
		{provisioner: "csi.trident.netapp.io", parameters: p{"backendType": "ontap-san"}, sets: "rwx blk", clone: "snapshot", snapshots: true},
		{provisioner: "csi.trident.netapp.io", parameters: p{"backendType": "google-cloud-netapp-volumes", "selector": "tier=a ; performance=flex"}, sets: "rwx file, rwo file", clone: "snapshot", snapshots: true, minimum: "1Gi"},
	} {
		got, r := Of(&storagev1.StorageClass{Provisioner: c.provisioner, Parameters: c.parameters})
		name := fmt.Sprint(c.provisioner, c.parameters)
		if r != Recognized || words(got.Sets) != c.sets {
			t.Errorf("%s: %s, %q; want %q", name, r, words(got.Sets), c.sets)
		}
		format := cdiv1.DataImportCronSourceFormat("")
		if c.snapshots {
			format = cdiv1.DataImportCronSourceFormatSnapshot
		}
		got.Sets = nil
		if d := cmp.Diff(Traits{Clone: c.clone, CronFormat: format, MinimumSize: c.minimum, CronReadWriteOnce: c.cronRWO}, got); d != "" {
			t.Errorf("%s (-want +got): %s", name, d)
		}
	}
}

func TestUnknown(t *testing.T) {
	type p = map[string]string
	for _, c := range []struct {
		provisioner string
		parameters  p
		want        Recognition
		minimum     string
	}{
		{"loop.csi.cdictl.test", nil, UnknownProvisioner, ""},
		{"", nil, UnknownProvisioner, ""},
		{"xspc.csi.hpe.com", nil, UnknownProvisioner, "1Gi"},
		{"csi.trident.netapp.io", nil, UnknownClassParameter, ""},
		{"csi.trident.netapp.io", p{"backendType": "google-cloud-netapp-volumes", "selector": "performance=flexible"}, UnknownClassParameter, ""},
		{"infinibox-csi-driver", p{"storage_protocol": "carrier-pigeon"}, UnknownClassParameter, ""},
		{"csi.san.synology.com", p{"protocol": "afp"}, UnknownClassParameter, ""},
		{NoProvisioner, nil, Recognized, ""},
	} {
		got, r := Of(&storagev1.StorageClass{Provisioner: c.provisioner, Parameters: c.parameters})
		if r != c.want || len(got.Sets) != 0 || got.MinimumSize != c.minimum {
			t.Errorf("%s %v: %s, %v; want %s and no sets", c.provisioner, c.parameters, r, got, c.want)
		}
	}
	for provisioner, want := range map[string]bool{NoProvisioner: true, "stork-snapshot": true, "rbd.csi.ceph.com": false, "nobody": false} {
		if got := Unsupported(&storagev1.StorageClass{Provisioner: provisioner}); got != want {
			t.Errorf("Unsupported(%s) = %t", provisioner, got)
		}
	}
}

// TestTable holds every row to what the API server takes.
func TestTable(t *testing.T) {
	for name, variants := range provisioners {
		for i, v := range variants {
			if len(v.pairs) > 8 {
				t.Errorf("%s: %d sets, a profile has 8 at most", name, len(v.pairs))
			}
			if v.when == nil && i != len(variants)-1 {
				t.Errorf("%s: variant %d hides those after it", name, i)
			}
			if v.minimum != "" {
				if _, err := resource.ParseQuantity(v.minimum); err != nil {
					t.Errorf("%s: minimum %q: %v", name, v.minimum, err)
				}
			}
		}
	}
	if n := len(provisioners); n < 50 {
		t.Errorf("%d provisioners", n)
	}
}

func TestOfVolumes(t *testing.T) {
	block := corev1.PersistentVolumeBlock
	pv := func(class string, mode *corev1.PersistentVolumeMode, access ...corev1.PersistentVolumeAccessMode) corev1.PersistentVolume {
		return corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{StorageClassName: class, VolumeMode: mode, AccessModes: access}}
	}
	volumes := []corev1.PersistentVolume{
		pv("local", nil, corev1.ReadOnlyMany, corev1.ReadWriteOnce),
		pv("local", nil, corev1.ReadWriteOnce),
		pv("local", &block, corev1.ReadWriteOncePod, corev1.ReadWriteOnce),
		pv("other", &block, corev1.ReadWriteMany),
	}
	for class, want := range map[string]string{
		"local": "rwo blk, rwo file, rwop blk, rox file",
		"other": "rwx blk",
		"none":  "",
	} {
		for range 10 { // a map is behind it
			if got := words(OfVolumes(class, volumes)); got != want {
				t.Errorf("%s: %q, want %q", class, got, want)
			}
		}
	}
}
