package datavolume

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/dvstatus"
	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

const gib = 1 << 30

var (
	scheduled = cdi.Population{State: cdi.StateScheduled, Reason: "Pending", Message: "the worker's pod is starting", Percent: -1}
	running   = cdi.Population{State: cdi.StateRunning, Reason: "Running", Message: "half of it", Percent: 50, Done: gib / 2, Total: gib, Rate: 100 << 20, Remaining: 5}
	done      = cdi.Population{State: cdi.StateDone, Reason: "Completed", Message: "done", Percent: 100, Format: "qcow2", VirtualSize: gib}
)

// TestImport follows a claim from one end to the other.
func TestImport(t *testing.T) {
	w := newWorld(t)
	w.run()
	dv := w.dataVolume("disk", classNow, fromHTTP)
	w.await("disk", cdiv1.Pending)
	if _, err := w.source(dv); err != nil {
		t.Fatal(err)
	}
	w.note("disk", scheduled)
	w.await("disk", cdiv1.ImportScheduled)
	w.note("disk", running, cdi.AnnPodRestarts, "2")
	dv = w.await("disk", cdiv1.ImportInProgress)
	c := dvstatus.Condition(&dv.Status, cdiv1.DataVolumeReady)
	if dv.Status.Progress != "50.00%" || dv.Status.RestartCount != 2 || c.Reason != dvstatus.ReasonTransferRunning || !strings.HasPrefix(c.Message, "512.0 MiB of 1.0 GiB at 100.0 MiB/s") {
		t.Errorf("status %+v", dv.Status)
	}
	w.note("disk", cdi.Population{State: cdi.StateBackoff, Reason: "SourceUnavailable", Message: "503", Percent: -1}, cdi.AnnPodRestarts, "1")
	dv = w.awaitThat("disk", func(s *cdiv1.DataVolumeStatus) bool {
		return dvstatus.Condition(s, cdiv1.DataVolumeRunning).Reason == dvstatus.ReasonError
	}, "Running with reason Error")
	if dv.Status.RestartCount != 2 {
		t.Errorf("restartCount %d: it decreased", dv.Status.RestartCount)
	}
	w.note("disk", running)
	w.bind("disk", corev1.ClaimBound)
	w.note("disk", done, cdi.AnnPopulatedFor, "disk") // as the population controller marks it
	dv = w.await("disk", cdiv1.Succeeded)
	if dv.Status.Progress != "100.0%" {
		t.Errorf("progress %s", dv.Status.Progress)
	}
	apitest.Within(t, patience, func() error {
		_, err := w.source(dv)
		if err == nil {
			return errors.New("the VolumeImportSource is still there")
		}
		return client.IgnoreNotFound(err)
	})
	want := map[string]int32{
		"Normal Pending": 1, "Normal ImportScheduled": 1, "Normal ImportInProgress": 1, "Warning Error": 1, "Normal Bound": 1, "Normal ImportSucceeded": 1,
	}
	apitest.Within(t, patience, func() error {
		if d := cmp.Diff(want, w.events("disk")); d != "" {
			return errors.New(d)
		}
		return nil
	})

	// What succeeded is not made again.
	w.deleteClaim("disk")
	w.awaitReason("disk", dvstatus.ReasonNotFound)
	time.Sleep(300 * time.Millisecond)
	if err := w.env.Exists(t.Context(), w.ns, "disk", &corev1.PersistentVolumeClaim{}); err == nil {
		t.Error("the claim of a DataVolume that had succeeded was made again")
	}
	if dv = w.get("disk"); dv.Status.Phase != cdiv1.Succeeded {
		t.Errorf("phase %s", dv.Status.Phase)
	}
}

// TestConsumer: a claim waits for its consumer until one is scheduled, or somebody asks not to wait.
func TestConsumer(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.dataVolume("selected", classLate)
	w.await("selected", cdiv1.PendingPopulation)
	w.note("selected", cdi.Population{State: cdi.StateConsumer, Message: "waits", Percent: -1})
	w.await("selected", cdiv1.PendingPopulation)
	w.note("selected", scheduled, cdi.AnnSelectedNode, "n")
	w.await("selected", cdiv1.ImportScheduled)

	dv := w.dataVolume("hurried", classLate)
	w.await("hurried", cdiv1.PendingPopulation)
	w.must(w.env.Client.Patch(t.Context(), dv, client.RawPatch("application/merge-patch+json",
		[]byte(`{"metadata":{"annotations":{"`+cdi.AnnImmediateBinding+`":""}}}`))))
	w.await("hurried", cdiv1.Pending)
	if _, ok := w.claim("hurried").Annotations[cdi.AnnImmediateBinding]; !ok {
		t.Error("the claim does not know that it is not to wait")
	}
}

func TestQuota(t *testing.T) {
	w := newWorld(t)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "small"}}
	set := func(n string) {
		hard := corev1.ResourceList{corev1.ResourceRequestsStorage: resource.MustParse(n)}
		quota.Spec.Hard = hard
		w.must(w.env.Client.Update(t.Context(), quota))
		quota.Status = corev1.ResourceQuotaStatus{Hard: hard, Used: corev1.ResourceList{corev1.ResourceRequestsStorage: resource.MustParse("0")}}
		w.must(w.env.Client.Status().Update(t.Context(), quota))
	}
	w.create(quota)
	set("10Mi")
	w.run()
	w.dataVolume("disk", classNow)
	dv := w.awaitReason("disk", reasonQuota)
	if dv.Status.Phase != cdiv1.Pending {
		t.Errorf("phase %s", dv.Status.Phase)
	}
	apitest.Within(t, patience, func() error {
		if n := w.events("disk")["Warning "+reasonQuota]; n != 1 {
			return fmt.Errorf("told %d times", n)
		}
		return nil
	})
	set("10Gi")
	w.awaitReason("disk", dvstatus.ReasonPending)
}

// TestClaimDeleted: the claim of an unfinished DataVolume is made again.
func TestClaimDeleted(t *testing.T) {
	w := newWorld(t)
	w.run()
	for _, state := range []cdi.Population{running, {State: cdi.StateFailed, Reason: "DigestMismatch", Message: "other bytes", Percent: -1}} {
		name := strings.ToLower(string(state.State))
		dv := w.dataVolume(name, classNow)
		w.await(name, cdiv1.Pending)
		w.note(name, state, cdi.AnnPodRestarts, "3")
		want := cdiv1.ImportInProgress
		if state.State == cdi.StateFailed {
			want = cdiv1.Failed
		}
		w.await(name, want)
		old := w.claim(name).UID

		w.must(w.env.Client.Delete(t.Context(), w.claim(name))) // its finalizer holds it
		w.awaitReason(name, reasonDeleting)
		w.deleteClaim(name)
		dv2 := w.awaitReason(name, dvstatus.ReasonPending)
		c := w.claim(name)
		if c.UID == old || c.Annotations[cdi.AnnPopulation] != "" || dv2.Status.RestartCount != 3 || dv2.Status.Phase != cdiv1.Pending {
			t.Errorf("%s: claim %v, status %+v", name, c.Annotations, dv2.Status)
		}
		if _, err := w.source(dv); err != nil {
			t.Error(err)
		}
	}
}

// TestSourceDeleted: a VolumeImportSource is made again as long as it is needed.
func TestSourceDeleted(t *testing.T) {
	w := newWorld(t)
	w.run()
	dv := w.dataVolume("disk", classNow)
	w.await("disk", cdiv1.Pending)
	s, err := w.source(dv)
	w.must(err)
	w.must(w.env.Client.Delete(t.Context(), s))
	apitest.Within(t, patience, func() error { _, err := w.source(dv); return err })
}

func TestClaimLost(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.dataVolume("disk", classNow)
	w.await("disk", cdiv1.Pending)
	w.bind("disk", corev1.ClaimLost)
	dv := w.await("disk", cdiv1.Failed)
	if c := dvstatus.Condition(&dv.Status, cdiv1.DataVolumeBound); c.Reason != dvstatus.ReasonClaimLost {
		t.Errorf("%+v", c)
	}
}

// TestExisting: what happens to a claim that is there before its DataVolume.
func TestExisting(t *testing.T) {
	w := newWorld(t)
	w.run()
	stranger := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "stranger"}}
	w.create(stranger)
	owned := metav1.NewControllerRef(stranger, corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	was := metav1.OwnerReference{APIVersion: kindDataVolume.GroupVersion().String(), Kind: kindDataVolume.Kind, Name: "restored", UID: "gone", Controller: ptr.To(true)}
	for _, tt := range []struct {
		name    string
		claim   map[string]string
		owner   *metav1.OwnerReference
		dv      []option
		adopted bool
	}{
		{name: "no-mark"},
		{name: "populated", claim: map[string]string{cdi.AnnPopulatedFor: "populated"}, adopted: true},
		{name: "populated-other", claim: map[string]string{cdi.AnnPopulatedFor: "x"}},
		{name: "populated-owned", claim: map[string]string{cdi.AnnPopulatedFor: "populated-owned"}, owner: owned},
		{name: "restored", claim: map[string]string{cdi.AnnPopulatedFor: "restored"}, owner: &was, adopted: true},
		{name: "allowed", claim: map[string]string{cdi.AnnAllowClaimAdoption: "true"}, adopted: true},
		{name: "allowed-by-dv", dv: []option{annotated(cdi.AnnAllowClaimAdoption, "true")}, adopted: true},
		{name: "allowed-owned", claim: map[string]string{cdi.AnnAllowClaimAdoption: "true"}, owner: owned},
		{name: "denied", claim: map[string]string{cdi.AnnAllowClaimAdoption: "true"}, dv: []option{annotated(cdi.AnnAllowClaimAdoption, "false")}},
		{name: "prepopulated", claim: map[string]string{cdi.AnnPopulatedFor: "prepopulated"}, dv: []option{annotated(cdi.AnnPrePopulated, "prepopulated")}, adopted: true},
		{name: "unsupported", claim: map[string]string{cdi.AnnPopulatedFor: "unsupported"}, adopted: true, dv: []option{func(dv *cdiv1.DataVolume) {
			dv.Spec.Source = &cdiv1.DataVolumeSource{Upload: &cdiv1.DataVolumeSourceUpload{}}
		}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{T: t, env: w.env, ns: w.ns}
			c := &corev1.PersistentVolumeClaim{
				ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: tt.name, Annotations: tt.claim},
				Spec:       corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Resources: size("1Gi"), StorageClassName: ptr.To(classNow)},
			}
			if tt.owner != nil {
				c.OwnerReferences = []metav1.OwnerReference{*tt.owner}
			}
			w.create(c)
			w.bind(tt.name, corev1.ClaimBound)
			dv := w.dataVolume(tt.name, classNow, tt.dv...)
			if !tt.adopted {
				w.awaitReason(tt.name, reasonExists)
				if metav1.IsControlledBy(w.claim(tt.name), dv) {
					t.Error("the claim was taken")
				}
				return
			}
			dv = w.await(tt.name, cdiv1.Succeeded)
			if dv.Status.ClaimName != tt.name || dv.Status.Progress != "100.0%" {
				t.Errorf("status %+v", dv.Status)
			}
			if got := w.claim(tt.name); !metav1.IsControlledBy(got, dv) || got.Annotations[cdi.AnnPopulatedFor] != tt.name || len(got.OwnerReferences) != 1 {
				t.Errorf("the claim was not taken: %+v", got.ObjectMeta)
			}
		})
	}
	t.Run("prepopulated and absent", func(t *testing.T) {
		w := &world{T: t, env: w.env, ns: w.ns}
		w.dataVolume("absent", classNow, annotated(cdi.AnnPrePopulated, "absent"))
		w.awaitReason("absent", dvstatus.ReasonNotFound)
		if err := w.env.Exists(t.Context(), w.ns, "absent", &corev1.PersistentVolumeClaim{}); err == nil {
			t.Error("a claim was made that is to be restored")
		}
	})
}

func TestStaticVolume(t *testing.T) {
	w := newWorld(t)
	w.run()
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "static-" + w.ns},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			VolumeMode: ptr.To(corev1.PersistentVolumeBlock), StorageClassName: classNow, ClaimRef: &corev1.ObjectReference{Namespace: w.ns, Name: "disk"},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: csiDriver, VolumeHandle: "h"}},
		},
	}
	w.create(pv)
	pv.Status.Phase = corev1.VolumeAvailable
	w.must(w.env.Client.Status().Update(t.Context(), pv))
	t.Cleanup(func() {
		w.must(w.env.Client.Delete(after(t), pv))
		w.must(client.IgnoreNotFound(w.env.Client.Patch(after(t), pv, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))))
	})
	apitest.Within(t, patience, func() error { // the volume is older than the DataVolume: the cache is to know it
		known := &corev1.PersistentVolume{}
		err := w.cached.Get(t.Context(), client.ObjectKeyFromObject(pv), known)
		if err == nil && known.Status.Phase != corev1.VolumeAvailable {
			err = errors.New("the cache does not know the volume's phase")
		}
		return err
	})
	w.dataVolume("disk", classNow, annotated(cdi.AnnCheckStaticVolume, ""))
	w.await("disk", cdiv1.Pending)
	c := w.claim("disk")
	if c.Spec.VolumeName != pv.Name || c.Spec.DataSourceRef != nil || c.Annotations[cdi.AnnPopulatedFor] != "disk" {
		t.Errorf("claim %+v", c)
	}
	w.bind("disk", corev1.ClaimBound)
	w.await("disk", cdiv1.Succeeded)

	w.dataVolume("other", classNow, annotated(cdi.AnnCheckStaticVolume, ""))
	w.await("other", cdiv1.Pending)
	if c := w.claim("other"); c.Spec.VolumeName != "" || c.Spec.DataSourceRef == nil {
		t.Errorf("claim without a volume of its own: %+v", c.Spec)
	}
}

func TestExternal(t *testing.T) {
	w := newWorld(t)
	w.run()
	ref := func(dv *cdiv1.DataVolume) {
		dv.Spec.Source = nil
		dv.Spec.Storage.DataSourceRef = &corev1.TypedObjectReference{APIGroup: ptr.To("example.com"), Kind: "Sample", Name: "s"}
	}
	w.dataVolume("disk", classNow, ref)
	w.await("disk", cdiv1.Pending)
	if c := w.claim("disk"); c.Annotations[cdi.AnnExternalPopulation] != "true" || c.Spec.DataSourceRef == nil || c.Spec.DataSourceRef.Kind != "Sample" {
		t.Errorf("claim %+v", c)
	}
	w.bind("disk", corev1.ClaimBound)
	w.await("disk", cdiv1.Succeeded)
	w.dataVolume("local", localNow, ref)
	w.awaitReason("local", reasonNoCSIDriver)
}

// TestRecovers: a DataVolume that has no class gets on when there is one.
func TestRecovers(t *testing.T) {
	w := newWorld(t)
	w.run()
	name := "late-" + w.ns
	w.dataVolume("disk", name)
	w.awaitReason("disk", reasonNotValid)
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: csiDriver}
	w.create(class)
	t.Cleanup(func() { w.must(w.env.Client.Delete(after(t), class)) })
	w.awaitThat("disk", func(s *cdiv1.DataVolumeStatus) bool {
		c := dvstatus.Condition(s, cdiv1.DataVolumeBound)
		return c != nil && strings.Contains(c.Message, "StorageProfile")
	}, "a word about the StorageProfile")
	w.profile(name, cdiv1.ClaimPropertySet{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeMode: ptr.To(corev1.PersistentVolumeBlock)})
	w.awaitReason("disk", dvstatus.ReasonPending)
}
