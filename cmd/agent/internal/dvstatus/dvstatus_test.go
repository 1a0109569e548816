package dvstatus

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	start = metav1.NewTime(time.Date(2026, 11, 21, 14, 0, 0, 0, time.UTC))
	later = metav1.NewTime(start.Add(time.Minute))
)

func dataVolume(status cdiv1.DataVolumeStatus) *cdiv1.DataVolume {
	return &cdiv1.DataVolume{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "disk", UID: "0001"},
		Status:     status,
	}
}

// claimIn returns the DataVolume's claim with a population and further annotations.
func claimIn(phase corev1.PersistentVolumeClaimPhase, p *cdi.Population, annotations ...string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       "ns",
			Name:            "disk",
			Annotations:     map[string]string{},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(dataVolume(cdiv1.DataVolumeStatus{}), cdiv1.SchemeGroupVersion.WithKind("DataVolume"))},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: phase},
	}
	if p != nil {
		text, err := json.Marshal(p)
		if err != nil {
			panic(err)
		}
		c.Annotations[cdi.AnnPopulation] = string(text)
	}
	for i := 0; i+1 < len(annotations); i += 2 {
		c.Annotations[annotations[i]] = annotations[i+1]
	}
	return c
}

const gib = 1 << 30

type testCase struct {
	facts Facts
	old   cdiv1.DataVolumeStatus
}

func cases() map[string]testCase {
	soon := later.Add(8 * time.Second)
	running := &cdi.Population{
		State: cdi.StateRunning, Message: "the worker is running", Pod: "importer-prime-1", Percent: 20.256,
		Done: gib + gib/5, Total: 6 * gib, Rate: 210 << 20, Remaining: 23.4,
	}
	failed := func(state cdi.State, reason, message, hint string) *cdi.Population {
		p := &cdi.Population{State: state, Reason: reason, Message: message, Hint: hint, Percent: 12.5}
		if state == cdi.StateBackoff {
			p.NextTry = &soon
		}
		return p
	}
	deleting := claimIn(corev1.ClaimBound, nil)
	deleting.DeletionTimestamp = &start
	lost := claimIn(corev1.ClaimLost, nil)
	lost.Spec.VolumeName = "pv-7"
	foreign := claimIn(corev1.ClaimBound, nil)
	foreign.OwnerReferences = nil
	inTheWay := &Stuck{Reason: "ErrResourceExists", Message: "Resource \"disk\" already exists and is not managed by DataVolume", Hint: "delete the PVC"}
	succeeded := cdiv1.DataVolumeStatus{Phase: cdiv1.Succeeded, Progress: "100.0%", ClaimName: "disk"}
	done := &cdi.Population{State: cdi.StateDone, Percent: 100, Message: "done", Format: "qcow2", VirtualSize: 6 * gib, Digest: "sha256:00ff"}

	return map[string]testCase{
		"quota": {facts: Facts{Stuck: &Stuck{Reason: "ErrExceededQuota", Message: "exceeded quota: q, requested: requests.storage=6Gi", Hint: "ask for less"}}},
		"source-not-supported": {facts: Facts{Stuck: &Stuck{Reason: "SourceNotSupported", Message: "source s3 is not supported by this version of the agent",
			Hint: "use source http"}}},
		"made":                  {facts: Facts{Claim: claimIn("", nil)}},
		"pending":               {facts: Facts{Claim: claimIn(corev1.ClaimPending, nil)}},
		"consumer-populated":    {facts: Facts{Claim: claimIn(corev1.ClaimPending, nil), LateBinding: true}},
		"consumer-plain":        {facts: Facts{Claim: claimIn(corev1.ClaimPending, nil), LateBinding: true, Flow: Plain}},
		"consumer-given":        {facts: Facts{Claim: claimIn(corev1.ClaimPending, nil), LateBinding: true, Flow: Given}},
		"consumer-scheduled":    {facts: Facts{Claim: claimIn(corev1.ClaimPending, nil, cdi.AnnSelectedNode, "n"), LateBinding: true}},
		"consumer-not-wanted":   {facts: Facts{Claim: claimIn(corev1.ClaimPending, nil, cdi.AnnImmediateBinding, "no"), LateBinding: true}},
		"consumer-and-secret":   {facts: Facts{Claim: claimIn(corev1.ClaimPending, failed(cdi.StateWaiting, "SecretNotFound", "Secret ns/login does not exist", "create it")), LateBinding: true}},
		"waiting-secret":        {facts: Facts{Claim: claimIn(corev1.ClaimPending, failed(cdi.StateWaiting, "SecretNotFound", "Secret ns/login does not exist", "create it"))}},
		"plain-bound":           {facts: Facts{Claim: claimIn(corev1.ClaimBound, nil), Flow: Plain}},
		"scheduled":             {facts: Facts{Claim: claimIn(corev1.ClaimPending, &cdi.Population{State: cdi.StateScheduled, Reason: "ContainerCreating", Message: "the worker is being started", Percent: -1})}},
		"unschedulable":         {facts: Facts{Claim: claimIn(corev1.ClaimPending, &cdi.Population{State: cdi.StateScheduled, Message: "0/1 nodes are available", Percent: -1}, cdi.AnnPodSchedulable, "false")}},
		"running":               {facts: Facts{Claim: claimIn(corev1.ClaimPending, running, cdi.AnnPodRestarts, "2")}, old: cdiv1.DataVolumeStatus{RestartCount: 1}},
		"running-late":          {facts: Facts{Claim: claimIn(corev1.ClaimPending, running), LateBinding: true}},
		"running-unknown-size":  {facts: Facts{Claim: claimIn(corev1.ClaimBound, &cdi.Population{State: cdi.StateRunning, Message: "the worker is running", Percent: -1, Remaining: -1}), Flow: Plain}},
		"backoff":               {facts: Facts{Claim: claimIn(corev1.ClaimPending, failed(cdi.StateBackoff, "SourceNotFound", "http://h/x: 404 Not Found.", "check the URL"))}, old: cdiv1.DataVolumeStatus{RestartCount: 3}},
		"backoff-image-pull":    {facts: Facts{Claim: claimIn(corev1.ClaimPending, failed(cdi.StateBackoff, "ErrImagePull", "no such image", ""))}},
		"failed-checksum":       {facts: Facts{Claim: claimIn(corev1.ClaimPending, failed(cdi.StateFailed, "DigestMismatch", "sha256 is 00, want 11", "correct spec.source.http.checksum"), cdi.AnnFatalError, "x")}},
		"failed-too-small":      {facts: Facts{Claim: claimIn(corev1.ClaimPending, failed(cdi.StateFailed, "TargetTooSmall", "the image has 7.0 GiB, the volume 6.0 GiB", ""), cdi.AnnFatalError, "x")}},
		"failed-for-now":        {facts: Facts{Claim: claimIn(corev1.ClaimPending, failed(cdi.StateFailed, "NoCSIDriver", "class x has no CSI driver", "choose another"))}},
		"image-pull":            {facts: Facts{Claim: claimIn(corev1.ClaimPending, &cdi.Population{State: cdi.StateScheduled, Reason: "ImagePullBackOff", Message: "the worker's container cannot start", Percent: -1})}},
		"stalled":               {facts: Facts{Claim: claimIn(corev1.ClaimPending, &cdi.Population{State: cdi.StateRunning, Message: "1.0 GiB of 6.0 GiB; repeated 3 times, last: 503", Done: gib, Total: 6 * gib, Percent: 16})}},
		"publishing":            {facts: Facts{Claim: claimIn(corev1.ClaimPending, failed(cdi.StatePublishing, "", "the volume moves", ""))}},
		"done-unbound":          {facts: Facts{Claim: claimIn(corev1.ClaimPending, done)}},
		"done":                  {facts: Facts{Claim: claimIn(corev1.ClaimBound, done)}},
		"done-plain":            {facts: Facts{Claim: claimIn(corev1.ClaimBound, done), Flow: Plain}},
		"given":                 {facts: Facts{Claim: claimIn(corev1.ClaimBound, nil), Flow: Given}},
		"given-unbound":         {facts: Facts{Claim: claimIn(corev1.ClaimPending, nil), Flow: Given}},
		"external-pending":      {facts: Facts{Claim: claimIn(corev1.ClaimPending, nil), Flow: External}},
		"external-done":         {facts: Facts{Claim: claimIn(corev1.ClaimBound, nil), Flow: External}},
		"lost":                  {facts: Facts{Claim: lost}, old: succeeded},
		"deleting-unfinished":   {facts: Facts{Claim: deleting, Stuck: &Stuck{Reason: "ErrResourceMarkedForDeletion", Message: "Resource \"disk\" is marked for deletion"}}},
		"deleting-finished":     {facts: Facts{Claim: deleting, Stuck: &Stuck{Reason: "ErrResourceMarkedForDeletion", Message: "Resource \"disk\" is marked for deletion"}}, old: succeeded},
		"deleted-finished":      {facts: Facts{}, old: succeeded},
		"foreign":               {facts: Facts{Claim: foreign, Stuck: inTheWay}},
		"foreign-finished":      {facts: Facts{Claim: foreign, Stuck: inTheWay}, old: succeeded},
		"finished-stays":        {facts: Facts{Claim: claimIn(corev1.ClaimBound, nil)}, old: succeeded},
		"prime-unbound":         {facts: Facts{Claim: claimIn(corev1.ClaimPending, nil, cdi.AnnBound, "false", cdi.AnnBoundReason, "Pending", cdi.AnnBoundMessage, "[prime-1] : waiting for a volume to be created")}},
		"annotations-scheduled": {facts: Facts{Claim: claimIn(corev1.ClaimBound, nil, cdi.AnnPodPhase, "Pending"), Flow: Plain}},
		"annotations-running":   {facts: Facts{Claim: claimIn(corev1.ClaimPending, nil, cdi.AnnPodPhase, "Running", cdi.AnnRunning, "true", cdi.AnnRunningReason, "Pod is running", cdi.AnnPopulatorProgress, "45.50%")}},
		"annotations-failing":   {facts: Facts{Claim: claimIn(corev1.ClaimBound, nil, cdi.AnnPodPhase, "Running", cdi.AnnRunning, "false", cdi.AnnRunningReason, "Error", cdi.AnnRunningMessage, "write: no space left on device", cdi.AnnPodRestarts, "4"), Flow: Plain}},
		"annotations-done":      {facts: Facts{Claim: claimIn(corev1.ClaimBound, nil, cdi.AnnPodPhase, "Succeeded"), Flow: Plain}},
		"unreadable":            {facts: Facts{Claim: claimIn(corev1.ClaimPending, nil, cdi.AnnPopulation, "{")}},
	}
}

// TestCompute holds every state to its golden text, and all of them to what clients may rely on.
func TestCompute(t *testing.T) {
	for name, tt := range cases() {
		t.Run(name, func(t *testing.T) {
			f := tt.facts
			f.DV, f.Now = dataVolume(tt.old), start
			got := Compute(f)
			for _, ct := range []cdiv1.DataVolumeConditionType{cdiv1.DataVolumeReady, cdiv1.DataVolumeBound, cdiv1.DataVolumeRunning} {
				c := Condition(&got, ct)
				if c == nil || c.Status == "" || c.Reason == "" || c.Message == "" {
					t.Errorf("condition %s says nothing: %+v", ct, c)
				}
			}
			if got.Progress == "" || got.Phase == "" || got.RestartCount < tt.old.RestartCount {
				t.Errorf("status is not complete, or restarts went back: %+v", got)
			}
			if again := f; true {
				again.DV, again.Now = dataVolume(got), later
				if d := cmp.Diff(got, Compute(again)); d != "" {
					t.Errorf("the same facts a minute later change the status (-first +then):\n%s", d)
				}
				if e := Events(again, &got, &got); len(e) != 0 {
					t.Errorf("no change, and yet events %v", e)
				}
			}
			golden(t, name, describe(got, Events(f, &tt.old, &got)))
		})
	}
}

func describe(s cdiv1.DataVolumeStatus, events []Event) string {
	var b strings.Builder
	line := func(parts ...string) { b.WriteString(strings.Join(parts, " ") + "\n") }
	line("phase", string(s.Phase), "progress", string(s.Progress), "claim", s.ClaimName)
	for _, c := range s.Conditions {
		line(string(c.Type), string(c.Status), "["+c.Reason+"]", c.Message)
	}
	for _, e := range events {
		line("event", e.Type, "["+e.Reason+"]", e.Message)
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", path, d)
	}
}

func TestTimesOfConditions(t *testing.T) {
	was := []cdiv1.DataVolumeCondition{
		{Type: cdiv1.DataVolumeReady, Status: corev1.ConditionFalse, Reason: "A", Message: "a", LastTransitionTime: start, LastHeartbeatTime: start},
		{Type: "Custom", Status: corev1.ConditionTrue, LastTransitionTime: start, LastHeartbeatTime: start},
	}
	for _, tt := range []struct {
		name                  string
		status                corev1.ConditionStatus
		reason, message       string
		transition, heartbeat metav1.Time
	}{
		{"nothing new", corev1.ConditionFalse, "A", "a", start, start},
		{"new message", corev1.ConditionFalse, "A", "b", start, later},
		{"new reason", corev1.ConditionFalse, "B", "a", start, later},
		{"new status", corev1.ConditionTrue, "A", "a", later, later},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := merge(was, []cdiv1.DataVolumeCondition{condition(cdiv1.DataVolumeReady, tt.status, tt.reason, tt.message)}, later)
			if len(got) != 2 || got[1].Type != "Custom" {
				t.Fatalf("conditions %+v; the foreign one is to be kept", got)
			}
			if got[0].LastTransitionTime != tt.transition || got[0].LastHeartbeatTime != tt.heartbeat {
				t.Errorf("times %v and %v, want %v and %v", got[0].LastTransitionTime, got[0].LastHeartbeatTime, tt.transition, tt.heartbeat)
			}
		})
	}
}

// TestEventsOfAnImport follows one DataVolume and sees each thing told once.
func TestEventsOfAnImport(t *testing.T) {
	all := cases()
	status := cdiv1.DataVolumeStatus{}
	var got []string
	for _, name := range []string{"pending", "waiting-secret", "scheduled", "scheduled", "running", "running", "backoff", "backoff", "running", "publishing", "done", "done"} {
		f := all[name].facts
		f.DV, f.Now = dataVolume(status), start
		next := Compute(f)
		for _, e := range Events(f, &status, &next) {
			got = append(got, e.Type+" "+e.Reason)
		}
		status = next
	}
	want := []string{"Normal Pending", "Normal ImportScheduled", "Normal ImportInProgress", "Warning Error", "Normal Bound", "Normal ImportSucceeded"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

func TestWords(t *testing.T) {
	for n, want := range map[float64]string{-1: "0 B", 0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1.2 * gib: "1.2 GiB", 1 << 62: "4.0 EiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%v) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[float64]string{0: "1 s", 23.4: "23 s", 99: "99 s", 100: "2 min", 5999: "100 min", 6000: "2 h", 1e6: "12 days"} {
		if got := span(n); got != want {
			t.Errorf("span(%v) = %q, want %q", n, got, want)
		}
	}
}
