package population

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/podspec"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

const (
	immediately = storagev1.VolumeBindingImmediate
	lazily      = storagev1.VolumeBindingWaitForFirstConsumer
)

// filled checks the end of a claim that all went well with.
func (s *stage) filled(c *corev1.PersistentVolumeClaim) {
	s.Helper()
	now := s.untilState(c, cdi.StateDone)
	p := saidOf(now)
	want := cdi.Population{
		State: cdi.StateDone, Reason: "Completed", Message: "the claim is filled", Done: 1 << 30, Total: 1 << 30, Percent: 100,
		Format: done.Format, VirtualSize: done.VirtualSize, Digest: done.Digest,
	}
	if diff := cmp.Diff(want, p); diff != "" {
		s.Errorf("population: %s", diff)
	}
	for key, want := range map[string]string{
		cdi.AnnPodPhase: "Succeeded", cdi.AnnPodReady: "false", cdi.AnnRunning: "false", cdi.AnnRunningReason: "Completed",
		cdi.AnnRunningMessage: "Import Complete", cdi.AnnPopulatorProgress: "100.0%",
	} {
		if got := now.Annotations[key]; got != want {
			s.Errorf("annotation %s is %q, want %q", key, got, want)
		}
	}
	if !bound(now) {
		s.Fatalf("the claim is %s, volume %q", now.Status.Phase, now.Spec.VolumeName)
	}
	var pv corev1.PersistentVolume
	s.must(s.c.Get(s.Context(), types.NamespacedName{Name: now.Spec.VolumeName}, &pv))
	if pv.Spec.ClaimRef.UID != now.UID || pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
		s.Errorf("volume: claim %s, policy %s", pv.Spec.ClaimRef.UID, pv.Spec.PersistentVolumeReclaimPolicy)
	}
	s.clean()
}

func (s *stage) event(reason, text string) {
	s.Helper()
	if !slices.ContainsFunc(s.rec.events, func(e string) bool {
		return strings.Contains(e, " "+reason+" ") && strings.Contains(e, text)
	}) {
		s.Errorf("no event %s with %q in\n%s", reason, text, strings.Join(s.rec.events, "\n"))
	}
}

func TestFills(t *testing.T) {
	for _, tt := range []struct {
		name        string
		flow        flow
		mode        storagev1.VolumeBindingMode
		annotations map[string]string
	}{
		{"through PVC′", viaPrime, immediately, nil},
		{"through PVC′, without waiting", viaPrime, lazily, map[string]string{cdi.AnnImmediateBinding: ""}},
		{"directly", direct, immediately, nil},
		{"directly, without waiting", direct, lazily, map[string]string{cdi.AnnImmediateBinding: "true"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			class := s.class(tt.mode, driver)
			if tt.flow == viaPrime {
				s.source()
			}
			c := s.claim(tt.flow, class, tt.annotations)
			s.filled(c)
			if len(s.pods) != 1 || s.containers != 1 {
				t.Errorf("%d pods, %d containers", len(s.pods), s.containers)
			}
			s.event(eventSucceeded, "filled")
			if tt.flow == viaPrime {
				s.event(eventPrime, "prime-"+string(c.UID))
			}
			for _, e := range s.rec.events {
				if strings.HasPrefix(e, "Warning") {
					t.Error(e)
				}
			}
			// Nothing more is done for it.
			m := &mortal{Client: s.env.Client, left: 100}
			s.restart(m)
			s.must(s.reconcile(c))
			if m.sent != 0 {
				t.Errorf("%d writes after the end", m.sent)
			}
		})
	}
}

// A filled claim's job: what the worker gets.
func TestJob(t *testing.T) {
	s := newStage(t)
	c := s.claim(direct, s.class(immediately, driver), map[string]string{
		cdi.AnnSecret: "login", cdi.AnnCertConfigMap: "cas", cdi.AnnChecksum: "sha256:" + strings.Repeat("0", 64),
		cdi.AnnExtraHeaders + "1": "B: 2", cdi.AnnExtraHeaders + "0": "A: 1", cdi.AnnSecretExtraHeaders + "0": "token",
		cdi.AnnInsecureSkipVerify: "true", cdi.AnnPreallocRequest: "true",
	})
	s.hold = true
	now := s.untilState(c, cdi.StateRunning)
	if now.Annotations[cdi.AnnRunning] != "true" || now.Annotations[cdi.AnnPodPhase] != "Running" || now.Annotations[cdi.AnnPodReady] != "true" {
		t.Errorf("annotations %v", now.Annotations)
	}
	var secret corev1.Secret
	s.must(s.c.Get(t.Context(), types.NamespacedName{Namespace: s.ns, Name: podspec.JobName(c.UID)}, &secret))
	got, err := job.Parse(secret.Data[podspec.KeySpec])
	s.must(err)
	id := podspec.UserID
	want := job.Spec{
		Version: job.Version, UID: string(c.UID), Preallocate: true, Checksum: "sha256:" + strings.Repeat("0", 64),
		Source: job.Source{HTTP: &job.HTTP{
			URL: "https://images.example/disk.qcow2", Headers: []string{"A: 1", "B: 2"}, SecretHeaderPaths: []string{"/job/headers/0"},
			UsernamePath: "/job/secret/accessKeyId", PasswordPath: "/job/secret/secretKey", CAPath: "/job/ca", Insecure: true,
		}},
		Target: job.Target{File: "/data/disk.img", Size: 1 << 30, Overhead: "0.06", Replace: true, Mode: "0660", UID: &id, GID: &id},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spec: %s", diff)
	}
	if string(secret.Data[podspec.KeyCert]) != "certificate of "+string(c.UID) {
		t.Error("not the worker's certificate")
	}
	var pod corev1.Pod
	s.must(s.c.Get(t.Context(), types.NamespacedName{Namespace: s.ns, Name: "importer-disk"}, &pod))
	for _, text := range []string{pod.Spec.Containers[0].String()} {
		if strings.Contains(text, "images.example") {
			t.Error("the pod shows the source")
		}
	}
}

func TestWaitsForConsumer(t *testing.T) {
	s := newStage(t)
	s.source()
	c := s.claim(viaPrime, s.class(lazily, driver), nil)
	s.untilState(c, cdi.StateConsumer)
	if left := s.leftovers(); len(left) != 0 {
		t.Fatalf("made before there is a consumer: %v", left)
	}
	s.still = true
	s.annotate(c, cdi.AnnSelectedNode, "node-1")
	s.until(c, "PVC′", func(p cdi.Population, _ *corev1.PersistentVolumeClaim) bool { return p.Reason == "Provisioning" })
	prime := s.get(&corev1.PersistentVolumeClaim{ObjectMeta: metaOf(s.ns, cdi.PrimeName(c.UID))})
	if got := prime.Annotations[cdi.AnnSelectedNode]; got != "node-1" {
		t.Fatalf("PVC′ is to be on node %q", got)
	}
	// The provisioner cannot, and says so by taking the node away: the scheduler has to choose again.
	s.annotate(prime, cdi.AnnSelectedNode, "")
	now := s.until(c, "a new choice", func(_ cdi.Population, c *corev1.PersistentVolumeClaim) bool {
		return c.Annotations[cdi.AnnSelectedNode] == ""
	})
	s.untilState(now, cdi.StateConsumer)
	s.annotate(c, cdi.AnnSelectedNode, "node-2")
	s.still = false
	s.until(c, "the node on PVC′", func(_ cdi.Population, _ *corev1.PersistentVolumeClaim) bool {
		return s.get(prime).Annotations[cdi.AnnSelectedNode] == "node-2"
	})
	s.filled(c)
}

func TestDirectWaitsForConsumer(t *testing.T) {
	s := newStage(t)
	c := s.claim(direct, s.class(lazily, driver), nil)
	s.untilState(c, cdi.StateConsumer)
	// A pod comes, the claim is bound for it, and it is filled when the pod is done with it.
	user := podspec.Import(podspec.Input{Claim: c, Working: c, Job: "x", Image: "user"})
	user.Name, user.OwnerReferences, user.Labels = "user", nil, nil
	s.must(s.c.Create(t.Context(), user))
	s.annotate(c, cdi.AnnSelectedNode, "node-1")
	s.until(c, "a refusal", func(p cdi.Population, _ *corev1.PersistentVolumeClaim) bool { return p.Reason == "TargetInUse" })
	s.event(eventInUse, "pod user uses the claim")
	s.must(s.c.Delete(t.Context(), user))
	s.filled(c)
}

func TestGivesUp(t *testing.T) {
	for name, f := range map[string]flow{"through PVC′": viaPrime, "directly": direct} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			if f == viaPrime {
				s.source()
			}
			c := s.claim(f, s.class(immediately, driver), nil)
			s.outcome = func(n int) (int32, *job.Result) {
				if n == 0 {
					return 0, never
				}
				return 0, done
			}
			now := s.until(c, "the end", func(p cdi.Population, _ *corev1.PersistentVolumeClaim) bool {
				return p.State == cdi.StateFailed && p.Pod == ""
			})
			p := saidOf(now)
			if p.Reason != never.Reason || p.Message != never.Message || p.Hint != never.Hint || p.NextTry != nil {
				t.Errorf("population %+v", p)
			}
			if got := now.Annotations[cdi.AnnFatalError]; got != "DigestMismatch: other bytes" {
				t.Errorf("fatal error %q", got)
			}
			if now.Annotations[cdi.AnnRunning] != "false" || now.Annotations[cdi.AnnRunningReason] != never.Reason || now.Annotations[cdi.AnnPodPhase] != "Failed" {
				t.Errorf("annotations %v", now.Annotations)
			}
			s.event(eventFailed, "other bytes (check the checksum)")
			s.clean()
			for range 3 {
				s.must(s.reconcile(c))
			}
			if left := s.leftovers(); len(left) != 0 || s.containers != 1 {
				t.Errorf("it goes on: %v, %d containers", left, s.containers)
			}
			// Who takes the mark away wants it tried once more.
			s.annotate(c, cdi.AnnFatalError, "")
			s.filled(c)
		})
	}
}

func TestTriesAgain(t *testing.T) {
	s := newStage(t)
	s.source()
	c := s.claim(viaPrime, s.class(immediately, driver), nil)
	s.outcome = func(n int) (int32, *job.Result) {
		if n < 2 {
			return 1, retry
		}
		return 0, done
	}
	now := s.untilState(c, cdi.StateBackoff)
	p := saidOf(now)
	if p.Reason != "SourceUnavailable" || p.Message != "no route to host" || p.NextTry == nil {
		t.Errorf("population %+v", p)
	}
	s.event(eventFailed, "SourceUnavailable: no route to host (check the network)")
	s.filled(c)
	if n := restartsOf(s.get(c)); n != 2 {
		t.Errorf("%d restarts", n)
	}
	if len(s.pods) != 1 {
		t.Errorf("%d pods", len(s.pods))
	}
}

// Pod and PVC′ are taken away in the middle.
func TestChildrenDeleted(t *testing.T) {
	for name, children := range map[string][]string{"pod": {"pod"}, "PVC′": {"pvc"}, "both": {"pvc", "pod"}, "evicted": {"evicted"}} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.source()
			c := s.claim(viaPrime, s.class(immediately, driver), nil)
			s.hold = true
			s.untilState(c, cdi.StateRunning)
			prime := s.get(&corev1.PersistentVolumeClaim{ObjectMeta: metaOf(s.ns, cdi.PrimeName(c.UID))})
			pod := &corev1.Pod{ObjectMeta: metaOf(s.ns, podspec.Name(prime))}
			for _, child := range children {
				switch child {
				case "pod":
					s.must(s.c.Delete(t.Context(), pod))
				case "pvc":
					s.must(s.c.Delete(t.Context(), prime))
				case "evicted":
					s.must(s.c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
					pod.Status.Phase, pod.Status.Reason, pod.Status.Message = corev1.PodFailed, "Evicted", "no memory"
					s.must(s.c.Status().Update(t.Context(), pod))
					p := saidOf(s.untilState(c, cdi.StateBackoff))
					if p.Reason != "Evicted" || p.NextTry == nil {
						t.Errorf("population %+v", p)
					}
					s.r.now = func() time.Time { return time.Now().Add(time.Minute) }
				}
			}
			s.hold = false
			s.filled(c)
			if len(s.pods) != 2 {
				t.Errorf("%d pods", len(s.pods))
			}
			if name == "evicted" && restartsOf(s.get(c)) != 1 {
				t.Errorf("%d restarts", restartsOf(s.get(c)))
			}
		})
	}
}

// A claim that is deleted takes everything with it, though its worker uses it.
func TestClaimDeleted(t *testing.T) {
	for name, f := range map[string]flow{"through PVC′": viaPrime, "directly": direct} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			if f == viaPrime {
				s.source()
			}
			c := s.claim(f, s.class(immediately, driver), nil)
			s.hold = true
			s.untilState(c, cdi.StateRunning)
			s.must(s.c.Delete(t.Context(), c))
			deadline := time.Now().Add(2 * time.Minute)
			for {
				s.must(s.reconcile(c))
				err := s.c.Get(t.Context(), client.ObjectKeyFromObject(c), &corev1.PersistentVolumeClaim{})
				if left := s.leftovers(); client.IgnoreNotFound(err) == nil && err != nil && len(left) == 0 {
					return
				} else if time.Now().After(deadline) {
					t.Fatalf("claim: %v, left over: %v", err, left)
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
}

func TestRetain(t *testing.T) {
	s := newStage(t)
	s.source()
	c := s.claim(viaPrime, s.class(immediately, driver), map[string]string{cdi.AnnPodRetain: "true"})
	s.untilState(c, cdi.StateDone)
	left := s.leftovers()
	want := []string{"claim " + cdi.PrimeName(c.UID), "pod importer-prime-" + string(c.UID)}
	if diff := cmp.Diff(want, left); diff != "" {
		t.Error(diff)
	}
	s.event(eventRetained, "kept")
}

func TestQuota(t *testing.T) {
	for _, tt := range []struct {
		name   string
		hard   corev1.ResourceName
		reason string
	}{
		{"claims", corev1.ResourcePersistentVolumeClaims, eventQuota},
		{"pods", corev1.ResourcePods, eventNoPod},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			s.source()
			class := s.class(immediately, driver)
			c := s.claim(viaPrime, class, nil)
			q := s.quota(tt.hard, "0")
			now := s.until(c, "a refusal", func(p cdi.Population, _ *corev1.PersistentVolumeClaim) bool { return p.Reason == tt.reason })
			p := saidOf(now)
			if p.State != cdi.StateWaiting || !strings.Contains(p.Message, "exceeded quota: limit") || !strings.Contains(p.Hint, "raise the quota") {
				t.Errorf("population %+v", p)
			}
			s.event(tt.reason, "exceeded quota")
			n := len(s.rec.events)
			s.must(s.reconcile(c))
			if len(s.rec.events) != n {
				t.Errorf("told again: %v", s.rec.events[n:])
			}
			s.must(s.c.Delete(t.Context(), q))
			s.filled(c)
		})
	}
}

func TestWaitsForSource(t *testing.T) {
	s := newStage(t)
	c := s.claim(viaPrime, s.class(immediately, driver), nil)
	p := saidOf(s.untilState(c, cdi.StateWaiting))
	if p.Reason != "SourceMissing" {
		t.Errorf("population %+v", p)
	}
	s.source()
	s.filled(c)
}

// What is told about PVC′ and the pod only, the user is told on the claim.
func TestWarnings(t *testing.T) {
	s := newStage(t)
	s.source()
	c := s.claim(viaPrime, s.class(immediately, driver), nil)
	s.still = true
	s.until(c, "PVC′", func(p cdi.Population, _ *corev1.PersistentVolumeClaim) bool { return p.Reason == "Provisioning" })
	prime := s.get(&corev1.PersistentVolumeClaim{ObjectMeta: metaOf(s.ns, cdi.PrimeName(c.UID))})
	s.warn(prime, "ProvisioningFailed", "no room on any node", time.Now())
	s.warn(prime, "ClaimMisbound", "another claim has it", time.Now().Add(time.Minute))
	s.warn(prime, "ProvisioningFailed", "old news", time.Now().Add(-time.Hour))
	s.r.now = func() time.Time { return time.Now().Add(patience) }
	now := s.until(c, "the cause", func(p cdi.Population, _ *corev1.PersistentVolumeClaim) bool { return p.Reason == "ProvisioningFailed" })
	if p := saidOf(now); !strings.HasSuffix(p.Message, "is being made: no room on any node") || !strings.Contains(p.Hint, prime.Name) {
		t.Errorf("population %+v", p)
	}
	s.event("ProvisioningFailed", "["+prime.Name+"] : no room on any node")
	n := len(s.rec.events)
	s.must(s.reconcile(c))
	if len(s.rec.events) != n {
		t.Errorf("told again: %v", s.rec.events[n:])
	}

	s.still, s.hold = false, true
	s.until(c, "the pod", func(p cdi.Population, _ *corev1.PersistentVolumeClaim) bool { return p.Pod != "" })
	pod := &corev1.Pod{}
	s.must(s.c.Get(t.Context(), types.NamespacedName{Namespace: s.ns, Name: podspec.Name(prime)}, pod))
	if pod.Spec.NodeName == "" {
		s.kubelet(pod)
	}
	s.warn(pod, "FailedMount", `configmap "cas" not found`, time.Now())
	s.warn(pod, "FailedScheduling", "no node yet", time.Now().Add(time.Minute))
	s.must(s.c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
	pod.Status.Phase, pod.Status.ContainerStatuses = corev1.PodPending, nil
	s.must(s.c.Status().Update(t.Context(), pod))
	_, err := s.r.Reconcile(t.Context(), requestFor(c))
	s.must(err)
	if p := saidOf(s.get(c)); p.Reason != "FailedMount" || !strings.Contains(p.Message, `configmap "cas" not found`) {
		t.Errorf("population %+v", p)
	}
	s.hold = false
	s.filled(c)
}

// A worker whose certificates are out of date is given new ones.
func TestRenews(t *testing.T) {
	s := newStage(t)
	c := s.claim(direct, s.class(immediately, driver), nil)
	s.hold = true
	s.untilState(c, cdi.StateRunning)
	key := types.NamespacedName{Namespace: s.ns, Name: podspec.JobName(c.UID)}
	secret := &corev1.Secret{}
	s.must(s.c.Get(t.Context(), key, secret))
	secret.Data[podspec.KeyCert] = []byte("old")
	s.must(s.c.Update(t.Context(), secret))
	s.must(s.reconcile(c))
	s.must(s.c.Get(t.Context(), key, secret))
	if string(secret.Data[podspec.KeyCert]) != "old" {
		t.Error("renewed without need")
	}
	s.r.progress.answers[c.UID] = &answer{distrusted: true}
	s.must(s.reconcile(c))
	s.must(s.c.Get(t.Context(), key, secret))
	if string(secret.Data[podspec.KeyCert]) == "old" {
		t.Error("not renewed")
	}
	s.hold = false
	s.filled(c)
}
