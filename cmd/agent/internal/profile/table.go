package profile

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
)

// A variant is what a provisioner does where its class has certain parameters.
type variant struct {
	when    func(parameters map[string]string) bool // nil: always
	pairs   []pair
	clone   cdiv1.CDICloneStrategy
	cron    cdiv1.DataImportCronSourceFormat
	minimum string
	cronRWO bool
}

func (v variant) traits() Traits {
	return Traits{Sets: sets(v.pairs), Clone: v.clone, CronFormat: v.cron, MinimumSize: v.minimum, CronReadWriteOnce: v.cronRWO}
}

const (
	host      = cdiv1.CloneStrategyHostAssisted
	csi       = cdiv1.CloneStrategyCsiClone
	snapshot  = cdiv1.CloneStrategySnapshot
	snapshots = cdiv1.DataImportCronSourceFormatSnapshot
)

var (
	rwxBlock = pair{corev1.ReadWriteMany, corev1.PersistentVolumeBlock}
	rwoBlock = pair{corev1.ReadWriteOnce, corev1.PersistentVolumeBlock}
	roxBlock = pair{corev1.ReadOnlyMany, corev1.PersistentVolumeBlock}
	rwxFile  = pair{corev1.ReadWriteMany, corev1.PersistentVolumeFilesystem}
	rwoFile  = pair{corev1.ReadWriteOnce, corev1.PersistentVolumeFilesystem}
	roxFile  = pair{corev1.ReadOnlyMany, corev1.PersistentVolumeFilesystem}
)

// What many have in common, best first.
var (
	disk       = []pair{rwoBlock, rwoFile}           // attached to one node
	sharedDisk = []pair{rwxBlock, rwoBlock, rwoFile} // attached to several
	fullArray  = []pair{rwxBlock, rwoBlock, rwoFile, roxBlock, roxFile}
	array      = []pair{rwxBlock, rwoBlock, rwoFile, roxBlock}
	share      = []pair{rwxFile, rwoFile} // a network filesystem
	fullShare  = []pair{rwxFile, rwoFile, roxFile}
	blockOnly  = []pair{rwoBlock}
	fileOnly   = []pair{rwoFile}
	shareOnly  = []pair{rwxFile}
	anything   = []pair{rwxBlock, rwxFile, rwoBlock, rwoFile}
)

// provisioners by name; of several variants the first that fits is taken. Where none fits, the parameters are not known.
// The modes are those that the drivers document and the containerized-data-importer publishes: KubeVirt chooses live
// migration by them.
var provisioners = map[string][]variant{
	// Paths of a node.
	"kubevirt.io.hostpath-provisioner": hostpath,
	"kubevirt.io/hostpath-provisioner": hostpath,
	"k8s.io/minikube-hostpath":         {{pairs: fileOnly}},
	"kubernetes.io/storageos":          {{pairs: fileOnly}},
	"storageos":                        {{pairs: fileOnly}},
	"directpv-min-io":                  {{pairs: fileOnly}},

	// Network filesystems.
	"nfs.csi.k8s.io": {{pairs: shareOnly}},
	"k8s-sigs.io/nfs-subdir-external-provisioner": {{pairs: shareOnly}},
	"kubernetes.io/azure-file":                    {{pairs: shareOnly}},
	"file.csi.azure.com":                          {{pairs: shareOnly}},
	"manila.csi.openstack.org":                    {{pairs: shareOnly}},
	"cephfs.csi.ceph.com":                         {{pairs: share, clone: csi}},
	"rook-ceph.cephfs.csi.ceph.com":               {{pairs: share, clone: csi}},
	"openshift-storage.cephfs.csi.ceph.com":       {{pairs: share, clone: csi}},
	"efs.csi.aws.com":                             {{pairs: share}},
	"spectrumscale.csi.ibm.com":                   {{pairs: share, clone: csi}},
	"csi-isilon.dellemc.com":                      {{pairs: fullShare, clone: csi}},
	"vpc.file.csi.ibm.io": {
		{when: all(is("profile", "dp2"), is("vmState", "true")), pairs: fileOnly, clone: snapshot, cron: snapshots, minimum: "10Gi"},
		{when: all(is("profile", "rfs"), is("vmState", "true")), pairs: fileOnly, clone: snapshot, cron: snapshots, minimum: "1Gi"},
		{when: is("profile", "dp2"), pairs: share, clone: snapshot, cron: snapshots, minimum: "10Gi"},
		{when: is("profile", "rfs"), pairs: share, clone: snapshot, cron: snapshots, minimum: "1Gi"},
		{pairs: share, clone: snapshot, cron: snapshots},
	},

	// Ceph's block devices.
	"kubernetes.io/rbd":                  {{pairs: sharedDisk}},
	"rbd.csi.ceph.com":                   {{pairs: sharedDisk, clone: csi}},
	"rook-ceph.rbd.csi.ceph.com":         {{pairs: sharedDisk, clone: csi, cron: snapshots}},
	"openshift-storage.rbd.csi.ceph.com": {{pairs: sharedDisk, clone: csi, cron: snapshots}},

	// Clouds.
	"kubernetes.io/aws-ebs": {{pairs: blockOnly}},
	"ebs.csi.aws.com": { // https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html has the minimum sizes
		{when: is("type", "io1"), pairs: blockOnly, minimum: "4Gi"},
		{when: is("type", "io2"), pairs: sharedDisk, minimum: "4Gi"},
		{when: is("type", "gp2", "gp3"), pairs: blockOnly, minimum: "1Gi"},
		{pairs: blockOnly},
	},
	"kubernetes.io/azure-disk": {{pairs: blockOnly}},
	"disk.csi.azure.com":       {{pairs: blockOnly}},
	"kubernetes.io/gce-pd":     {{pairs: disk}},
	"pd.csi.storage.gke.io": {
		{when: is("type", "hyperdisk-balanced", "hyperdisk-balanced-high-availability"), pairs: sharedDisk, clone: snapshot, cron: snapshots, minimum: "4Gi", cronRWO: true},
		{pairs: disk, clone: snapshot, cron: snapshots, cronRWO: true},
	},
	"cinder.csi.openstack.org":        {{pairs: disk}},
	"vpc.block.csi.ibm.io":            {{pairs: disk, clone: host}},
	"blockvolume.csi.oraclecloud.com": {{pairs: sharedDisk, clone: csi}},

	// Storage of hypervisors and of nodes.
	"csi.ovirt.org": {{pairs: disk}},
	"csi.vsphere.vmware.com": {
		{when: fsTypeHas("nfs"), pairs: []pair{rwxFile, rwoBlock, rwoFile}},
		{pairs: disk},
	},
	"topolvm.cybozu.com":     {{pairs: disk, clone: host}},
	"topolvm.io":             {{pairs: disk, clone: host}},
	"linstor.csi.linbit.com": {{pairs: fullArray}},
	"kubesan.gitlab.io":      {{pairs: []pair{rwxBlock, roxBlock, rwoBlock, rwoFile}, clone: csi}},
	"driver.longhorn.io": {
		{when: is("migratable", "true"), pairs: []pair{rwxBlock, rwoBlock}},
		{when: given("nfsOptions"), pairs: share},
		{when: given("fsType"), pairs: fileOnly},
		{pairs: blockOnly},
	},
	"kubernetes.io/portworx-volume": {
		{when: portworxNFS, pairs: share},
		{pairs: anything},
	},
	"pxd.portworx.com": {
		{when: is("backend", "pure_block"), pairs: sharedDisk, clone: csi},
		{when: is("backend", "pure_fa_file"), pairs: share},
		{when: given("backend"), pairs: anything, clone: csi},
		{when: portworxNFS, pairs: share, clone: csi},
		{pairs: anything, clone: csi},
	},

	// Arrays.
	"csi-unity.dellemc.com": {
		{when: func(p map[string]string) bool { return strings.EqualFold(p["protocol"], "nfs") }, pairs: fullShare},
		{pairs: fullArray},
	},
	"csi-vxflexos.dellemc.com": {
		{when: fsType("nfs"), pairs: fullShare},
		{pairs: fullArray, clone: csi},
	},
	"csi-powermax.dellemc.com": {
		{when: fsType("nfs"), pairs: fullShare},
		{pairs: array, clone: csi},
	},
	"csi-powerstore.dellemc.com": {
		{when: fsType("nfs"), pairs: fullShare},
		{pairs: array, clone: host},
	},
	"csi.huawei.com": {
		{when: is("protocol", "nfs"), pairs: fullShare},
		{pairs: fullArray},
	},
	"hspc.csi.hitachi.com": {{pairs: sharedDisk, clone: csi, minimum: "1Gi"}},
	"csi.hpe.com":          {{pairs: sharedDisk, clone: csi}},
	"xspc.csi.hpe.com":     {{minimum: "1Gi"}},
	"block.csi.ibm.com":    {{pairs: sharedDisk, clone: csi}},
	"infinibox-csi-driver": {
		{when: is("storage_protocol", "iscsi", "fc", "nvme"), pairs: sharedDisk, clone: csi},
		{when: is("storage_protocol", "nfs", "nfs_treeq"), pairs: share, clone: csi},
	},
	"csi.san.synology.com": {
		{when: is("protocol", "iscsi", ""), pairs: sharedDisk, clone: csi, minimum: "1Gi"},
		{when: is("protocol", "nfs", "nfs_treeq", "smb"), pairs: share, clone: csi, minimum: "1Gi"},
	},
	"csi.trident.netapp.io": {
		{when: prefix("backendType", "ontap-nas"), pairs: share, clone: snapshot, cron: snapshots},
		{when: prefix("backendType", "ontap-san"), pairs: []pair{rwxBlock}, clone: snapshot, cron: snapshots},
		{when: all(is("backendType", "google-cloud-netapp-volumes"), tridentFlex), pairs: share, clone: snapshot, cron: snapshots, minimum: "1Gi"},
	},
}

var hostpath = []variant{
	{when: given("overlayCSI"), pairs: shareOnly},
	{pairs: fileOnly},
}

func is(key string, values ...string) func(map[string]string) bool {
	return func(p map[string]string) bool { return slices.Contains(values, p[key]) }
}

func given(key string) func(map[string]string) bool {
	return func(p map[string]string) bool { return p[key] != "" }
}

func prefix(key, value string) func(map[string]string) bool {
	return func(p map[string]string) bool { return strings.HasPrefix(p[key], value) }
}

func all(conditions ...func(map[string]string) bool) func(map[string]string) bool {
	return func(p map[string]string) bool {
		return !slices.ContainsFunc(conditions, func(c func(map[string]string) bool) bool { return !c(p) })
	}
}

// fsTypeKey is read by the sidecar external-provisioner, whatever the driver.
const fsTypeKey = "csi.storage.k8s.io/fstype"

func fsType(value string) func(map[string]string) bool {
	return func(p map[string]string) bool { return strings.EqualFold(p[fsTypeKey], value) }
}

func fsTypeHas(part string) func(map[string]string) bool {
	return func(p map[string]string) bool { return strings.Contains(strings.ToLower(p[fsTypeKey]), part) }
}

// portworxNFS is how Portworx says that its shared volumes are NFS 3, which its block volumes cannot be beside.
func portworxNFS(p map[string]string) bool {
	options := strings.Split(p["sharedv4_mount_options"], ",")
	return slices.Contains(options, "vers=3.0") && slices.Contains(options, "nolock")
}

func tridentFlex(p map[string]string) bool {
	for _, s := range strings.FieldsFunc(p["selector"], func(r rune) bool { return r == ';' || r == ',' }) {
		if strings.TrimSpace(s) == "performance=flex" {
			return true
		}
	}
	return false
}
