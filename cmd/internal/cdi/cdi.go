// Package cdi has the names that the containerized-data-importer ecosystem goes by: annotations, labels and the names of
// children. KubeVirt, virtctl, Forklift and backup tools read and set them, so they are spelt here once and only here.
package cdi

import "k8s.io/apimachinery/pkg/types"

// Groups.
const (
	Group       = "cdi.kubevirt.io"
	UploadGroup = "upload.cdi.kubevirt.io"
	prefix      = Group + "/"
)

// ConfigName is the name of the one CDIConfig.
const ConfigName = "config"

// Annotations of claims, set by the DataVolume controller or by people who use no DataVolume.
const (
	AnnSource             = prefix + "storage.import.source" // http, none (blank), …
	AnnEndpoint           = prefix + "storage.import.endpoint"
	AnnSecret             = prefix + "storage.import.secretName"
	AnnCertConfigMap      = prefix + "storage.import.certConfigMap"
	AnnInsecureSkipVerify = prefix + "storage.import.insecureSkipVerify"
	AnnChecksum           = prefix + "storage.import.checksum"
	AnnExtraHeaders       = prefix + "storage.import.extraHeaders."       // + N
	AnnSecretExtraHeaders = prefix + "storage.import.secretExtraHeaders." // + N
	AnnImportPod          = prefix + "storage.import.importPodName"
	AnnRequiresScratch    = prefix + "storage.import.requiresScratch"
	AnnFatalError         = prefix + "storage.import.fatalError"
	AnnContentType        = prefix + "storage.contentType"

	AnnPodPhase        = prefix + "storage.pod.phase" // virtctl waits for it
	AnnPodReady        = prefix + "storage.pod.ready"
	AnnPodRestarts     = prefix + "storage.pod.restarts"
	AnnPodSchedulable  = prefix + "storage.pod.schedulable"
	AnnPriorityClass   = prefix + "storage.pod.priorityclassname"
	AnnServiceAccount  = prefix + "storage.pod.serviceAccountName"
	AnnPodRetain       = prefix + "storage.pod.retainAfterCompletion"
	AnnRunning         = prefix + "storage.condition.running"
	AnnRunningReason   = prefix + "storage.condition.running.reason"
	AnnRunningMessage  = prefix + "storage.condition.running.message"
	AnnBound           = prefix + "storage.condition.bound"
	AnnBoundReason     = prefix + "storage.condition.bound.reason"
	AnnBoundMessage    = prefix + "storage.condition.bound.message"
	AnnPreallocRequest = prefix + "storage.preallocation.requested"
	AnnPreallocated    = prefix + "storage.preallocation"

	AnnPopulatorProgress = prefix + "storage.populator.progress"
	AnnPopulatorKind     = prefix + "storage.populator.kind"
	AnnPVCPrime          = prefix + "storage.populator.pvcPrime"
	AnnUsePopulator      = prefix + "storage.usePopulator" // "true", "false"

	AnnPopulatedFor        = prefix + "storage.populatedFor"
	AnnPrePopulated        = prefix + "storage.prePopulated"
	AnnCheckStaticVolume   = prefix + "storage.checkStaticVolume"
	AnnExternalPopulation  = prefix + "externalPopulation"
	AnnAllowClaimAdoption  = prefix + "allowClaimAdoption"
	AnnCreatedForDV        = prefix + "createdForDataVolume"
	AnnOwnedByDV           = prefix + "ownedByDataVolume"
	AnnImmediateBinding    = prefix + "storage.bind.immediate.requested" // presence counts, whatever the value
	AnnDeleteAfterComplete = prefix + "storage.deleteAfterCompletion"

	AnnSelectedNode = "volume.kubernetes.io/selected-node"
)

// AnnPopulation is ours: cdi.Population as JSON, all that is known about how the filling of a claim goes.
const AnnPopulation = "cdictl.dev/population"

// Annotations of StorageClasses and StorageProfiles.
const (
	AnnDefaultClass      = "storageclass.kubernetes.io/is-default-class"
	AnnDefaultVirtClass  = "storageclass.kubevirt.io/is-default-virt-class" // goes before the other for VM disks
	AnnCloneStrategy     = prefix + "clone-strategy"
	AnnMinimumSize       = prefix + "minimumSupportedPvcSize"
	AnnCronReadWriteOnce = prefix + "useReadWriteOnceForDataImportCron"
)

// Labels.
const (
	LabelApp           = "app"
	App                = "containerized-data-importer"
	LabelComponent     = Group // value: importer
	LabelPartOf        = "app.kubernetes.io/part-of"
	LabelManagedBy     = "app.kubernetes.io/managed-by"
	LabelK8sComponent  = "app.kubernetes.io/component"
	ManagedBy          = "cdi-controller"
	LabelMetrics       = "prometheus.cdi.kubevirt.io"
	LabelApplyProfile  = prefix + "applyStorageProfile"
	LabelFillingUp     = "alerts.k8s.io/KubePersistentVolumeFillingUp" // "disabled" on Filesystem claims
	LabelExcludeBackup = "velero.io/exclude-from-backup"
	LabelAllowServices = "np.kubevirt.io/allow-access-cluster-services"
)

// PodAnnotations are the only annotations that go from a claim to its pods.
var PodAnnotations = []string{
	"k8s.v1.cni.cncf.io/networks",
	"v1.multus-cni.io/default-network",
	"sidecar.istio.io/inject",
	"linkerd.io/inject",
}

// PrimeName is the claim that is filled in place of the claim with this UID.
func PrimeName(claim types.UID) string { return "prime-" + string(claim) }

// ImportSourceName is the VolumeImportSource of the DataVolume with this UID.
func ImportSourceName(dv types.UID) string { return "volume-import-source-" + string(dv) }
