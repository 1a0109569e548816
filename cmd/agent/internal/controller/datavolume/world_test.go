package datavolume

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/dvstatus"
	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

func TestMain(m *testing.M) { apitest.Main(m, apitest.Options{}) }

// patience is for a machine that has other things to do.
const patience = time.Minute

const (
	csiDriver = "csi.example.com"
	classNow  = "csi-now"   // with a CSIDriver, binds at once
	classLate = "csi-late"  // with a CSIDriver, waits for the consumer
	localNow  = "local-now" // without a CSIDriver
	localLate = "local-late"
)

// world is a namespace with the classes that all tests share, and nobody in it but the controller and the test, which plays
// the parts of the population controller and of Kubernetes' volume controller.
type world struct {
	*testing.T
	env    *apitest.Env
	ns     string
	cached client.Client // of the controller that runs
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, env: apitest.Start(t)}
	w.ns = w.env.Namespace(t)
	for name, late := range map[string]bool{classNow: false, classLate: true, localNow: false, localLate: true} {
		class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: csiDriver, VolumeBindingMode: ptr.To(storagev1.VolumeBindingImmediate)}
		if name == localNow || name == localLate {
			class.Provisioner = "kubernetes.io/no-provisioner"
		}
		if late {
			class.VolumeBindingMode = ptr.To(storagev1.VolumeBindingWaitForFirstConsumer)
		}
		w.ensure(class)
		w.profile(name, cdiv1.ClaimPropertySet{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, VolumeMode: ptr.To(corev1.PersistentVolumeBlock)})
	}
	w.ensure(&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: csiDriver}})
	return w
}

// profile plays the controller of StorageProfiles.
func (w *world) profile(class string, sets ...cdiv1.ClaimPropertySet) {
	w.Helper()
	p := &cdiv1.StorageProfile{ObjectMeta: metav1.ObjectMeta{Name: class}}
	w.ensure(p)
	if len(p.Status.ClaimPropertySets) > 0 {
		return
	}
	p.Status.ClaimPropertySets = sets
	w.must(w.env.Client.Status().Update(w.Context(), p))
}

// run starts the controller; it ends with the test.
func (w *world) run() (stop func()) {
	w.Helper()
	return w.env.StartManager(w.T, func(mgr ctrl.Manager) error {
		w.cached = mgr.GetClient()
		return Add(mgr, Options{SkipNameValidation: true})
	})
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) create(o client.Object) {
	w.Helper()
	w.must(w.env.Client.Create(w.Context(), o))
}

func (w *world) ensure(o client.Object) {
	w.Helper()
	if err := w.env.Client.Create(w.Context(), o); apierrors.IsAlreadyExists(err) {
		w.must(w.env.Client.Get(w.Context(), client.ObjectKeyFromObject(o), o))
	} else {
		w.must(err)
	}
}

type option func(*cdiv1.DataVolume)

// dataVolume makes one: blank, 1Gi, in the storage form, unless options say otherwise.
func (w *world) dataVolume(name, class string, options ...option) *cdiv1.DataVolume {
	w.Helper()
	dv := &cdiv1.DataVolume{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name, Annotations: map[string]string{}, Labels: map[string]string{}}}
	dv.Spec.Source = &cdiv1.DataVolumeSource{Blank: &cdiv1.DataVolumeBlankImage{}}
	dv.Spec.Storage = &cdiv1.StorageSpec{Resources: size("1Gi")}
	if class != "" {
		dv.Spec.Storage.StorageClassName = ptr.To(class)
	}
	for _, o := range options {
		o(dv)
	}
	w.create(dv)
	return dv
}

func size(s string) corev1.VolumeResourceRequirements {
	return corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(s)}}
}

func fromHTTP(dv *cdiv1.DataVolume) {
	dv.Spec.Source = &cdiv1.DataVolumeSource{HTTP: &cdiv1.DataVolumeSourceHTTP{
		URL: "https://images.example.com/disk.qcow2", SecretRef: "login", CertConfigMap: "ca", ExtraHeaders: []string{"A: 1", "B: 2"},
		SecretExtraHeaders: []string{"token"}, Checksum: "sha256:" + fmt.Sprintf("%064d", 0), InsecureSkipVerify: ptr.To(true),
	}}
}

func filesystem(dv *cdiv1.DataVolume) {
	dv.Spec.Storage.VolumeMode = ptr.To(corev1.PersistentVolumeFilesystem)
	dv.Spec.Storage.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
}

// pvcForm turns the storage form into the pvc form.
func pvcForm(dv *cdiv1.DataVolume) {
	s := dv.Spec.Storage
	dv.Spec.Storage = nil
	dv.Spec.PVC = &corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Resources: s.Resources,
		StorageClassName: s.StorageClassName, VolumeMode: s.VolumeMode,
	}
}

func annotated(kv ...string) option {
	return func(dv *cdiv1.DataVolume) {
		for i := 0; i+1 < len(kv); i += 2 {
			dv.Annotations[kv[i]] = kv[i+1]
		}
	}
}

func (w *world) get(name string) *cdiv1.DataVolume {
	w.Helper()
	return apitest.Get(w.T, w.env, w.ns, name, &cdiv1.DataVolume{})
}

func (w *world) claim(name string) *corev1.PersistentVolumeClaim {
	w.Helper()
	return apitest.Get(w.T, w.env, w.ns, name, &corev1.PersistentVolumeClaim{})
}

// await waits until the DataVolume is in the phase.
func (w *world) await(name string, phase cdiv1.DataVolumePhase) *cdiv1.DataVolume {
	w.Helper()
	return w.awaitThat(name, func(s *cdiv1.DataVolumeStatus) bool { return s.Phase == phase }, "phase "+string(phase))
}

func (w *world) awaitThat(name string, is func(*cdiv1.DataVolumeStatus) bool, what string) *cdiv1.DataVolume {
	w.Helper()
	var dv *cdiv1.DataVolume
	apitest.Within(w.T, patience, func() error {
		dv = &cdiv1.DataVolume{}
		if err := w.env.Client.Get(w.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, dv); err != nil {
			return err
		}
		if !is(&dv.Status) {
			return fmt.Errorf("DataVolume %s: want %s, is %+v", name, what, dv.Status)
		}
		return nil
	})
	for _, t := range []cdiv1.DataVolumeConditionType{cdiv1.DataVolumeReady, cdiv1.DataVolumeBound, cdiv1.DataVolumeRunning} {
		if c := dvstatus.Condition(&dv.Status, t); c == nil || c.Reason == "" || c.Message == "" {
			w.Errorf("DataVolume %s: condition %s says nothing: %+v", name, t, c)
		}
	}
	return dv
}

// awaitReason waits for a reason of condition Bound.
func (w *world) awaitReason(name, reason string) *cdiv1.DataVolume {
	w.Helper()
	return w.awaitThat(name, func(s *cdiv1.DataVolumeStatus) bool {
		c := dvstatus.Condition(s, cdiv1.DataVolumeBound)
		return c != nil && c.Reason == reason
	}, "Bound with reason "+reason)
}

// note plays the population controller.
func (w *world) note(name string, p cdi.Population, kv ...string) {
	w.Helper()
	w.must(note(w.Context(), w.env.Client, w.ns, name, p, kv...))
}

func note(ctx context.Context, c client.Client, ns, name string, p cdi.Population, kv ...string) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	annotations := map[string]string{cdi.AnnPopulation: string(text)}
	for i := 0; i+1 < len(kv); i += 2 {
		annotations[kv[i]] = kv[i+1]
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return err
	}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	return c.Patch(ctx, claim, client.RawPatch("application/merge-patch+json", patch))
}

// bind plays Kubernetes' volume controller.
func (w *world) bind(name string, phase corev1.PersistentVolumeClaimPhase) {
	w.Helper()
	w.must(bind(w.Context(), w.env.Client, w.ns, name, phase))
}

func bind(ctx context.Context, c client.Client, ns, name string, phase corev1.PersistentVolumeClaimPhase) error {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	patch := fmt.Sprintf(`{"status":{"phase":%q}}`, phase)
	return c.Status().Patch(ctx, claim, client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// deleteClaim deletes a claim for good: nobody is there who would take its finalizers.
func (w *world) deleteClaim(name string) {
	w.Helper()
	c := w.claim(name)
	w.must(w.env.Client.Delete(w.Context(), c))
	w.must(client.IgnoreNotFound(w.env.Client.Patch(w.Context(), c, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))))
}

// events are the reasons told of the DataVolume, each as often as it was told.
func (w *world) events(name string) map[string]int32 {
	w.Helper()
	var list corev1.EventList
	w.must(w.env.Client.List(w.Context(), &list, client.InNamespace(w.ns)))
	got := map[string]int32{}
	for _, e := range list.Items {
		if e.InvolvedObject.Kind == "DataVolume" && e.InvolvedObject.Name == name {
			n := int32(1)
			if e.Series != nil {
				n = e.Series.Count
			}
			got[e.Type+" "+e.Reason] += n
		}
	}
	return got
}

func (w *world) source(dv *cdiv1.DataVolume) (*cdiv1.VolumeImportSource, error) {
	s := &cdiv1.VolumeImportSource{}
	err := w.env.Client.Get(w.Context(), client.ObjectKey{Namespace: w.ns, Name: cdi.ImportSourceName(dv.UID)}, s)
	return s, err
}

// after is the context of what cleans up behind a test.
func after(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }
