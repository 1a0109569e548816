package datavolume

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

var update = flag.Bool("update", false, "write the golden files")

// TestShapes holds the claims and sources that DataVolumes get to their golden files.
func TestShapes(t *testing.T) {
	w := newWorld(t)
	w.run()
	for name, options := range map[string][]option{
		"blank": nil,
		"http":  {fromHTTP},
		"all": {fromHTTP, annotated("team", "storage", corev1.LastAppliedConfigAnnotation, "{}", cdi.AnnPodPhase, "Succeeded", cdi.AnnPopulatedFor, "all"), func(dv *cdiv1.DataVolume) {
			dv.Labels["vm"] = "web"
			dv.Spec.PriorityClassName, dv.Spec.ServiceAccountName = "high", "importer"
			yes := true
			dv.Spec.Preallocation = &yes
		}},
	} {
		for _, form := range []string{"storage", "pvc"} {
			for _, mode := range []string{"fs", "block"} {
				for _, class := range []string{classNow, classLate, localNow, localLate} {
					if name == "all" && (form == "pvc" || mode == "block" || class == classLate || class == localLate) {
						continue // the same again
					}
					full := strings.Join([]string{name, form, mode, class}, "-")
					all := append([]option{}, options...)
					if mode == "fs" {
						all = append(all, filesystem)
					} else if form == "pvc" {
						all = append(all, func(dv *cdiv1.DataVolume) { m := corev1.PersistentVolumeBlock; dv.Spec.Storage.VolumeMode = &m })
					}
					if form == "pvc" {
						all = append(all, pvcForm)
					}
					t.Run(full, func(t *testing.T) {
						sub := *w
						sub.T = t
						sub.dataVolume(full, class, all...)
						want := cdiv1.Pending
						switch class {
						case classLate:
							want = cdiv1.PendingPopulation
						case localLate:
							want = cdiv1.WaitForFirstConsumer
						}
						dv := sub.await(full, want)
						if dv.Status.ClaimName != full || dv.Status.Progress != "N/A" {
							t.Errorf("status %+v", dv.Status)
						}
						goldenShape(&sub, dv)
					})
				}
			}
		}
	}
}

func goldenShape(w *world, dv *cdiv1.DataVolume) {
	w.Helper()
	objects := []client.Object{w.claim(dv.Name)}
	if s, err := w.source(dv); client.IgnoreNotFound(err) != nil {
		w.Fatal(err)
	} else if err == nil {
		objects = append(objects, s)
	}
	var text strings.Builder
	for _, o := range objects {
		o.SetManagedFields(nil)
		o.SetCreationTimestamp(metav1.Time{})
		o.SetResourceVersion("")
		o.SetGeneration(0)
		uid := string(o.GetUID())
		b, err := json.Marshal(o)
		w.must(err)
		s := strings.NewReplacer(w.ns, "NAMESPACE", string(dv.UID), "UID-OF-DV", uid, "UID").Replace(string(b))
		y, err := yaml.JSONToYAML([]byte(s))
		w.must(err)
		text.WriteString("---\n" + string(y))
	}
	path := filepath.Join("testdata", "shape", dv.Name+".yaml")
	if *update {
		w.must(os.MkdirAll(filepath.Dir(path), 0o755))
		w.must(os.WriteFile(path, []byte(text.String()), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	w.must(err)
	if d := cmp.Diff(string(want), text.String()); d != "" {
		w.Errorf("%s (-want +got; -update writes it):\n%s", path, d)
	}
}

// TestGateOff: without the gate, claims do not wait for consumers.
func TestGateOff(t *testing.T) {
	w := newWorld(t)
	config := &cdiv1.CDIConfig{ObjectMeta: metav1.ObjectMeta{Name: cdi.ConfigName}, Spec: cdiv1.CDIConfigSpec{FeatureGates: []string{"Other"}}}
	w.create(config)
	t.Cleanup(func() { w.must(w.env.Client.Delete(after(t), config)) })
	w.run()
	w.dataVolume("disk", classLate)
	w.await("disk", cdiv1.Pending)
	if _, ok := w.claim("disk").Annotations[cdi.AnnImmediateBinding]; !ok {
		t.Error("the claim waits for its consumer")
	}
	apitest.Within(t, patience, func() error { return w.env.Exists(t.Context(), w.ns, "disk", &corev1.PersistentVolumeClaim{}) })
}

func TestNotSupported(t *testing.T) {
	w := newWorld(t)
	w.run()
	for name, o := range map[string]option{
		"s3": func(dv *cdiv1.DataVolume) {
			dv.Spec.Source = &cdiv1.DataVolumeSource{S3: &cdiv1.DataVolumeSourceS3{URL: "https://s3/b/k"}}
		},
		"upload": func(dv *cdiv1.DataVolume) {
			dv.Spec.Source = &cdiv1.DataVolumeSource{Upload: &cdiv1.DataVolumeSourceUpload{}}
		},
		"source-ref": func(dv *cdiv1.DataVolume) {
			dv.Spec.Source, dv.Spec.SourceRef = nil, &cdiv1.DataVolumeSourceRef{Kind: "DataSource", Name: "x"}
		},
		"archive": func(dv *cdiv1.DataVolume) { fromHTTP(dv); dv.Spec.ContentType = cdiv1.DataVolumeArchive },
	} {
		w.dataVolume(name, classNow, o)
		dv := w.awaitReason(name, reasonNotSupported)
		for _, c := range dv.Status.Conditions {
			if c.Status != corev1.ConditionFalse || c.Reason != reasonNotSupported {
				t.Errorf("%s: condition %+v", name, c)
			}
		}
		if dv.Status.Phase != cdiv1.Pending {
			t.Errorf("%s: phase %s", name, dv.Status.Phase)
		}
		if err := w.env.Exists(t.Context(), w.ns, name, &corev1.PersistentVolumeClaim{}); err == nil {
			t.Errorf("%s: has a claim", name)
		}
	}
}
