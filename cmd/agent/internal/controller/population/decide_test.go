package population

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/agent/internal/podspec"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const (
	claimUID = "11111111-0000-4000-8000-000000000000"
	primeUID = "22222222-0000-4000-8000-000000000000"
)

// newWorld is a claim of an immediate CSI class whose source is there; nothing has been done for it.
func newWorld(f flow) *world {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "disk", Namespace: "vms", UID: claimUID, Annotations: map[string]string{}},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: ptr.To("fast"),
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
	}
	spec := &cdiv1.VolumeImportSourceSpec{Source: &cdiv1.ImportSourceType{HTTP: &cdiv1.DataVolumeSourceHTTP{URL: "https://images.example/disk.qcow2"}}}
	if f == viaPrime {
		c.Spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: ptr.To(cdi.Group), Kind: sourceKind, Name: "image"}
	} else {
		c.Annotations[cdi.AnnSource], c.Annotations[cdi.AnnEndpoint] = "http", spec.Source.HTTP.URL
	}
	return &world{
		now: noon, claim: c, flow: f, csi: true, source: spec,
		class: &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Provisioner: "csi.example"},
	}
}

// change is one thing that happened to a world.
type change func(w *world)

func primed(w *world) {
	w.prime = primeOf(w.claim)
	w.prime.UID, w.prime.CreationTimestamp = primeUID, metav1.NewTime(noon)
	w.prime.Status.Phase = corev1.ClaimPending
}

func provisioned(w *world) {
	c := w.working()
	c.Spec.VolumeName, c.Status.Phase = "pv-1", corev1.ClaimBound
}

func claimBound(w *world) { w.claim.Spec.VolumeName, w.claim.Status.Phase = "pv-1", corev1.ClaimBound }

func consumerClass(w *world) {
	w.class.VolumeBindingMode = ptr.To(storagev1.VolumeBindingWaitForFirstConsumer)
}

func annotated(key, value string) change {
	return func(w *world) { w.claim.Annotations[key] = value }
}

func podded(w *world) {
	w.pod = podspec.Import(podspec.Input{Claim: w.claim, Working: w.working()})
	w.pod.UID, w.pod.CreationTimestamp = "pod", metav1.NewTime(noon)
	w.pod.Status.Phase = corev1.PodPending
}

func deleting(o *metav1.ObjectMeta, at time.Time) { o.DeletionTimestamp = ptr.To(metav1.NewTime(at)) }

func status(w *world) *corev1.ContainerStatus {
	if len(w.pod.Status.ContainerStatuses) == 0 {
		w.pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: podspec.Container}}
	}
	return &w.pod.Status.ContainerStatuses[0]
}

func running(w *world) {
	w.pod.Status.Phase, w.pod.Spec.NodeName = corev1.PodRunning, "node-1"
	status(w).State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
}

func ended(phase corev1.PodPhase, code int32, r *job.Result) change {
	return func(w *world) {
		w.pod.Status.Phase, w.pod.Spec.NodeName = phase, "node-1"
		status(w).State = corev1.ContainerState{Terminated: terminated(code, r)}
	}
}

func terminated(code int32, r *job.Result) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.NewTime(noon), Reason: "Error"}
	if code == 0 {
		t.Reason = "Completed"
	}
	if r != nil {
		t.Message = string(r.Encode())
	}
	return t
}

func backingOff(w *world) {
	w.pod.Status.Phase, w.pod.Spec.NodeName = corev1.PodRunning, "node-1"
	*status(w) = corev1.ContainerStatus{
		Name: podspec.Container, RestartCount: 3,
		State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 40s restarting failed container=importer pod=importer-disk_vms"}},
		LastTerminationState: corev1.ContainerState{Terminated: terminated(1, retry)},
	}
}

func recorded(w *world) {
	c := w.working()
	c.Annotations[annResult] = string(done.Encode())
}

func volumeOf(uid types.UID) change {
	return func(w *world) {
		w.volume = &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}}
		w.volume.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "vms", Name: "whose", UID: uid}
	}
}

func said(p cdi.Population) change {
	return func(w *world) {
		b, _ := json.Marshal(p)
		w.claim.Annotations[cdi.AnnPopulation] = string(b)
		w.said = saidOf(w.claim)
	}
}

var (
	done  = &job.Result{Outcome: job.Succeeded, Reason: job.Completed, Format: "qcow2", VirtualSize: 1 << 30, Digest: "sha256:00", Preallocated: true}
	retry = &job.Result{Outcome: job.Retry, Reason: "SourceUnavailable", Message: "no route to host", Hint: "check the network"}
	never = &job.Result{Outcome: job.Failed, Reason: "DigestMismatch", Message: "other bytes", Hint: "check the checksum"}
)

func TestDecide(t *testing.T) {
	for _, tt := range []struct {
		name    string
		flow    flow
		changes []change
		do      action
		state   cdi.State // "" with mute
		reason  string
		text    string // part of message or hint
	}{
		{"not ours", foreign, nil, rest, "", "", ""},
		{"done", viaPrime, []change{said(cdi.Population{State: cdi.StateDone})}, rest, "", "", ""},
		{"claim deleted", direct, []change{podded, func(w *world) { deleting(&w.claim.ObjectMeta, noon) }}, dropWorker, "", "", ""},
		{"claim deleted, pod on its way", direct, []change{podded, func(w *world) {
			deleting(&w.claim.ObjectMeta, noon)
			deleting(&w.pod.ObjectMeta, noon)
		}}, rest, "", "", ""},
		{"claim lost", direct, []change{func(w *world) { w.claim.Status.Phase = corev1.ClaimLost }}, rest, cdi.StateFailed, "ClaimLost", ""},

		{"source missing", viaPrime, []change{func(w *world) { w.source = nil }}, rest, cdi.StateWaiting, "SourceMissing", "VolumeImportSource image does not exist"},
		{"source of another kind", viaPrime, []change{func(w *world) {
			w.source.Source = &cdiv1.ImportSourceType{S3: &cdiv1.DataVolumeSourceS3{}}
		}}, rest, cdi.StateFailed, reasonUnsupported, "s3"},
		{"source in another namespace", viaPrime, []change{func(w *world) { w.claim.Spec.DataSourceRef.Namespace = ptr.To("other") }}, rest, cdi.StateFailed, reasonUnsupported, "namespace"},
		{"source invalid", viaPrime, []change{func(w *world) { w.source.Source.HTTP.URL = "ftp://x" }}, rest, cdi.StateFailed, reasonInvalid, "url"},
		{"CDIConfig unreadable", viaPrime, []change{func(w *world) {
			w.config = &cdiv1.CDIConfig{Status: cdiv1.CDIConfigStatus{FilesystemOverhead: &cdiv1.FilesystemOverhead{Global: "much"}}}
		}}, rest, cdi.StateWaiting, reasonConfig, "filesystemOverhead"},
		{"no class", viaPrime, []change{func(w *world) { w.class, w.claim.Spec.StorageClassName = nil, nil }}, rest, cdi.StateWaiting, "NoStorageClass", "no default"},
		{"class missing", viaPrime, []change{func(w *world) { w.class = nil }}, rest, cdi.StateWaiting, "NoStorageClass", "fast does not exist"},
		{"class without CSI", viaPrime, []change{func(w *world) { w.csi = false }}, rest, cdi.StateWaiting, "NoCSIDriver", "csi.example"},
		{"class without CSI, on request", viaPrime, []change{func(w *world) { w.csi = false }, annotated(cdi.AnnUsePopulator, "true")}, makePrime, cdi.StateWaiting, "Provisioning", ""},
		{"first", viaPrime, nil, makePrime, cdi.StateWaiting, "Provisioning", ""},
		{"no consumer", viaPrime, []change{consumerClass}, rest, cdi.StateConsumer, "WaitForFirstConsumer", "start the VM"},
		{"consumer", viaPrime, []change{consumerClass, annotated(cdi.AnnSelectedNode, "n1")}, makePrime, cdi.StateWaiting, "", ""},
		{"no need of a consumer", viaPrime, []change{consumerClass, annotated(cdi.AnnImmediateBinding, "")}, makePrime, cdi.StateWaiting, "", ""},

		{"PVC′ pending", viaPrime, []change{primed}, rest, cdi.StateWaiting, "Provisioning", "being made"},
		{"PVC′ pending, source gone", viaPrime, []change{primed, func(w *world) { w.source = nil }}, rest, cdi.StateWaiting, "SourceMissing", ""},
		{"PVC′ waits for its node", viaPrime, []change{consumerClass, annotated(cdi.AnnSelectedNode, "n1"), primed}, rest, cdi.StateWaiting, "Provisioning", ""},
		{"PVC′ cannot be made there", viaPrime, []change{consumerClass, annotated(cdi.AnnSelectedNode, "n1"), primed, func(w *world) {
			delete(w.prime.Annotations, cdi.AnnSelectedNode)
		}}, reschedule, cdi.StateWaiting, "", "asked for another"},
		{"another node", viaPrime, []change{consumerClass, annotated(cdi.AnnSelectedNode, "n1"), primed, annotated(cdi.AnnSelectedNode, "n2")}, moveNode, cdi.StateWaiting, "", ""},
		{"another node after none", viaPrime, []change{consumerClass, primed, annotated(cdi.AnnSelectedNode, "n2")}, moveNode, cdi.StateWaiting, "", ""},
		{"no node any more", viaPrime, []change{consumerClass, primed}, rest, cdi.StateConsumer, "", ""},
		{"PVC′ bound by its worker", viaPrime, []change{consumerClass, annotated(cdi.AnnImmediateBinding, "false"), primed}, startWorker, cdi.StateScheduled, "", ""},
		{"PVC′ bound", viaPrime, []change{primed, provisioned}, startWorker, cdi.StateScheduled, "", ""},
		{"PVC′ bound, a pod of another", viaPrime, []change{primed, provisioned, podded, func(w *world) { w.pod.OwnerReferences = nil }}, rest, cdi.StateWaiting, "PodNameTaken", ""},
		{"PVC′ lost", viaPrime, []change{primed, func(w *world) { w.prime.Status.Phase = corev1.ClaimLost }}, dropPrime, cdi.StateWaiting, "PrimeLost", ""},
		{"PVC′ lost, with a pod", viaPrime, []change{primed, podded, func(w *world) { w.prime.Status.Phase = corev1.ClaimLost }}, dropWorker, cdi.StateWaiting, "Restarting", ""},
		{"PVC′ deleted", viaPrime, []change{primed, provisioned, podded, running, func(w *world) { deleting(&w.prime.ObjectMeta, noon) }}, dropWorker, cdi.StateWaiting, "Restarting", ""},
		{"PVC′ going", viaPrime, []change{primed, provisioned, func(w *world) { deleting(&w.prime.ObjectMeta, noon) }}, rest, cdi.StateWaiting, "PrimeTerminating", ""},
		{"PVC′ gone", viaPrime, []change{primed, provisioned, podded, func(w *world) { w.prime = nil }}, dropWorker, cdi.StateWaiting, "Restarting", ""},
		{"PVC′ made again", viaPrime, []change{primed, provisioned, podded, ended(corev1.PodSucceeded, 0, done), func(w *world) { w.prime.UID = "other" }}, dropWorker, cdi.StateWaiting, "Restarting", "gone"},

		{"pod starting", viaPrime, []change{primed, provisioned, podded}, rest, cdi.StateScheduled, "Pending", ""},
		{"pod running", viaPrime, []change{primed, provisioned, podded, running}, rest, cdi.StateRunning, "Running", ""},
		{"pod failed, tries again", viaPrime, []change{primed, provisioned, podded, backingOff}, rest, cdi.StateBackoff, "SourceUnavailable", "no route to host"},
		{"pod evicted", viaPrime, []change{primed, provisioned, podded, ended(corev1.PodFailed, 137, nil), func(w *world) {
			w.pod.Status.Reason, w.pod.Status.Message = "Evicted", "the node was low on memory"
		}}, rest, cdi.StateBackoff, "Evicted", "low on memory"},
		{"pod evicted a while ago", viaPrime, []change{primed, provisioned, podded, ended(corev1.PodFailed, 137, nil), func(w *world) {
			w.now = noon.Add(minPause)
		}}, dropWorker, cdi.StateBackoff, "Error", ""},
		{"pod without a result", viaPrime, []change{primed, provisioned, podded, ended(corev1.PodSucceeded, 0, nil)}, rest, cdi.StateBackoff, "NoResult", "kubectl logs"},
		{"pod failed for good", viaPrime, []change{primed, provisioned, podded, ended(corev1.PodSucceeded, 0, never)}, giveUp, cdi.StateFailed, "DigestMismatch", "other bytes"},
		{"pod done", viaPrime, []change{primed, provisioned, podded, ended(corev1.PodSucceeded, 0, done)}, record, cdi.StateBackoff, "", ""},
		{"pod done and deleted", viaPrime, []change{primed, provisioned, podded, ended(corev1.PodSucceeded, 0, done), func(w *world) {
			deleting(&w.pod.ObjectMeta, noon)
		}}, record, cdi.StateBackoff, "", ""},
		{"pod deleted", viaPrime, []change{primed, provisioned, podded, running, func(w *world) { deleting(&w.pod.ObjectMeta, noon) }}, rest, cdi.StateScheduled, "Terminating", ""},
		{"node lost", viaPrime, []change{primed, provisioned, podded, running, func(w *world) {
			deleting(&w.pod.ObjectMeta, noon.Add(-time.Minute))
		}}, rest, cdi.StateScheduled, "NodeLost", "out-of-service"},

		{"recorded", viaPrime, []change{primed, provisioned, podded, recorded, volumeOf(primeUID)}, publish, cdi.StatePublishing, "Publishing", ""},
		{"recorded, pod gone", viaPrime, []change{primed, provisioned, recorded, volumeOf(primeUID)}, publish, cdi.StatePublishing, "Publishing", ""},
		{"recorded, volume not seen", viaPrime, []change{primed, provisioned, recorded}, rest, cdi.StatePublishing, "Publishing", ""},
		{"recorded, volume gone", viaPrime, []change{primed, provisioned, recorded, func(w *world) { w.prime.Status.Phase = corev1.ClaimLost }}, dropPrime, cdi.StateWaiting, "PrimeLost", ""},
		{"recorded, volume taken", viaPrime, []change{primed, provisioned, recorded, volumeOf("other")}, rest, cdi.StateFailed, "VolumeTaken", "vms/whose"},
		{"moved", viaPrime, []change{primed, provisioned, recorded, volumeOf(claimUID)}, rest, cdi.StatePublishing, "Publishing", ""},
		{"moved, and PVC′ deleted by somebody", viaPrime, []change{said(cdi.Population{State: cdi.StatePublishing}), volumeOf(claimUID)}, rest, cdi.StatePublishing, "", ""},
		{"moved, half bound", viaPrime, []change{primed, provisioned, recorded, func(w *world) { w.claim.Spec.VolumeName = "pv-1" }}, rest, cdi.StatePublishing, "", ""},
		{"bound", viaPrime, []change{primed, provisioned, recorded, claimBound, volumeOf(claimUID)}, finish, cdi.StatePublishing, "", ""},
		{"bound, PVC′ gone", viaPrime, []change{said(cdi.Population{State: cdi.StatePublishing}), claimBound}, finish, cdi.StatePublishing, "", ""},
		{"came with its volume", viaPrime, []change{claimBound}, rest, "", "", ""},
		{"bound elsewhere", viaPrime, []change{said(cdi.Population{State: cdi.StateRunning}), primed, provisioned, claimBound, func(w *world) {
			w.claim.Spec.VolumeName = "pv-2"
		}}, cleanUp, cdi.StateFailed, "BoundElsewhere", "pv-2"},

		{"given up", viaPrime, []change{annotated(cdi.AnnFatalError, "DigestMismatch: x"), said(cdi.Population{State: cdi.StateFailed, Reason: "DigestMismatch", Pod: "p"}), primed, podded}, cleanUp, cdi.StateFailed, "DigestMismatch", ""},
		{"given up, kept", viaPrime, []change{annotated(cdi.AnnFatalError, "DigestMismatch: x"), annotated(cdi.AnnPodRetain, "true"), said(cdi.Population{State: cdi.StateFailed, Reason: "DigestMismatch", Pod: "p"}), primed, podded}, rest, cdi.StateFailed, "DigestMismatch", ""},
		{"given up, only the Secret may be left", viaPrime, []change{annotated(cdi.AnnFatalError, "x"), said(cdi.Population{State: cdi.StateFailed, Pod: "p"})}, cleanUp, cdi.StateFailed, "", ""},
		{"given up, nothing left", viaPrime, []change{annotated(cdi.AnnFatalError, "x"), said(cdi.Population{State: cdi.StateFailed})}, rest, cdi.StateFailed, "", ""},

		{"direct, unbound", direct, nil, rest, cdi.StateWaiting, "ClaimPending", ""},
		{"direct, bound", direct, []change{provisioned}, startWorker, cdi.StateScheduled, "", ""},
		{"direct, no consumer", direct, []change{consumerClass}, rest, cdi.StateConsumer, "WaitForFirstConsumer", ""},
		{"direct, no need of a consumer", direct, []change{consumerClass, annotated(cdi.AnnImmediateBinding, "")}, startWorker, cdi.StateScheduled, "", ""},
		{"direct, gate off", direct, []change{consumerClass, func(w *world) { w.config = &cdiv1.CDIConfig{Spec: cdiv1.CDIConfigSpec{FeatureGates: []string{}}} }}, startWorker, cdi.StateScheduled, "", ""},
		{"direct, gate on", direct, []change{consumerClass, func(w *world) {
			w.config = &cdiv1.CDIConfig{Spec: cdiv1.CDIConfigSpec{FeatureGates: []string{"HonorWaitForFirstConsumer"}}}
		}}, rest, cdi.StateConsumer, "", ""},
		{"direct, without a class object", direct, []change{func(w *world) { w.class = nil }, provisioned}, startWorker, cdi.StateScheduled, "", ""},
		{"direct, unreadable", direct, []change{provisioned, func(w *world) { w.source, w.wrong = nil, &problem{reason: reasonInvalid, message: "bad"} }}, rest, cdi.StateFailed, reasonInvalid, "bad"},
		{"direct, pod done", direct, []change{provisioned, podded, ended(corev1.PodSucceeded, 0, done)}, record, cdi.StateBackoff, "", ""},
		{"direct, recorded", direct, []change{provisioned, recorded}, finish, cdi.StatePublishing, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(tt.flow)
			for _, c := range tt.changes {
				c(w)
			}
			s := decide(w)
			if s.do != tt.do || s.status.State != tt.state && !s.mute || tt.reason != "" && s.status.Reason != tt.reason {
				t.Fatalf("got %q in state %s %s (%s)", s.do, s.status.State, s.status.Reason, s.status.Message)
			}
			if s.mute != (tt.state == "") {
				t.Errorf("mute is %v", s.mute)
			}
			if !s.mute && s.status.Message == "" && w.said.State == "" {
				t.Error("no message")
			}
			if !strings.Contains(s.status.Message+s.status.Hint, tt.text) {
				t.Errorf("%q, hint %q: want %q in it", s.status.Message, s.status.Hint, tt.text)
			}
		})
	}
}

// What is looked at again later must be: nothing is watched that would wake the controller.
func TestDecideLooksAgain(t *testing.T) {
	for name, changes := range map[string][]change{
		"running":     {primed, provisioned, podded, running},
		"starting":    {primed, provisioned, podded},
		"class":       {func(w *world) { w.class = nil }},
		"unsupported": {func(w *world) { w.source.Source = &cdiv1.ImportSourceType{} }},
		"evicted":     {primed, provisioned, podded, ended(corev1.PodFailed, 1, nil)},
		"PVC′":        {primed},
	} {
		w := newWorld(viaPrime)
		for _, c := range changes {
			c(w)
		}
		if s := decide(w); s.do != rest || s.again == 0 {
			t.Errorf("%s: %q, again after %v", name, s.do, s.again)
		}
	}
}

func TestNextTry(t *testing.T) {
	w := newWorld(viaPrime)
	for _, c := range []change{primed, provisioned, podded, backingOff} {
		c(w)
	}
	s := decide(w)
	if want := noon.Add(40 * time.Second); s.status.NextTry == nil || !s.status.NextTry.Equal(want) {
		t.Errorf("next try %v, want %v", s.status.NextTry, want)
	}
	var pauses []time.Duration
	for n := range int32(8) {
		pauses = append(pauses, pause(n))
	}
	want := []time.Duration{10e9, 20e9, 40e9, 80e9, 160e9, 300e9, 300e9, 300e9}
	if diff := cmp.Diff(want, pauses); diff != "" {
		t.Error(diff)
	}
}

func TestPrimeOf(t *testing.T) {
	w := newWorld(viaPrime)
	w.claim.Labels = map[string]string{"of": "the user"}
	w.claim.Annotations[cdi.AnnSelectedNode] = "n1"
	w.claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	p := primeOf(w.claim)
	want := *w.claim.Spec.DeepCopy()
	want.DataSourceRef = nil
	if diff := cmp.Diff(want, p.Spec); diff != "" {
		t.Errorf("spec: %s", diff)
	}
	if p.Name != "prime-"+claimUID || !metav1.IsControlledBy(p, w.claim) || p.Labels[cdi.LabelExcludeBackup] != "true" || p.Annotations[cdi.AnnSelectedNode] != "n1" {
		t.Errorf("got %+v", p.ObjectMeta)
	}
	if flowOf(p) != foreign {
		t.Error("PVC′ would be filled through another")
	}
}
