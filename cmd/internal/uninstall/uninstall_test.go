package uninstall_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/cmd/internal/manifest"
	"github.com/cdictl/cdictl/cmd/internal/uninstall"
	"github.com/cdictl/cdictl/lib/errdef"
)

func TestMain(m *testing.M) {
	apitest.Main(m, apitest.Options{NoCRDs: true, Controllers: []string{"namespace-controller"}})
}

const dataVolumes = "customresourcedefinition/datavolumes.cdi.kubevirt.io"

type fixture struct {
	*apitest.Env
	t       *testing.T
	dynamic dynamic.Interface
}

// install makes all that an installation has, and what its managers make.
func install(t *testing.T, namespace string) fixture {
	t.Helper()
	e := apitest.Start(t)
	config := rest.CopyConfig(e.Config)
	config.QPS, config.Burst = 100, 200
	config.WarningHandler = rest.NoWarnings{} // ObjectTransfer is deprecated
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{e, t, c}
	objects, err := manifest.Objects(manifest.Options{Namespace: namespace, Image: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if _, ok := o.(*apiextensionsv1.CustomResourceDefinition); ok {
			if err := e.Client.Create(t.Context(), o); err == nil || !strings.Contains(err.Error(), "already exists") {
				f.must(err)
			}
			continue
		}
		if strings.HasPrefix(o.GetName(), "cdi-agent-validate") {
			continue // nobody would answer it
		}
		f.must(e.Client.Create(t.Context(), o))
	}
	f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: cdi.WorkerSecret}})
	apitest.Within(t, time.Minute, func() error { return e.Client.List(t.Context(), &cdiv1.DataVolumeList{}) })
	apitest.Within(t, time.Minute, func() error { return e.Client.List(t.Context(), &cdiv1.StorageProfileList{}) })
	apitest.Within(t, time.Minute, func() error { return e.Client.List(t.Context(), &cdiv1.CDIConfigList{}) })
	f.create(&cdiv1.StorageProfile{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	return f
}

func (f fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f fixture) create(o client.Object) {
	f.t.Helper()
	f.must(f.Client.Create(f.t.Context(), o))
}

func (f fixture) plan(namespace string, purge bool) uninstall.Plan {
	f.t.Helper()
	p, err := uninstall.Make(f.t.Context(), f.dynamic, uninstall.Options{Namespace: namespace, Purge: purge})
	f.must(err)
	return p
}

func (f fixture) run(p uninstall.Plan) {
	f.t.Helper()
	var told []string
	f.must(p.Run(f.t.Context(), f.dynamic, time.Minute, func(s uninstall.Step) { told = append(told, s.String()) }))
	if len(told) != len(p.Delete) {
		f.t.Errorf("told %q", told)
	}
}

func deletes(p uninstall.Plan, what string) string {
	for _, s := range p.Delete {
		if strings.HasPrefix(s.String(), what) {
			return s.String()
		}
	}
	return ""
}

func keeps(p uninstall.Plan, what string) string {
	for _, k := range p.Keep {
		if strings.HasPrefix(k.What, what) {
			return k.Why
		}
	}
	return ""
}

// holdNamespace puts something else into it. Without, every test would wait for a namespace to end, which takes half a minute.
func (f fixture) holdNamespace(name string) {
	f.t.Helper()
	f.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "of-a-user"}})
}

// Nothing is left of an installation that nobody used, and nothing else is touched.
func TestUnused(t *testing.T) {
	f := install(t, "unused")
	f.create(&cdiv1.CDIConfig{ObjectMeta: metav1.ObjectMeta{Name: cdi.ConfigName}, Spec: cdiv1.CDIConfigSpec{FeatureGates: []string{"HonorWaitForFirstConsumer"}}})
	other := f.Namespace(t)
	f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: cdi.WorkerSecret}})

	p := f.plan("unused", false)
	if len(p.Keep) > 0 || len(p.Notes) > 0 {
		t.Errorf("keeps %v, notes %q", p.Keep, p.Notes)
	}
	for _, want := range []string{dataVolumes, "deployment/cdi-agent in namespace unused", "secret/cdi-agent-worker-ca in namespace unused", "networkpolicy/", "namespace/unused", "clusterrole/cdi.kubevirt.io:view"} {
		if deletes(p, want) == "" {
			t.Errorf("%s is not deleted", want)
		}
	}
	f.run(p)
	if again := f.plan("unused", false); len(again.Delete)+len(again.Keep) > 0 {
		t.Errorf("left: %v %v", again.Delete, again.Keep)
	}
	apitest.Get(t, f.Env, other, cdi.WorkerSecret, &corev1.Secret{})
}

// Definitions with objects stay, and so do DataVolumes; with a purge they go.
func TestUsed(t *testing.T) {
	f := install(t, "used")
	ns := f.Namespace(t)
	dv := &cdiv1.DataVolume{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a"}}
	dv.Spec.Storage, dv.Spec.Source = &cdiv1.StorageSpec{}, &cdiv1.DataVolumeSource{Blank: &cdiv1.DataVolumeBlankImage{}}
	f.create(dv)
	owner := *metav1.NewControllerRef(dv, cdiv1.SchemeGroupVersion.WithKind("DataVolume"))
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a", OwnerReferences: []metav1.OwnerReference{owner}}}
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	f.create(claim)
	f.create(&cdiv1.VolumeImportSource{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a", OwnerReferences: []metav1.OwnerReference{owner}},
		Spec: cdiv1.VolumeImportSourceSpec{Source: &cdiv1.ImportSourceType{Blank: &cdiv1.DataVolumeBlankImage{}}}})
	mode := corev1.PersistentVolumeBlock
	f.create(&cdiv1.StorageProfile{ObjectMeta: metav1.ObjectMeta{Name: "tuned"}, Spec: cdiv1.StorageProfileSpec{ClaimPropertySets: []cdiv1.ClaimPropertySet{
		{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeMode: &mode}}}})
	f.holdNamespace("used")

	p := f.plan("used", false)
	for what, why := range map[string]string{
		dataVolumes: "1 DataVolume", "customresourcedefinition/storageprofiles": "1 StorageProfile", "namespace/used": "configmap/of-a-user is in it",
	} {
		if got := keeps(p, what); !strings.Contains(got, why) {
			t.Errorf("%s: kept because %q", what, got)
		}
	}
	if len(p.Keep) != 3 || len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "1 DataVolumes are not finished") {
		t.Errorf("keeps %v, notes %q", p.Keep, p.Notes)
	}
	if deletes(p, "customresourcedefinition/volumeimportsources") == "" {
		t.Error("what only DataVolumes own keeps a definition")
	}
	f.run(p)
	apitest.Get(t, f.Env, ns, "a", &cdiv1.DataVolume{})
	apitest.Get(t, f.Env, ns, "a", &corev1.PersistentVolumeClaim{})

	p = f.plan("used", true)
	if got := deletes(p, dataVolumes); !strings.Contains(got, "with it 1 DataVolume that own 1 claims: their disks are lost") {
		t.Errorf("got %q", got)
	}
	if i := slices.IndexFunc(p.Delete, func(s uninstall.Step) bool { return s.Resource.Resource == "namespaces" }); i >= 0 {
		t.Error("a namespace with other things in it is deleted")
	}
	f.run(p)
	err := f.Client.Get(t.Context(), client.ObjectKeyFromObject(dv), dv)
	if client.IgnoreNotFound(err) != nil && !meta.IsNoMatchError(err) || err == nil {
		t.Errorf("the DataVolume is still there: %v", err)
	}
}

// Definitions and roles of somebody else are left alone, whatever they are called.
func TestForeign(t *testing.T) {
	f := install(t, "foreign")
	f.holdNamespace("foreign")
	d := apitest.Get(t, f.Env, "", "datasources.cdi.kubevirt.io", &apiextensionsv1.CustomResourceDefinition{})
	labels := d.Labels
	d.Labels = map[string]string{cdi.LabelManagedBy: "cdi-operator"}
	f.must(f.Client.Update(t.Context(), d))
	p := f.plan("foreign", true)
	if keeps(p, "customresourcedefinition/datasources") == "" || deletes(p, "customresourcedefinition/datasources") != "" {
		t.Errorf("deletes %v, keeps %v", p.Delete, p.Keep)
	}
	if p := f.plan("elsewhere", true); deletes(p, "deployment") != "" || deletes(p, "namespace") != "" {
		t.Errorf("in another namespace: deletes %v", p.Delete)
	}
	d.Labels = labels
	f.must(f.Client.Update(t.Context(), d))

	// What does not go is named, and running it again goes on.
	source := &cdiv1.DataSource{ObjectMeta: metav1.ObjectMeta{Namespace: f.Namespace(t), Name: "a", Finalizers: []string{"example.com/hold"}}}
	f.create(source)
	err := f.plan("foreign", true).Run(t.Context(), f.dynamic, 15*time.Second, func(uninstall.Step) {})
	if !errors.Is(err, errdef.ErrTimeout) || !strings.Contains(err.Error(), "datasources.cdi.kubevirt.io (waits for customresourcecleanup") {
		t.Errorf("got %v", err)
	}
	f.must(f.Client.Patch(t.Context(), source, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
	f.run(f.plan("foreign", true))
}

func TestNotAllowed(t *testing.T) {
	e := apitest.Start(t)
	c, err := dynamic.NewForConfig(e.ConfigFor("nobody"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := uninstall.Make(t.Context(), c, uninstall.Options{Namespace: "cdi"}); errdef.ExitCode(err) != 11 {
		t.Errorf("got %v", err)
	}
	c, err = dynamic.NewForConfig(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := uninstall.Make(ctx, c, uninstall.Options{Namespace: "cdi"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
