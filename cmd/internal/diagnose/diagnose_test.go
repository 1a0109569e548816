package diagnose

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

var update = flag.Bool("update", false, "write the golden files anew")

// now is the moment of every report here; the DataVolume was made five minutes before.
var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

const (
	uid    = "11111111-2222-3333-4444-555555555555"
	prime  = "prime-" + uid
	worker = "importer-" + prime
	image  = "https://images.example/server.qcow2"
)

// healthy is an import under way: every other case is this one with something wrong.
func healthy() *Objects {
	class := &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: "fast", Annotations: map[string]string{cdi.AnnDefaultClass: "true"}},
		Provisioner: "csi.example.com", VolumeBindingMode: new(storagev1.VolumeBindingImmediate),
	}
	o := &Objects{
		Now: now, Namespace: "vms", Name: "server",
		DataVolume: &cdiv1.DataVolume{
			ObjectMeta: metav1.ObjectMeta{Namespace: "vms", Name: "server", UID: "dv", CreationTimestamp: ago(5 * time.Minute)},
			Spec: cdiv1.DataVolumeSpec{
				Source: &cdiv1.DataVolumeSource{HTTP: &cdiv1.DataVolumeSourceHTTP{URL: image}},
				Storage: &cdiv1.StorageSpec{Resources: corev1.VolumeResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}}},
			},
			Status: cdiv1.DataVolumeStatus{ClaimName: "server", Phase: cdiv1.ImportInProgress, Progress: "33.10%", Conditions: []cdiv1.DataVolumeCondition{
				condition(cdiv1.DataVolumeBound, corev1.ConditionFalse, "Pending", "target PVC server Pending and "+prime+" Bound", 5*time.Minute),
				condition(cdiv1.DataVolumeReady, corev1.ConditionFalse, "TransferRunning", "", 5*time.Minute),
				condition(cdiv1.DataVolumeRunning, corev1.ConditionTrue, "", "Pod is running", 4*time.Minute),
			}},
		},
		Claim:  claim("server", uid, corev1.ClaimPending, ""),
		Prime:  claim(prime, "prime", corev1.ClaimBound, "pv-1"),
		Volume: &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1", CreationTimestamp: ago(5 * time.Minute)}, Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Name: prime}}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound}},
		Worker: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "vms", Name: worker, CreationTimestamp: ago(290 * time.Second)},
			Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "importer", Image: "registry.example/cdictl/agent:v1",
				Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("200Mi")}}}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
				Name: "importer", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: ago(280 * time.Second)}}}}},
		},
		Class: class, Classes: []storagev1.StorageClass{*class},
		Profile: &cdiv1.StorageProfile{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Status: cdiv1.StorageProfileStatus{ClaimPropertySets: []cdiv1.ClaimPropertySet{
			{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeMode: new(corev1.PersistentVolumeFilesystem)}}}},
		Driver:   &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "csi.example.com"}},
		CSINodes: []storagev1.CSINode{{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: "csi.example.com"}}}}},
		Nodes:    []corev1.Node{node("node-1", true)},
		Agent: Agent{Known: true,
			Deployments: []appsv1.Deployment{{ObjectMeta: metav1.ObjectMeta{Namespace: "cdi", Name: "cdi-agent"},
				Spec: appsv1.DeploymentSpec{Replicas: new(int32(2))}, Status: appsv1.DeploymentStatus{ReadyReplicas: 2}}},
			Lease: &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "cdi", Name: "cdi-agent-leader"},
				Spec: coordinationv1.LeaseSpec{HolderIdentity: new("cdi-agent-6d4-abc_77"), RenewTime: new(metav1.NewMicroTime(now.Add(-2 * time.Second)))}},
		},
	}
	population(o, cdi.Population{State: cdi.StateRunning, Message: "the worker runs", Pod: worker, Done: 3554 << 20, Total: 10 << 30, Fetched: 700 << 20,
		Rate: 140 << 20, Remaining: 47, Percent: 34.7})
	return o
}

func condition(t cdiv1.DataVolumeConditionType, s corev1.ConditionStatus, reason, message string, since time.Duration) cdiv1.DataVolumeCondition {
	return cdiv1.DataVolumeCondition{Type: t, Status: s, Reason: reason, Message: message, LastTransitionTime: ago(since)}
}

func set(o *Objects, c cdiv1.DataVolumeCondition) {
	for i := range o.DataVolume.Status.Conditions {
		if o.DataVolume.Status.Conditions[i].Type == c.Type {
			o.DataVolume.Status.Conditions[i] = c
			return
		}
	}
	o.DataVolume.Status.Conditions = append(o.DataVolume.Status.Conditions, c)
}

func claim(name, uid string, phase corev1.PersistentVolumeClaimPhase, volume string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "vms", Name: name, CreationTimestamp: ago(5 * time.Minute), Annotations: map[string]string{}},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: new("fast"), VolumeMode: new(corev1.PersistentVolumeFilesystem), VolumeName: volume,
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10858Mi")}}},
		Status: corev1.PersistentVolumeClaimStatus{Phase: phase},
	}
	c.UID = "11111111-2222-3333-4444-555555555555"
	if uid == "prime" {
		c.UID = "prime"
	}
	return c
}

func node(name string, ready bool) corev1.Node {
	c := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastTransitionTime: ago(24 * time.Hour)}
	if !ready {
		c = corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown", Message: "Kubelet stopped posting node status.", LastTransitionTime: ago(2 * time.Minute)}
	}
	return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{c}}}
}

func population(o *Objects, p cdi.Population) {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	o.Claim.Annotations[cdi.AnnPopulation] = string(b)
}

func event(o *Objects, kind, name, typ, reason, message string, count int32, first, last time.Duration) {
	o.Events = append(o.Events, corev1.Event{InvolvedObject: corev1.ObjectReference{Kind: kind, Name: name}, Type: typ, Reason: reason, Message: message,
		Count: count, FirstTimestamp: ago(first), LastTimestamp: ago(last)})
}

// ended makes the worker's last try one that ended with r, and that is tried again unless it failed for good.
func ended(o *Objects, r job.Result, restarts int32) {
	r.Version = job.Version
	message, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	t := &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: string(message), FinishedAt: ago(90 * time.Second)}
	c := &o.Worker.Status.ContainerStatuses[0]
	c.RestartCount = restarts
	if r.Outcome == job.Retry {
		c.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 40s restarting failed container"}}
		c.LastTerminationState.Terminated = t
		o.DataVolume.Status.Phase, o.DataVolume.Status.Progress, o.DataVolume.Status.RestartCount = cdiv1.ImportScheduled, "N/A", restarts
		next := now.Add(30 * time.Second)
		population(o, cdi.Population{State: cdi.StateBackoff, Reason: r.Reason, Message: r.Message, Hint: r.Hint, NextTry: &next, Pod: worker, Percent: -1})
	} else {
		t.ExitCode, t.Reason = 0, "Completed"
		c.State = corev1.ContainerState{Terminated: t}
		o.Worker.Status.Phase = corev1.PodSucceeded
		o.DataVolume.Status.Phase, o.DataVolume.Status.Progress = cdiv1.Failed, "N/A"
		population(o, cdi.Population{State: cdi.StateFailed, Reason: r.Reason, Message: r.Message, Hint: r.Hint, Percent: -1})
	}
	set(o, condition(cdiv1.DataVolumeRunning, corev1.ConditionFalse, r.Reason, r.Message, 90*time.Second))
}

// waitingFor takes the worker away: the import has not come so far.
func unstarted(o *Objects) {
	o.Worker = nil
	o.DataVolume.Status.Phase, o.DataVolume.Status.Progress = cdiv1.ImportScheduled, "N/A"
	set(o, condition(cdiv1.DataVolumeRunning, corev1.ConditionFalse, "Pending", "", 5*time.Minute))
	population(o, cdi.Population{State: cdi.StateScheduled, Message: "the worker is made", Percent: -1})
}

func starting(o *Objects, reason, message string) {
	o.Worker.Status.Phase = corev1.PodPending
	o.Worker.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	o.DataVolume.Status.Phase, o.DataVolume.Status.Progress = cdiv1.ImportScheduled, "N/A"
	set(o, condition(cdiv1.DataVolumeRunning, corev1.ConditionFalse, "Pending", "", 5*time.Minute))
	population(o, cdi.Population{State: cdi.StateScheduled, Message: "the worker is made", Pod: worker, Percent: -1})
}

// bare is a DataVolume that has no claim yet.
func bare(o *Objects) {
	o.Claim, o.Prime, o.Volume, o.Worker = nil, nil, nil, nil
	o.DataVolume.Status = cdiv1.DataVolumeStatus{Phase: cdiv1.Pending, Progress: "N/A"}
	set(o, condition(cdiv1.DataVolumeBound, corev1.ConditionFalse, "NotFound", "No PVC found", 5*time.Minute))
}

func TestGolden(t *testing.T) {
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			o := healthy()
			tt.make(o)
			r := Explain(o)
			if r.ID != tt.id || r.Verdict != tt.verdict {
				t.Errorf("found %s (%s), want %s (%s)", r.ID, r.Verdict, tt.id, tt.verdict)
			}
			if r.Verdict.Bad() && (r.Cause == "" || len(r.Next) == 0) {
				t.Errorf("%s is bad, and lacks a cause or a next step: %q, %q", r.ID, r.Cause, r.Next)
			}
			golden(t, tt.name+".golden", r.Wrapped(100).String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", path, diff)
	}
}

// Every golden file has its case.
func TestNoOrphans(t *testing.T) {
	names := map[string]bool{"report.json.golden": true}
	for _, tt := range cases {
		names[tt.name+".golden"] = true
	}
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !names[f.Name()] {
			t.Errorf("testdata/%s belongs to no case", f.Name())
		}
	}
}

func TestJSON(t *testing.T) {
	o := healthy()
	cases[2].make(o)
	b, err := json.MarshalIndent(Explain(o), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json.golden", string(b)+"\n")
}

// Whatever is there and whatever is not, there is an answer; and nothing secret is in it.
func TestAnySubset(t *testing.T) {
	takes := []func(*Objects){
		func(o *Objects) { o.Claim = nil }, func(o *Objects) { o.Prime = nil }, func(o *Objects) { o.Worker = nil },
		func(o *Objects) { o.Class, o.Classes = nil, nil }, func(o *Objects) { o.Profile = nil }, func(o *Objects) { o.Driver = nil },
		func(o *Objects) { o.Nodes = nil }, func(o *Objects) { o.Agent = Agent{} }, func(o *Objects) { o.DataVolume.Status = cdiv1.DataVolumeStatus{} },
		func(o *Objects) {
			if o.Worker != nil {
				o.Worker.Status, o.Worker.Spec.Containers = corev1.PodStatus{}, nil
			}
		},
		func(o *Objects) {
			if o.Claim != nil {
				o.Claim.Annotations[cdi.AnnPopulation] = "{"
			}
		},
		func(o *Objects) { o.DataVolume.Spec.Source.HTTP.URL = "https://user:hunter2@h/x?sig=hunter2" },
	}
	for mask := range 1 << len(takes) {
		o := healthy()
		for i, take := range takes {
			if mask>>i&1 == 1 {
				take(o)
			}
		}
		r := Explain(o)
		if text := r.String(); r.ID == "" || r.Verdict == "" || r.Summary == "" || strings.Contains(text, "hunter2") {
			t.Fatalf("subset %b: %+v", mask, r)
		}
	}
}

func TestSummarize(t *testing.T) {
	for _, tt := range []struct {
		name                     string
		make                     func(*Objects)
		progress, rate, eta, why string
	}{
		{"running", func(*Objects) {}, "34.70%", "140 MiB/s", "47s", ""},
		{"claim not seen", func(o *Objects) { o.Claim = nil }, "33.10%", "", "", ""},
		{"not found", func(o *Objects) {
			ended(o, job.Result{Outcome: job.Retry, Reason: "SourceNotFound", Message: "404"}, 2)
		}, "", "", "", "SourceNotFound"},
		{"not found, claim not seen", func(o *Objects) {
			ended(o, job.Result{Outcome: job.Retry, Reason: "SourceNotFound", Message: "404"}, 2)
			o.Claim = nil
		}, "", "", "", "SourceNotFound"},
		{"first consumer", func(o *Objects) {
			o.DataVolume.Status = cdiv1.DataVolumeStatus{Phase: cdiv1.PendingPopulation, Progress: "N/A"}
			o.Claim = nil
		}, "", "", "", "WaitForFirstConsumer"},
		{"done", func(o *Objects) { o.DataVolume.Status.Phase, o.DataVolume.Status.Progress = cdiv1.Succeeded, "100.0%" }, "100.0%", "", "", ""},
	} {
		o := healthy()
		tt.make(o)
		s := Summarize(o.DataVolume, o.Claim)
		if s.Progress != tt.progress || s.Rate != tt.rate || s.ETA != tt.eta || s.Reason != tt.why {
			t.Errorf("%s: got %+v", tt.name, s)
		}
	}
}
