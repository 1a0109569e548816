package podspec

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

var update = flag.Bool("update", false, "write the golden files")

func claim(name string, mode corev1.PersistentVolumeMode, annotations map[string]string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{VolumeMode: &mode}}
	c.Name, c.Namespace, c.UID, c.Annotations = name, "vms", "6b8c5a0e-0000-4000-8000-000000000001", annotations
	return c
}

func TestGolden(t *testing.T) {
	user := claim("disk", corev1.PersistentVolumeFilesystem, nil)
	prime := claim("prime-"+string(user.UID), corev1.PersistentVolumeFilesystem, nil)
	prime.UID = "6b8c5a0e-0000-4000-8000-000000000002"
	block := claim("disk", corev1.PersistentVolumeBlock, nil)
	full := claim("disk", corev1.PersistentVolumeBlock, map[string]string{
		cdi.AnnPriorityClass:                 "high",
		cdi.AnnServiceAccount:                "importer",
		"k8s.v1.cni.cncf.io/networks":        "storage-net",
		"sidecar.istio.io/inject":            "true",
		"example.com/not-for-pods":           "secret plans",
		"kubectl.kubernetes.io/last-applied": "{}",
	})
	for name, in := range map[string]Input{
		"plain-filesystem": {Claim: user, Working: user},
		"prime-filesystem": {Claim: user, Working: prime, Secret: "login"},
		"plain-block":      {Claim: block, Working: block, CAs: "cas"},
		"everything": {
			Claim: full, Working: full, Secret: "login", CAs: "cas", ProxyCA: true, Headers: []string{"token", "tenant"},
			PullPolicy: corev1.PullAlways, PullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
			Resources: &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}},
			Placement: Placement{
				NodeSelector: map[string]string{"disks": "fast"},
				Tolerations:  []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}},
			},
			Init: []corev1.Container{{Name: "program", Image: "vddk"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in.Job, in.Image = JobName(in.Claim.UID), "registry.example/agent:v1"
			got, err := yaml.Marshal(Import(in))
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestInputIsNotShared(t *testing.T) {
	c := claim("disk", corev1.PersistentVolumeFilesystem, nil)
	mine := &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}}
	pod := Import(Input{Claim: c, Working: c, Resources: mine})
	pod.Spec.Containers[0].Resources.Limits[corev1.ResourceMemory] = resource.MustParse("2Gi")
	if got := mine.Limits.Memory().String(); got != "1Gi" {
		t.Errorf("the caller's limit became %s", got)
	}
}

func TestName(t *testing.T) {
	long := strings.Repeat("a-very-long-name.", 12)
	for _, tt := range []struct{ claim, want string }{
		{"disk", "importer-disk"},
		{"prime-6b8c5a0e-0000-4000-8000-000000000001", "importer-prime-6b8c5a0e-0000-4000-8000-000000000001"},
		{strings.Repeat("x", 54), "importer-" + strings.Repeat("x", 54)},
		{strings.Repeat("x", 55), "importer-" + strings.Repeat("x", 45) + "-"},
		{"my.disk", "importer-my-disk-"},
		{long, "importer-a-very-long-name-a-very-long-name-a-very-long"},
	} {
		got := Name(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: tt.claim}})
		if !strings.HasPrefix(got, tt.want) || len(validation.IsDNS1123Label(got)) > 0 {
			t.Errorf("claim %q: pod %q, want one that begins with %q and is a label", tt.claim, got, tt.want)
		}
	}
	a, b := Name(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "a.b"}}), Name(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "a-b"}})
	if a == b {
		t.Errorf("claims a.b and a-b share pod %q", a)
	}
}

func TestRestricted(t *testing.T) {
	c := claim("disk", corev1.PersistentVolumeBlock, nil)
	pod := Import(Input{Claim: c, Working: c, Secret: "s", CAs: "c", ProxyCA: true, Headers: []string{"h"}})
	s := pod.Spec.Containers[0].SecurityContext
	if ptr.Deref(s.AllowPrivilegeEscalation, true) || !ptr.Deref(s.ReadOnlyRootFilesystem, false) || !ptr.Deref(s.RunAsNonRoot, false) ||
		cmp.Diff(s.Capabilities.Drop, []corev1.Capability{"ALL"}) != "" || ptr.Deref(pod.Spec.AutomountServiceAccountToken, true) {
		t.Errorf("not restricted: %+v", s)
	}
	for _, m := range pod.Spec.Containers[0].VolumeMounts {
		if m.Name != "state" && !m.ReadOnly {
			t.Errorf("mount %s is writable", m.Name)
		}
	}
}
