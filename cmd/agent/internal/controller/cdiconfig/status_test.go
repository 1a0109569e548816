package cdiconfig

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/yaml"
)

func classes(names ...string) []storagev1.StorageClass {
	var out []storagev1.StorageClass
	for _, n := range names {
		out = append(out, storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: n}})
	}
	return out
}

func TestStatus(t *testing.T) {
	const defaults = `
defaultPodResourceRequirements: {limits: {cpu: 750m, memory: 192Mi}, requests: {cpu: 100m, memory: 60M}}
`
	for _, c := range []struct {
		name, spec string
		classes    []storagev1.StorageClass
		want       string
	}{
		{"nothing", `{}`, nil, defaults + `
filesystemOverhead: {global: "0.06"}`},
		{"classes", `{}`, classes("a", "b"), defaults + `
filesystemOverhead: {global: "0.06", storageClass: {a: "0.06", b: "0.06"}}`},
		{"overhead for all", `filesystemOverhead: {global: "0.1"}`, classes("a"), defaults + `
filesystemOverhead: {global: "0.1", storageClass: {a: "0.1"}}`},
		{"overhead of a class, and of a name without a class", `filesystemOverhead: {storageClass: {a: "0", manual: "1"}}`, classes("a", "b"), defaults + `
filesystemOverhead: {global: "0.06", storageClass: {a: "0", b: "0.06", manual: "1"}}`},
		{"overhead that is none", `filesystemOverhead: {global: "2", storageClass: {a: "-0.1"}}`, classes("a"), defaults + `
filesystemOverhead: {global: "0.06", storageClass: {a: "0.06"}}`},
		{"scratch class", `scratchSpaceStorageClass: a`, classes("a"), defaults + `
filesystemOverhead: {global: "0.06", storageClass: {a: "0.06"}}
scratchSpaceStorageClass: a`},
		{"scratch class that is not there", `scratchSpaceStorageClass: b`, classes("a"), defaults + `
filesystemOverhead: {global: "0.06", storageClass: {a: "0.06"}}`},
		{"what is passed on", `
preallocation: true
uploadProxyURLOverride: https://up.example.com
importProxy: {HTTPSProxy: "http://proxy:3128", noProxy: .svc, trustedCAProxy: ca}
imagePullSecrets: [{name: pull}]`, nil, defaults + `
filesystemOverhead: {global: "0.06"}
preallocation: true
uploadProxyURL: https://up.example.com
importProxy: {HTTPSProxy: "http://proxy:3128", noProxy: .svc, trustedCAProxy: ca}
imagePullSecrets: [{name: pull}]`},
		{"resources, one by one", `podResourceRequirements: {limits: {memory: 1Gi, ephemeral-storage: 1Gi}}`, nil, `
defaultPodResourceRequirements: {limits: {cpu: 750m, memory: 1Gi, ephemeral-storage: 1Gi}, requests: {cpu: 100m, memory: 60M}}
filesystemOverhead: {global: "0.06"}`},
		{"a limit below the default request", `podResourceRequirements: {limits: {cpu: 50m}}`, nil, `
defaultPodResourceRequirements: {limits: {cpu: 50m, memory: 192Mi}, requests: {cpu: 50m, memory: 60M}}
filesystemOverhead: {global: "0.06"}`},
		{"a request above the default limit", `podResourceRequirements: {requests: {memory: 512Mi}}`, nil, `
defaultPodResourceRequirements: {limits: {cpu: 750m, memory: 512Mi}, requests: {cpu: 100m, memory: 512Mi}}
filesystemOverhead: {global: "0.06"}`},
		{"zero limits are limits", `podResourceRequirements: {limits: {cpu: "0", memory: "0"}, requests: {cpu: "0", memory: "0"}}`, nil, `
defaultPodResourceRequirements: {limits: {cpu: "0", memory: "0"}, requests: {cpu: "0", memory: "0"}}
filesystemOverhead: {global: "0.06"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var spec cdiv1.CDIConfigSpec
			var want cdiv1.CDIConfigStatus
			for text, into := range map[string]any{c.spec: &spec, c.want: &want} {
				if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
					t.Fatal(err)
				}
			}
			before := spec.DeepCopy()
			got := Status(&spec, &cdiv1.CDIConfigStatus{}, c.classes)
			if len(got.FilesystemOverhead.StorageClass) == 0 {
				got.FilesystemOverhead.StorageClass = nil
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got): %s", d)
			}
			if d := cmp.Diff(before, &spec); d != "" {
				t.Errorf("the spec was changed: %s", d)
			}
		})
	}
}

func TestStatusKeeps(t *testing.T) {
	was := &cdiv1.CDIConfigStatus{UploadProxyCA: ptr.To("PEM"), UploadProxyURL: ptr.To("https://old")}
	got := Status(&cdiv1.CDIConfigSpec{}, was, nil)
	if ptr.Deref(got.UploadProxyCA, "") != "PEM" || got.UploadProxyURL != nil {
		t.Errorf("%+v", got)
	}
}

func TestEnabled(t *testing.T) {
	with := &cdiv1.CDIConfig{Spec: cdiv1.CDIConfigSpec{FeatureGates: []string{"Other", HonorWaitForFirstConsumer}}}
	for _, c := range []struct {
		config *cdiv1.CDIConfig
		want   bool
	}{{nil, true}, {&cdiv1.CDIConfig{}, false}, {with, true}} {
		if got := Enabled(c.config, HonorWaitForFirstConsumer); got != c.want {
			t.Errorf("%v: %t", c.config, got)
		}
	}
	if Enabled(nil, "DataVolumeClaimAdoption") {
		t.Error("a gate that is not opened is open")
	}
}

// TestDefaults: a pod with them can be made.
func TestDefaults(t *testing.T) {
	r := DefaultResources()
	for name, request := range r.Requests {
		if limit, ok := r.Limits[name]; !ok || limit.Cmp(request) < 0 {
			t.Errorf("%s: request %s, limit %s", name, request.String(), limit.String())
		}
	}
	if m := r.Limits[corev1.ResourceMemory]; m.CmpInt64(200<<20) > 0 {
		t.Errorf("memory limit %s", m.String())
	}
}
