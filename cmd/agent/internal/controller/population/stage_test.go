package population

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/podspec"
	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

// The API server binds volumes and protects claims in use, as in a cluster; kubelet, scheduler and provisioner are played
// by the stage.
func TestMain(m *testing.M) {
	apitest.Main(m, apitest.Options{Controllers: []string{
		"persistentvolume-binder-controller", "persistentvolumeclaim-protection-controller", "garbage-collector-controller",
	}})
}

const driver = "csi.population.test"

// stage is a namespace with a claim in it, and what a cluster would do for it.
type stage struct {
	*testing.T
	env *apitest.Env
	c   client.Client
	ns  string
	r   *reconciler
	rec *recorder

	// outcome is what the nth container leaves. nil: all succeed.
	outcome func(n int) (exit int32, r *job.Result)
	// hold keeps pods from ending, still claims from being provisioned.
	hold, still bool
	containers  int
	pods        map[types.UID]bool // seen
}

func newStage(t *testing.T) *stage {
	t.Helper()
	env := apitest.Start(t)
	s := &stage{T: t, env: env, c: env.Client, ns: env.Namespace(t), pods: map[types.UID]bool{}}
	s.restart(env.Client)
	return s
}

// restart is a new manager, whose writes go through c.
func (s *stage) restart(c client.Client) {
	if s.rec == nil {
		s.rec = &recorder{}
	}
	s.r = newReconciler(c, s.env.Client, s.rec, Options{Image: "agent:test", Namespace: "cdi", Certs: paper{}})
}

// paper is certificates that nobody reads.
type paper struct{}

func (paper) IssueWorker(uid string, _ time.Duration) (cert, key, ca []byte, err error) {
	return []byte("certificate of " + uid), []byte("key"), []byte("ca"), nil
}
func (paper) ClientTLS(string) (*tls.Config, error) {
	return &tls.Config{MinVersion: tls.VersionTLS13}, nil
}

type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) Eventf(_, _ runtime.Object, kind, reason, _, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, kind+" "+reason+" "+fmt.Sprintf(note, args...))
}

// class makes a StorageClass of the test's driver.
func (s *stage) class(mode storagev1.VolumeBindingMode, provisioner string) string {
	s.Helper()
	sc := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "class-"}, Provisioner: provisioner,
		VolumeBindingMode: &mode, ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete),
	}
	s.must(s.c.Create(s.Context(), sc))
	s.Cleanup(func() { _ = s.c.Delete(context.Background(), sc) })
	if provisioner == driver {
		err := s.c.Create(s.Context(), &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driver}})
		s.must(client.IgnoreAlreadyExists(err))
	}
	return sc.Name
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// claim makes one of 1Gi, through PVC′ or, with annotations, to be filled itself.
func (s *stage) claim(f flow, class string, annotations map[string]string) *corev1.PersistentVolumeClaim {
	s.Helper()
	return s.claimNamed("disk", f, class, annotations)
}

func (s *stage) claimNamed(name string, f flow, class string, annotations map[string]string) *corev1.PersistentVolumeClaim {
	s.Helper()
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.ns, Annotations: map[string]string{}},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class,
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	if f == viaPrime {
		c.Spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: ptr.To(cdi.Group), Kind: sourceKind, Name: "image"}
	} else {
		c.Annotations[cdi.AnnSource], c.Annotations[cdi.AnnEndpoint] = "http", "https://images.example/disk.qcow2"
	}
	for k, v := range annotations {
		c.Annotations[k] = v
	}
	s.must(s.c.Create(s.Context(), c))
	return c
}

func (s *stage) source() {
	s.Helper()
	s.must(s.c.Create(s.Context(), &cdiv1.VolumeImportSource{
		ObjectMeta: metav1.ObjectMeta{Name: "image", Namespace: s.ns},
		Spec:       cdiv1.VolumeImportSourceSpec{Source: &cdiv1.ImportSourceType{HTTP: &cdiv1.DataVolumeSourceHTTP{URL: "https://images.example/disk.qcow2"}}},
	}))
}

// get reads the claim as it is.
func (s *stage) get(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
	s.Helper()
	now := &corev1.PersistentVolumeClaim{}
	s.must(s.c.Get(s.Context(), client.ObjectKeyFromObject(c), now))
	return now
}

// reconcile is one round of the manager and one of the cluster.
func (s *stage) reconcile(c *corev1.PersistentVolumeClaim) error {
	s.Helper()
	_, err := s.r.Reconcile(s.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(c)})
	s.play()
	return err
}

// until goes on until the claim is as it should be.
func (s *stage) until(c *corev1.PersistentVolumeClaim, what string, ok func(p cdi.Population, c *corev1.PersistentVolumeClaim) bool) *corev1.PersistentVolumeClaim {
	s.Helper()
	deadline := time.Now().Add(2 * time.Minute) // the machine may be busy
	for {
		err := s.reconcile(c)
		now := s.get(c)
		if err == nil && ok(saidOf(now), now) {
			return now
		}
		if time.Now().After(deadline) {
			s.Fatalf("%s does not come: error %v, population %s", what, err, now.Annotations[cdi.AnnPopulation])
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *stage) untilState(c *corev1.PersistentVolumeClaim, state cdi.State) *corev1.PersistentVolumeClaim {
	s.Helper()
	return s.until(c, string(state), func(p cdi.Population, _ *corev1.PersistentVolumeClaim) bool { return p.State == state })
}

// play is one round of the rest of the cluster.
func (s *stage) play() {
	s.Helper()
	var claims corev1.PersistentVolumeClaimList
	s.must(s.c.List(s.Context(), &claims, client.InNamespace(s.ns)))
	var pods corev1.PodList
	s.must(s.c.List(s.Context(), &pods, client.InNamespace(s.ns)))
	for i := range pods.Items {
		s.kubelet(&pods.Items[i])
	}
	for i := range claims.Items {
		s.provision(&claims.Items[i], pods.Items)
	}
}

// provision makes the volume of a claim, if it is time.
func (s *stage) provision(c *corev1.PersistentVolumeClaim, pods []corev1.Pod) {
	if s.still || c.Spec.DataSourceRef != nil || c.Spec.VolumeName != "" || c.DeletionTimestamp != nil {
		return
	}
	var class storagev1.StorageClass
	s.must(s.c.Get(s.Context(), types.NamespacedName{Name: *c.Spec.StorageClassName}, &class))
	if *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer && c.Annotations[cdi.AnnSelectedNode] == "" {
		for i := range pods { // the scheduler
			if pods[i].Spec.Volumes[0].PersistentVolumeClaim.ClaimName == c.Name {
				s.annotate(c, cdi.AnnSelectedNode, "node-1")
			}
		}
		return
	}
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-" + string(c.UID)},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: class.Name, AccessModes: c.Spec.AccessModes, VolumeMode: c.Spec.VolumeMode,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: string(c.UID)}},
			ClaimRef:                      &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.ResourceVersion},
		},
	}
	s.must(client.IgnoreAlreadyExists(s.c.Create(s.Context(), pv)))
	s.Cleanup(func() { _ = s.c.Delete(context.Background(), pv) })
}

func (s *stage) annotate(c *corev1.PersistentVolumeClaim, key, value string) {
	s.Helper()
	a := any(value)
	if value == "" {
		a = nil
	}
	b, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: a}}})
	s.must(err)
	s.must(s.c.Patch(s.Context(), c.DeepCopy(), client.RawPatch(types.MergePatchType, b)))
}

// kubelet brings a pod one step on.
func (s *stage) kubelet(p *corev1.Pod) {
	s.pods[p.UID] = true
	switch {
	case p.Labels[cdi.LabelComponent] != podspec.Container:
		return
	case p.DeletionTimestamp != nil:
		s.must(client.IgnoreNotFound(s.c.Delete(s.Context(), p, client.GracePeriodSeconds(0))))
		return
	case p.Status.Phase == corev1.PodSucceeded, p.Status.Phase == corev1.PodFailed:
		return
	case p.Spec.NodeName == "":
		var c corev1.PersistentVolumeClaim
		err := s.c.Get(s.Context(), types.NamespacedName{Namespace: s.ns, Name: p.Spec.Volumes[0].PersistentVolumeClaim.ClaimName}, &c)
		if apierrors.IsNotFound(err) || err == nil && !bound(&c) {
			return
		}
		s.must(err)
		b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}, Target: corev1.ObjectReference{Kind: "Node", Name: "node-1"}}
		s.must(s.c.SubResource("binding").Create(s.Context(), p, b))
		return
	}
	was := containerOf(p)
	now := corev1.ContainerStatus{Name: podspec.Container, Image: "agent:test", RestartCount: was.RestartCount}
	switch {
	case was.State.Running == nil:
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		now.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.Now()}
		if was.State.Waiting != nil {
			now.RestartCount++
			now.LastTerminationState = was.LastTerminationState
		}
	case s.hold:
		return
	default:
		exit, result := int32(0), done
		if s.outcome != nil {
			exit, result = s.outcome(s.containers)
		}
		s.containers++
		end := &corev1.ContainerStateTerminated{ExitCode: exit, FinishedAt: metav1.Now()}
		if result != nil {
			end.Message = string(result.Encode())
		}
		if exit == 0 {
			p.Status.Phase, now.State.Terminated = corev1.PodSucceeded, end
			break
		}
		now.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 10s restarting failed container=importer"}
		now.LastTerminationState.Terminated = end
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{now}
	s.must(s.c.Status().Update(s.Context(), p))
}

// leftovers are the children of a claim that are still there: in all of the namespace, none belongs to another.
func (s *stage) leftovers() (names []string) {
	s.Helper()
	var claims corev1.PersistentVolumeClaimList
	s.must(s.c.List(s.Context(), &claims, client.InNamespace(s.ns)))
	for _, c := range claims.Items {
		if c.Name != "disk" {
			names = append(names, "claim "+c.Name)
		}
	}
	var pods corev1.PodList
	s.must(s.c.List(s.Context(), &pods, client.InNamespace(s.ns)))
	for _, p := range pods.Items {
		names = append(names, "pod "+p.Name)
	}
	var secrets corev1.SecretList
	s.must(s.c.List(s.Context(), &secrets, client.InNamespace(s.ns)))
	for _, x := range secrets.Items {
		names = append(names, "secret "+x.Name)
	}
	return names
}

// clean waits until nothing is left but the claim.
func (s *stage) clean() {
	s.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		s.play()
		left := s.leftovers()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("left over: %v", left)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

var errKilled = errors.New("the manager was killed")

// mortal is a client whose process is killed when it has sent its last write: the write arrives, its answer does not.
type mortal struct {
	client.Client
	left int
	sent int
}

func (m *mortal) write(do func() error) error {
	if m.left == 0 {
		return errKilled
	}
	m.left--
	m.sent++
	if err := do(); err != nil || m.left > 0 {
		return err
	}
	return errKilled
}

func (m *mortal) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if m.left == 0 {
		return errKilled
	}
	return m.Client.Get(ctx, key, o, opts...)
}

func (m *mortal) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	return m.write(func() error { return m.Client.Create(ctx, o, opts...) })
}

func (m *mortal) Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	return m.write(func() error { return m.Client.Delete(ctx, o, opts...) })
}

func (m *mortal) Patch(ctx context.Context, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	return m.write(func() error { return m.Client.Patch(ctx, o, p, opts...) })
}

func (m *mortal) Apply(ctx context.Context, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	return m.write(func() error { return m.Client.Apply(ctx, o, opts...) })
}

func metaOf(ns, name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }

// quota limits a resource. Nobody counts, so what is used is nothing.
func (s *stage) quota(what corev1.ResourceName, hard string) *corev1.ResourceQuota {
	s.Helper()
	q := &corev1.ResourceQuota{ObjectMeta: metaOf(s.ns, "limit"), Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{what: resource.MustParse(hard)}}}
	s.must(s.c.Create(s.Context(), q))
	q.Status.Hard, q.Status.Used = q.Spec.Hard, corev1.ResourceList{what: resource.MustParse("0")}
	s.must(s.c.Status().Update(s.Context(), q))
	return q
}

func requestFor(c *corev1.PersistentVolumeClaim) ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKeyFromObject(c)}
}

// warn makes an event, as a provisioner or a kubelet would.
func (s *stage) warn(about client.Object, reason, message string, at time.Time) {
	s.Helper()
	s.must(s.c.Create(s.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: "e-", Namespace: s.ns},
		InvolvedObject: corev1.ObjectReference{Kind: "x", Namespace: s.ns, Name: about.GetName(), UID: about.GetUID()},
		Type:           corev1.EventTypeWarning, Reason: reason, Message: message, LastTimestamp: metav1.NewTime(at),
	}))
}
