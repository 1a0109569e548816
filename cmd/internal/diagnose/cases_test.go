package diagnose

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

// cases are healthy with something wrong: the faults that the suites provoke, and the waits that people ask about.
var cases = []struct {
	name    string
	id      string
	verdict Verdict
	make    func(*Objects)
}{
	{"running", "TransferRunning", Working, func(*Objects) {}},
	{"done", "Completed", Done, func(o *Objects) {
		o.DataVolume.Status.Phase, o.DataVolume.Status.Progress = cdiv1.Succeeded, "100.0%"
		o.Claim.Status.Phase, o.Claim.Spec.VolumeName, o.Prime, o.Worker = corev1.ClaimBound, "pv-1", nil, nil
		o.Volume.Spec.ClaimRef.Name = "server"
		population(o, cdi.Population{State: cdi.StateDone, Message: "filled", Percent: 100, Format: "qcow2", VirtualSize: 10 << 30, Digest: "sha256:abc"})
	}},

	// What the source does.
	{"source-404", "SourceNotFound", Stuck, func(o *Objects) {
		ended(o, job.Result{Outcome: job.Retry, Reason: "SourceNotFound", ExitCode: 10, Message: "open source " + image + ": 404 Not Found: not found", Hint: "check the name"}, 3)
	}},
	{"source-401-without-secret", "SourceUnauthorized", Stuck, func(o *Objects) {
		ended(o, job.Result{Outcome: job.Retry, Reason: "SourceUnauthorized", ExitCode: 11, Message: "open source " + image + ": 401 Unauthorized: unauthorized"}, 1)
	}},
	{"source-401-with-secret", "SourceUnauthorized", Stuck, func(o *Objects) {
		o.DataVolume.Spec.Source.HTTP.SecretRef = "login"
		ended(o, job.Result{Outcome: job.Retry, Reason: "SourceUnauthorized", ExitCode: 11, Message: "open source " + image + ": 401 Unauthorized: unauthorized"}, 1)
	}},
	{"source-tls", "CertificateNotTrusted", Stuck, func(o *Objects) {
		ended(o, job.Result{Outcome: job.Retry, Reason: "SourceUnavailable", ExitCode: 21, Hint: "name the authority with --ca-file",
			Message: `open source ` + image + `: the server's certificate is not trusted: x509: certificate signed by unknown authority (subject "CN=images.example", issuer "CN=Example CA"): unavailable`}, 1)
	}},
	{"source-tls-with-configmap", "CertificateNotTrusted", Stuck, func(o *Objects) {
		o.DataVolume.Spec.Source.HTTP.CertConfigMap = "authorities"
		ended(o, job.Result{Outcome: job.Retry, Reason: "SourceUnavailable", ExitCode: 21,
			Message: `open source ` + image + `: the server's certificate is not trusted: x509: certificate signed by unknown authority: unavailable`}, 1)
	}},
	{"source-unreachable", "SourceUnavailable", Stuck, func(o *Objects) {
		ended(o, job.Result{Outcome: job.Retry, Reason: "SourceUnavailable", ExitCode: 21, Message: "open source " + image + ": connection refused: unavailable"}, 5)
	}},
	{"source-changed", "SourceChanged", Stuck, func(o *Objects) {
		ended(o, job.Result{Outcome: job.Retry, Reason: "SourceChanged", ExitCode: 17, Message: "read source " + image + ": the ETag is another one: changed while reading"}, 1)
	}},
	{"image-too-big", "TargetTooSmall", Failed, func(o *Objects) {
		ended(o, job.Result{Outcome: job.Failed, Reason: "TargetTooSmall", ExitCode: 14, VirtualSize: 20 << 30,
			Message: "size target /data/disk.img: the image has a virtual size of 21474836480 bytes, there is room for 10737418240: too small"}, 0)
	}},
	{"image-corrupt", "InvalidImage", Failed, func(o *Objects) {
		ended(o, job.Result{Outcome: job.Failed, Reason: "InvalidImage", ExitCode: 12, Message: "decode source " + image + ": qcow2: L2 table at 0x50000 is beyond the end of the file: corrupt"}, 0)
	}},
	{"wrong-checksum", "DigestMismatch", Failed, func(o *Objects) {
		o.DataVolume.Spec.Source.HTTP.Checksum = "sha256:aaaa"
		ended(o, job.Result{Outcome: job.Failed, Reason: "DigestMismatch", ExitCode: 13, Message: "verify source " + image + ": sha256 is bbbb, aaaa was expected: digest mismatch"}, 0)
	}},
	{"refused", "PolicyRefused", Failed, func(o *Objects) {
		ended(o, job.Result{Outcome: job.Failed, Reason: "PolicyRefused", ExitCode: 20, Message: "open source " + image + ": a redirect leads to the link-local address 169.254.169.254: refused by policy",
			Hint: "name the image by the URL that it really has"}, 0)
	}},
	{"unsupported", "UnsupportedSource", Failed, func(o *Objects) {
		unstarted(o)
		population(o, cdi.Population{State: cdi.StateFailed, Reason: "UnsupportedSource", Message: "PersistentVolumeClaim server: source s3 is not supported yet", Hint: "use an http source", Percent: -1})
	}},
	{"failed-and-cleaned-up", "DigestMismatch", Failed, func(o *Objects) {
		ended(o, job.Result{Outcome: job.Failed, Reason: "DigestMismatch", ExitCode: 13, Message: "verify source " + image + ": sha256 is bbbb, aaaa was expected: digest mismatch"}, 0)
		o.Worker, o.Prime, o.Volume = nil, nil, nil
		o.Claim.Annotations[cdi.AnnFatalError] = "DigestMismatch: …"
	}},
	{"volume-being-made", "OnItsWay", Working, func(o *Objects) {
		unstarted(o)
		o.Prime.Status.Phase, o.Prime.Spec.VolumeName, o.Volume = corev1.ClaimPending, "", nil
		population(o, cdi.Population{State: cdi.StateWaiting, Reason: "Provisioning", Message: "the volume of claim " + prime + " is being made", Percent: -1})
	}},
	{"target-full", "TargetTooSmall", Failed, func(o *Objects) {
		o.Class.AllowVolumeExpansion = new(true)
		ended(o, job.Result{Outcome: job.Failed, Reason: "TargetTooSmall", ExitCode: 14, Message: "write target /data/disk.img: no space left on device"}, 1)
	}},

	// What happens to the worker.
	{"worker-restarted", "TransferRunning", Working, func(o *Objects) {
		c := &o.Worker.Status.ContainerStatuses[0]
		c.RestartCount, c.LastTerminationState.Terminated = 4, &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "Error", FinishedAt: ago(time.Minute)}
		c.State.Running.StartedAt = ago(58 * time.Second)
		o.DataVolume.Status.RestartCount = 4
	}},
	{"worker-crashes", "Error", Stuck, func(o *Objects) {
		starting(o, "CrashLoopBackOff", "back-off 5m0s restarting failed container")
		c := &o.Worker.Status.ContainerStatuses[0]
		c.RestartCount, c.LastTerminationState.Terminated = 6, &corev1.ContainerStateTerminated{ExitCode: 2, Reason: "Error", Message: "panic: oh", FinishedAt: ago(time.Minute)}
		o.Worker.Status.Phase = corev1.PodRunning
	}},
	{"worker-out-of-memory", "OOMKilled", Stuck, func(o *Objects) {
		starting(o, "CrashLoopBackOff", "back-off 20s restarting failed container")
		c := &o.Worker.Status.ContainerStatuses[0]
		c.RestartCount, c.LastTerminationState.Terminated = 2, &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", FinishedAt: ago(time.Minute)}
		o.Worker.Status.Phase = corev1.PodRunning
	}},
	{"worker-evicted", "Evicted", Stuck, func(o *Objects) {
		o.Worker.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: ephemeral-storage."}
	}},
	{"node-down", "NodeNotReady", Stuck, func(o *Objects) { o.Nodes[0] = node("node-1", false) }},
	{"unschedulable", "Unschedulable", Stuck, func(o *Objects) {
		starting(o, "", "")
		o.Worker.Status.ContainerStatuses, o.Worker.Spec.NodeName = nil, ""
		o.Worker.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", LastTransitionTime: ago(4 * time.Minute),
			Message: "0/2 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }."}}
		o.Nodes = append(o.Nodes, node("node-2", false))
	}},
	{"image-pull", "ImagePullFailed", Stuck, func(o *Objects) {
		starting(o, "ImagePullBackOff", `Back-off pulling image "registry.example/cdictl/agent:v1": not found`)
		event(o, "Pod", worker, "Warning", "Failed", "Error: ErrImagePull", 4, 4*time.Minute, time.Minute)
	}},
	{"csi-publish", "FailedMount", Stuck, func(o *Objects) {
		starting(o, "ContainerCreating", "")
		event(o, "Pod", worker, "Warning", "FailedMount", `MountVolume.SetUp failed for volume "pv-1" : rpc error: code = Internal desc = injected failure`, 6, 4*time.Minute, 20*time.Second)
	}},
	{"csi-attach", "FailedAttachVolume", Stuck, func(o *Objects) {
		starting(o, "ContainerCreating", "")
		event(o, "Pod", worker, "Warning", "FailedAttachVolume", `Multi-Attach error for volume "pv-1" Volume is already used by pod(s) other`, 1, 4*time.Minute, 4*time.Minute)
	}},
	{"container-config", "CreateContainerConfigError", Stuck, func(o *Objects) {
		starting(o, "CreateContainerConfigError", "container has runAsNonRoot and image will run as root")
	}},

	// What happens to claims and volumes.
	{"claim-deleted", "ClaimDeleted", Stuck, func(o *Objects) {
		o.Claim, o.Prime, o.Volume, o.Worker = nil, nil, nil, nil
		o.DataVolume.Status.Phase = cdiv1.Pending
		set(o, condition(cdiv1.DataVolumeBound, corev1.ConditionFalse, "NotFound", "No PVC found", 90*time.Second))
	}},
	{"claim-being-deleted", "ClaimBeingDeleted", Stuck, func(o *Objects) {
		o.Claim.DeletionTimestamp, o.Claim.Finalizers = new(ago(time.Minute)), []string{"kubernetes.io/pvc-protection"}
		o.Users = []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "vms", Name: "virt-launcher-server-x", CreationTimestamp: ago(2 * time.Minute)}, Spec: uses("server"), Status: corev1.PodStatus{Phase: corev1.PodPending}}}
	}},
	{"target-full-in-place", "TargetTooSmall", Stuck, func(o *Objects) {
		o.Class.AllowVolumeExpansion, o.Prime, o.Driver = new(true), nil, nil
		o.Claim.Status.Phase, o.Claim.Spec.VolumeName, o.Volume.Spec.ClaimRef.Name = corev1.ClaimBound, "pv-1", "server"
		ended(o, job.Result{Outcome: job.Retry, Reason: "TargetTooSmall", ExitCode: 14, Message: "write target /data/disk.img: no space left on device"}, 1)
	}},
	{"quota-of-yesterday", "OnItsWay", Working, func(o *Objects) {
		unstarted(o)
		event(o, "DataVolume", "server", "Warning", "ErrExceededQuota", "exceeded quota: storage", 9, 9*time.Minute, 6*time.Minute)
	}},
	{"claim-lost", "ClaimLost", Failed, func(o *Objects) {
		o.DataVolume.Status.Phase, o.Prime, o.Worker, o.Volume = cdiv1.Failed, nil, nil, nil
		o.Claim.Status.Phase, o.Claim.Spec.VolumeName = corev1.ClaimLost, "pv-1"
		set(o, condition(cdiv1.DataVolumeBound, corev1.ConditionFalse, "ClaimLost", "Claim Lost", time.Minute))
	}},
	{"claim-gone-after-success", "ClaimGone", Stuck, func(o *Objects) {
		o.DataVolume.Status.Phase, o.Claim, o.Prime, o.Worker, o.Volume = cdiv1.Succeeded, nil, nil, nil, nil
	}},
	{"claim-of-somebody-else", "ErrResourceExists", Stuck, func(o *Objects) {
		o.Prime, o.Worker, o.Volume = nil, nil, nil
		o.Claim.Annotations, o.Claim.Status.Phase = nil, corev1.ClaimBound
		o.DataVolume.Status = cdiv1.DataVolumeStatus{Phase: cdiv1.Pending, Progress: "N/A"}
		event(o, "DataVolume", "server", "Warning", "ErrResourceExists", `Resource "server" already exists and is not managed by DataVolume`, 3, 4*time.Minute, time.Minute)
	}},
	{"quota-of-storage", "ErrExceededQuota", Stuck, func(o *Objects) {
		bare(o)
		o.Quotas = []corev1.ResourceQuota{quotaOf("storage", corev1.ResourceRequestsStorage, "20Gi", "15Gi")}
		event(o, "DataVolume", "server", "Warning", "ErrExceededQuota", `persistentvolumeclaims "server" is forbidden: exceeded quota: storage, requested: requests.storage=10858Mi, used: requests.storage=15Gi, limited: requests.storage=20Gi`, 9, 4*time.Minute, 10*time.Second)
	}},
	{"quota-of-pods", "ErrExceededQuota", Stuck, func(o *Objects) {
		unstarted(o)
		o.Quotas = []corev1.ResourceQuota{quotaOf("pods", corev1.ResourcePods, "3", "3")}
		population(o, cdi.Population{State: cdi.StateWaiting, Reason: "ErrExceededQuota", Message: `pods "` + worker + `" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=3, limited: pods=3`, Percent: -1})
	}},
	{"csi-create", "ProvisioningFailed", Stuck, func(o *Objects) {
		unstarted(o)
		o.Prime.Status.Phase, o.Prime.Spec.VolumeName, o.Volume = corev1.ClaimPending, "", nil
		event(o, "PersistentVolumeClaim", prime, "Warning", "ProvisioningFailed", `failed to provision volume with StorageClass "fast": rpc error: code = ResourceExhausted desc = injected failure`, 3, 4*time.Minute, 30*time.Second)
	}},
	{"csi-missing", "NoProvisioner", Stuck, func(o *Objects) {
		unstarted(o)
		o.Driver, o.CSINodes = nil, nil
		o.Prime.Status.Phase, o.Prime.Spec.VolumeName, o.Volume = corev1.ClaimPending, "", nil
		event(o, "PersistentVolumeClaim", prime, "Normal", "ExternalProvisioning", `Waiting for a volume to be created either by the external provisioner 'csi.example.com' or manually by the system administrator.`, 20, 4*time.Minute, 5*time.Second)
	}},

	// What it waits for before there is a claim or a worker.
	{"no-default-class", "NoDefaultStorageClass", Stuck, func(o *Objects) {
		bare(o)
		o.Classes[0].Annotations, o.Class, o.Profile, o.Driver = nil, nil, nil, nil
		event(o, "DataVolume", "server", "Warning", "ErrClaimNotValid", "PVC spec is missing accessMode and no storageClass to choose profile", 4, 4*time.Minute, time.Minute)
	}},
	{"class-missing", "StorageClassMissing", Stuck, func(o *Objects) {
		bare(o)
		o.DataVolume.Spec.Storage.StorageClassName, o.Class, o.Profile, o.Driver = new("fats"), nil, nil, nil
	}},
	{"class-of-claim-missing", "StorageClassMissing", Stuck, func(o *Objects) {
		unstarted(o)
		o.Claim.Spec.StorageClassName, o.Prime, o.Volume, o.Class, o.Profile, o.Driver = new("fats"), nil, nil, nil, nil, nil
	}},
	{"profile-incomplete", "StorageProfileIncomplete", Stuck, func(o *Objects) {
		bare(o)
		o.Profile.Status.ClaimPropertySets = nil
		event(o, "DataVolume", "server", "Warning", "ErrClaimNotValid", "Spec is missing accessMode and volumeMode, cannot get access mode from StorageProfile fast", 4, 4*time.Minute, time.Minute)
	}},
	{"first-consumer", "WaitForFirstConsumer", Waiting, func(o *Objects) { firstConsumerCase(o) }},
	{"first-consumer-unschedulable", "WaitForFirstConsumer", Stuck, func(o *Objects) {
		firstConsumerCase(o)
		o.Users = []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "vms", Name: "virt-launcher-server-x", CreationTimestamp: ago(2 * time.Minute)},
			Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes are available: 1 Insufficient cpu."}}}}}
	}},
	{"secret-missing", "SecretMissing", Stuck, func(o *Objects) {
		unstarted(o)
		o.DataVolume.Spec.Source.HTTP.SecretRef, o.Absent = "login", []Ref{{"Secret", "login"}}
	}},
	{"configmap-missing", "ConfigMapMissing", Stuck, func(o *Objects) {
		starting(o, "ContainerCreating", "")
		o.DataVolume.Spec.Source.HTTP.CertConfigMap, o.Absent = "authorities", []Ref{{"ConfigMap", "authorities"}}
		event(o, "Pod", worker, "Warning", "FailedMount", `MountVolume.SetUp failed for volume "ca" : configmap "authorities" not found`, 3, 4*time.Minute, time.Minute)
	}},
	{"header-secret-missing", "SecretMissing", Stuck, func(o *Objects) {
		unstarted(o)
		o.DataVolume.Spec.Source.HTTP.SecretExtraHeaders, o.Absent = []string{"token"}, []Ref{{"Secret", "token"}}
	}},
	{"publishing-stuck", "Publishing", Stuck, func(o *Objects) {
		ended(o, job.Result{Outcome: job.Succeeded, Reason: "Completed"}, 0)
		o.Worker.Status.ContainerStatuses[0].State.Terminated.FinishedAt = ago(4 * time.Minute)
		o.DataVolume.Status.Phase = cdiv1.ImportInProgress
		set(o, condition(cdiv1.DataVolumeRunning, corev1.ConditionFalse, "Completed", "Import Complete", 4*time.Minute))
		population(o, cdi.Population{State: cdi.StatePublishing, Message: "the volume moves to the claim", Percent: 100})
	}},
	{"unknown-reason", "SomethingNew", Stuck, func(o *Objects) {
		unstarted(o)
		population(o, cdi.Population{State: cdi.StateWaiting, Reason: "SomethingNew", Message: "The moon is not full.", Hint: "Wait for it.", Percent: -1})
	}},
	{"being-deleted", "BeingDeleted", Stuck, func(o *Objects) {
		o.DataVolume.DeletionTimestamp, o.DataVolume.Finalizers = new(ago(3*time.Minute)), []string{"example.com/keep"}
	}},

	// What is the matter with the agent.
	{"agent-not-installed", "AgentNotInstalled", Stuck, func(o *Objects) {
		untouchedCase(o)
		o.Agent = Agent{Known: true}
	}},
	{"agent-killed", "AgentDown", Stuck, func(o *Objects) {
		agentPod(o, corev1.ContainerStatus{RestartCount: 3, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error",
				Message: "level=error msg=\"the cluster runs CDI already (deployment cdi/cdi-operator)\"\n"}}})
	}},
	{"agent-without-image", "AgentDown", Stuck, func(o *Objects) {
		agentPod(o, corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "registry.example: no such host"}}})
	}},
	{"agent-scaled-down", "AgentDown", Stuck, func(o *Objects) {
		agentPod(o, corev1.ContainerStatus{})
		o.Agent.Pods, o.Agent.Deployments[0].Spec.Replicas = nil, new(int32(0))
	}},
	{"agent-without-leader", "AgentWithoutLeader", Stuck, func(o *Objects) {
		o.Agent.Lease.Spec.RenewTime = new(metav1.NewMicroTime(now.Add(-3 * time.Minute)))
	}},
	{"agent-unseen", "NobodyLooks", Stuck, func(o *Objects) {
		untouchedCase(o)
		o.Agent = Agent{}
		o.Unread = []Unread{{"deployment", "not allowed"}, {"node", "not allowed"}}
	}},
	{"peer-beside-agent", "TwoControllers", Stuck, func(o *Objects) { o.Agent.Peer = "deployment cdi/cdi-operator" }},
	{"peer-alone", "TransferRunning", Working, func(o *Objects) { o.Agent = Agent{Known: true, Peer: "deployment cdi/cdi-deployment"} }},

	// Claims without a DataVolume.
	{"plain-claim-running", "TransferRunning", Working, func(o *Objects) {
		o.DataVolume = nil
		o.Claim.Spec.DataSourceRef = &corev1.TypedObjectReference{Kind: "VolumeImportSource", Name: "image"}
		o.ImportSource = &cdiv1.VolumeImportSource{ObjectMeta: metav1.ObjectMeta{Name: "image", CreationTimestamp: ago(6 * time.Minute)},
			Spec: cdiv1.VolumeImportSourceSpec{Source: &cdiv1.ImportSourceType{HTTP: &cdiv1.DataVolumeSourceHTTP{URL: image}}}}
	}},
	{"plain-claim-404", "SourceNotFound", Stuck, func(o *Objects) {
		ended(o, job.Result{Outcome: job.Retry, Reason: "SourceNotFound", Message: "open source " + image + ": 404 Not Found: not found"}, 0)
		o.DataVolume, o.Prime = nil, nil
		o.Claim.Annotations[cdi.AnnSource], o.Claim.Annotations[cdi.AnnEndpoint] = "http", image
	}},
	{"plain-claim-of-nobody", "NotOurs", Done, func(o *Objects) {
		o.DataVolume, o.Prime, o.Worker, o.Claim.Annotations = nil, nil, nil, nil
		o.Claim.Status.Phase = corev1.ClaimBound
	}},
}

func firstConsumerCase(o *Objects) {
	unstarted(o)
	o.Class.VolumeBindingMode = new(storagev1.VolumeBindingWaitForFirstConsumer)
	o.Prime, o.Volume = nil, nil
	o.DataVolume.Status.Phase = cdiv1.PendingPopulation
	population(o, cdi.Population{State: cdi.StateConsumer, Message: "waits for a pod that uses the claim", Percent: -1})
}

func untouchedCase(o *Objects) {
	o.Claim, o.Prime, o.Volume, o.Worker = nil, nil, nil, nil
	o.DataVolume.Status = cdiv1.DataVolumeStatus{}
}

func agentPod(o *Objects, c corev1.ContainerStatus) {
	o.Agent.Deployments[0].Status = appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionFalse, LastTransitionTime: ago(2 * time.Minute)}}}
	o.Agent.Pods = []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "cdi", Name: "cdi-agent-6d4-abc"},
		Spec:   corev1.PodSpec{Containers: []corev1.Container{{Image: "registry.example/cdictl/agent:v1"}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{c}}}}
}

func quotaOf(name string, what corev1.ResourceName, hard, used string) corev1.ResourceQuota {
	return corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.ResourceQuotaStatus{
		Hard: corev1.ResourceList{what: resource.MustParse(hard)}, Used: corev1.ResourceList{what: resource.MustParse(used)}}}
}

func uses(claim string) corev1.PodSpec {
	return corev1.PodSpec{Volumes: []corev1.Volume{{Name: "disk", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}}
}
