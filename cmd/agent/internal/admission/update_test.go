package admission_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

func storage(size string) *cdiv1.StorageSpec {
	return &cdiv1.StorageSpec{Resources: corev1.VolumeResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
	}}
}

func blank(namespace, name string) *cdiv1.DataVolume {
	return &cdiv1.DataVolume{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       cdiv1.DataVolumeSpec{Source: &cdiv1.DataVolumeSource{Blank: &cdiv1.DataVolumeBlankImage{}}, Storage: storage("1Gi")},
	}
}

func warm(namespace, name string) *cdiv1.DataVolume {
	dv := blank(namespace, name)
	dv.Spec.Source = &cdiv1.DataVolumeSource{VDDK: &cdiv1.DataVolumeSourceVDDK{
		URL: "https://v", UUID: "u", BackingFile: "b", Thumbprint: "t", SecretRef: "s",
	}}
	dv.Spec.Checkpoints = []cdiv1.DataVolumeCheckpoint{{Current: "one"}}
	return dv
}

// A spec stays as it was created; everything else of an object may change.
func TestUpdate(t *testing.T) {
	e, ns := setUp(t)
	const refusal = "Cannot update DataVolume Spec"
	next := []cdiv1.DataVolumeCheckpoint{{Current: "one"}, {Previous: "one", Current: "two"}}
	for i, c := range []struct {
		name    string
		dv      func(ns, name string) *cdiv1.DataVolume
		change  func(*cdiv1.DataVolume)
		refused bool
	}{
		{"annotation", blank, func(dv *cdiv1.DataVolume) { dv.Annotations = map[string]string{"a": "b"} }, false},
		{"label and finalizer", blank, func(dv *cdiv1.DataVolume) {
			dv.Labels, dv.Finalizers = map[string]string{"a": "b"}, []string{"cdictl.dev/test"}
		}, false},
		{"same size, written otherwise", blank, func(dv *cdiv1.DataVolume) { dv.Spec.Storage = storage("1024Mi") }, false},
		{"size", blank, func(dv *cdiv1.DataVolume) { dv.Spec.Storage = storage("2Gi") }, true},
		{"source", blank, func(dv *cdiv1.DataVolume) {
			dv.Spec.Source = &cdiv1.DataVolumeSource{Upload: &cdiv1.DataVolumeSourceUpload{}}
		}, true},
		{"priority class", blank, func(dv *cdiv1.DataVolume) { dv.Spec.PriorityClassName = "p" }, true},
		{"checkpoints of a source without any", blank, func(dv *cdiv1.DataVolume) { dv.Spec.Checkpoints = next }, true},
		{"checkpoints", warm, func(dv *cdiv1.DataVolume) { dv.Spec.Checkpoints = next }, false},
		{"last checkpoint", warm, func(dv *cdiv1.DataVolume) { dv.Spec.Checkpoints, dv.Spec.FinalCheckpoint = next, true }, false},
		{"no checkpoints any more", warm, func(dv *cdiv1.DataVolume) { dv.Spec.Checkpoints = nil }, true},
		{"checkpoints and the source", warm, func(dv *cdiv1.DataVolume) {
			dv.Spec.Checkpoints, dv.Spec.Source.VDDK.Thumbprint = next, "u"
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dv := c.dv(ns, fmt.Sprintf("update-%d", i))
			if err := e.Client.Create(t.Context(), dv); err != nil {
				t.Fatal(err)
			}
			c.change(dv)
			want := entry{}
			if c.refused {
				want = entry{Message: refusal, Type: metav1.CauseTypeFieldValueDuplicate, Field: "DataVolume.Spec"}
			}
			refused(t, e.Client.Update(t.Context(), dv), want)
		})
	}
}

// The other kinds whose spec stays as it is.
func TestUpdateOthers(t *testing.T) {
	e, ns := setUp(t)
	meta := metav1.ObjectMeta{Namespace: ns, Name: "a"}
	imports := &cdiv1.VolumeImportSource{ObjectMeta: meta, Spec: cdiv1.VolumeImportSourceSpec{
		Source:      &cdiv1.ImportSourceType{VDDK: warm("", "").Spec.Source.VDDK},
		TargetClaim: new("c"), Checkpoints: []cdiv1.DataVolumeCheckpoint{{Current: "one"}},
	}}
	cron := &cdiv1.DataImportCron{ObjectMeta: meta, Spec: cdiv1.DataImportCronSpec{ManagedDataSource: "d"}}
	cron.Spec.Template.Spec = cdiv1.DataVolumeSpec{
		Source: &cdiv1.DataVolumeSource{Registry: &cdiv1.DataVolumeSourceRegistry{URL: new("docker://r/x")}}, Storage: storage("1Gi"),
	}
	cron.Spec.Template.Annotations = map[string]string{cdi.AnnImmediateBinding: "true"}
	uploads := &cdiv1.VolumeUploadSource{ObjectMeta: meta, Spec: cdiv1.VolumeUploadSourceSpec{ContentType: cdiv1.DataVolumeKubeVirt}}
	clones := &cdiv1.VolumeCloneSource{ObjectMeta: meta, Spec: cdiv1.VolumeCloneSourceSpec{
		Source: corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "p"},
	}}
	for _, o := range []client.Object{imports, cron, uploads, clones} {
		if err := e.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		// Metadata, which for these kinds is one request with the status.
		o.SetLabels(map[string]string{"a": "b"})
		if err := e.Client.Update(t.Context(), o); err != nil {
			t.Errorf("label of %T: %v", o, err)
		}
	}
	if cron.Spec.Template.Annotations[cdi.AnnImmediateBinding] == "" {
		t.Error("the annotations of a DataImportCron's template are lost")
	}
	cron.Status.Conditions = []cdiv1.DataImportCronCondition{{Type: cdiv1.DataImportCronUpToDate}}
	if err := e.Client.Update(t.Context(), cron); err != nil {
		t.Errorf("status of a DataImportCron: %v", err)
	}
	imports.Spec.Checkpoints = append(imports.Spec.Checkpoints, cdiv1.DataVolumeCheckpoint{Previous: "one", Current: "two"})
	if err := e.Client.Update(t.Context(), imports); err != nil {
		t.Errorf("checkpoint of a VolumeImportSource: %v", err)
	}

	imports.Spec.TargetClaim = new("another")
	cron.Spec.Schedule = "@daily"
	uploads.Spec.ContentType = cdiv1.DataVolumeArchive
	clones.Spec.Source.Name = "q"
	for o, want := range map[client.Object]entry{
		imports: {Message: "Cannot update VolumeImportSource Spec", Field: "VolumeImportSource.Spec", Type: metav1.CauseTypeFieldValueDuplicate},
		cron:    {Message: "Cannot update DataImportCron Spec", Field: "DataImportCron.Spec", Type: metav1.CauseTypeFieldValueDuplicate},
		// These are rules in the schema, whose causes cannot be of that type and have a message.
		uploads: {Message: "Cannot update VolumeUploadSource Spec", Field: "spec"},
		clones:  {Message: "Cannot update VolumeCloneSource Spec", Field: "spec"},
	} {
		t.Run(want.Message, func(t *testing.T) {
			refused(t, e.Client.Update(t.Context(), o), want)
		})
	}
}

// A claim of the same name is there before the DataVolume.
func TestExistingClaim(t *testing.T) {
	e, ns := setUp(t)
	config := &cdiv1.CDIConfig{ObjectMeta: metav1.ObjectMeta{Name: cdi.ConfigName}}
	if err := e.Client.Create(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Delete(t, config) })
	owner := func(kind string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) {
			c.OwnerReferences = []metav1.OwnerReference{{
				APIVersion: cdiv1.SchemeGroupVersion.String(), Kind: kind, Name: "x", UID: types.UID("u"), Controller: new(true),
			}}
		}
	}
	annotation := func(key, value string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { metav1.SetMetaDataAnnotation(&c.ObjectMeta, key, value) }
	}
	none := func(*corev1.PersistentVolumeClaim) {}
	for i, c := range []struct {
		name    string
		gate    bool
		claim   func(*corev1.PersistentVolumeClaim)
		dv      map[string]string
		allowed bool
	}{
		{"anybody's", false, none, nil, false},
		{"of a DataVolume", false, owner("DataVolume"), nil, true},
		{"of something else", false, owner("VirtualMachine"), nil, false},
		{"with the data of this one", false, annotation(cdi.AnnPopulatedFor, "claim-3"), nil, true},
		{"with the data of another one", false, annotation(cdi.AnnPopulatedFor, "claim"), nil, false},
		{"to be adopted", false, annotation(cdi.AnnAllowClaimAdoption, "true"), nil, true},
		{"not to be adopted", false, annotation(cdi.AnnAllowClaimAdoption, "false"), nil, false},
		{"to be adopted, says the DataVolume", false, none, map[string]string{cdi.AnnAllowClaimAdoption: "true"}, true},
		{"not to be adopted, says the claim alone", false, annotation(cdi.AnnAllowClaimAdoption, "false"), map[string]string{cdi.AnnAllowClaimAdoption: "true"}, false},
		{"anybody's, all may be adopted", true, none, nil, true},
		{"all may be adopted but this", true, annotation(cdi.AnnAllowClaimAdoption, "false"), nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			config.Spec.FeatureGates = nil
			if c.gate {
				config.Spec.FeatureGates = []string{cdi.GateClaimAdoption}
			}
			if err := e.Client.Update(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			claim := &corev1.PersistentVolumeClaim{
				ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("claim-%d", i)},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Resources: storage("1Gi").Resources,
				},
			}
			c.claim(claim)
			if err := e.Client.Create(t.Context(), claim); err != nil {
				t.Fatal(err)
			}
			dv := blank(ns, claim.Name)
			dv.Annotations = c.dv
			want := entry{}
			if !c.allowed {
				want = entry{
					Message: fmt.Sprintf("Destination PVC %s/%s already exists", ns, claim.Name),
					Type:    metav1.CauseTypeFieldValueDuplicate, Field: "DataVolume.Name",
				}
			}
			refused(t, e.Client.Create(t.Context(), dv), want)
		})
	}

	t.Run("existing DataVolume", func(t *testing.T) {
		if err := e.Client.Create(t.Context(), blank(ns, "twice")); err != nil {
			t.Fatal(err)
		}
		if err := e.Client.Create(t.Context(), blank(ns, "twice")); !apierrors.IsAlreadyExists(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("generated name", func(t *testing.T) {
		dv := blank(ns, "")
		dv.GenerateName = "claim-"
		if err := e.Client.Create(t.Context(), dv); err != nil {
			t.Error(err)
		}
	})
}

// What was stored before there was a webhook can be labelled, given up and deleted, though it would not be let in today.
func TestLegacy(t *testing.T) {
	e := apitest.Start(t)
	ns := e.Namespace(t)
	dv := blank(ns, "old")
	dv.Spec.Source = &cdiv1.DataVolumeSource{}
	dv.Finalizers = []string{"cdictl.dev/test"}
	if err := e.Client.Create(t.Context(), dv); err != nil {
		t.Fatal(err)
	}
	e, _ = setUp(t)
	dv.Labels = map[string]string{"a": "b"}
	if err := e.Client.Update(t.Context(), dv); err != nil {
		t.Errorf("label: %v", err)
	}
	if err := e.Client.Delete(t.Context(), dv); err != nil {
		t.Fatal(err)
	}
	apitest.Get(t, e, ns, "old", dv)
	dv.Finalizers = nil
	if err := e.Client.Update(t.Context(), dv); err != nil {
		t.Errorf("finalizer: %v", err)
	}
}

// While no manager answers, nothing new is stored, but labels, finalizers and status go on.
func TestNobodyAnswers(t *testing.T) {
	e := apitest.Start(t)
	ns := e.Namespace(t)
	dv := blank(ns, "a")
	if err := e.Client.Create(t.Context(), dv); err != nil {
		t.Fatal(err)
	}
	e.ServeWebhook(t, ns) // but nobody serves it
	apitest.Within(t, testTimeout, func() error {
		err := e.Client.Create(t.Context(), blank(ns, "b"), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
			return fmt.Errorf("created though nobody could be asked: %w", err)
		}
		return nil
	})
	dv.Annotations, dv.Finalizers = map[string]string{"a": "b"}, []string{"cdictl.dev/test"}
	if err := e.Client.Update(t.Context(), dv); err != nil {
		t.Errorf("metadata: %v", err)
	}
	dv.Status.Phase = cdiv1.Succeeded
	if err := e.Client.Status().Update(t.Context(), dv); err != nil {
		t.Errorf("status: %v", err)
	}
	dv.Finalizers = nil
	if err := e.Client.Update(t.Context(), dv); err != nil {
		t.Errorf("finalizer: %v", err)
	}
	if err := e.Client.Delete(t.Context(), dv); err != nil {
		t.Errorf("delete: %v", err)
	}
}
