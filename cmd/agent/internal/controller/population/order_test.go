package population

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

func TestFlowOf(t *testing.T) {
	for _, tt := range []struct {
		name    string
		changes []change
		want    flow
	}{
		{"nothing", []change{func(w *world) { w.claim.Annotations = nil }}, foreign},
		{"endpoint", []change{annotated(cdi.AnnEndpoint, "https://x")}, direct},
		{"source", []change{annotated(cdi.AnnSource, "none")}, direct},
		{"source, not to be through PVC′", []change{annotated(cdi.AnnSource, "http"), annotated(cdi.AnnUsePopulator, "false")}, direct},
		{"source, to be through PVC′, which the server does not offer", []change{annotated(cdi.AnnSource, "http"), annotated(cdi.AnnUsePopulator, "true")}, foreign},
		{"dataSourceRef of ours", []change{func(w *world) { w.claim.Spec.DataSourceRef = newWorld(viaPrime).claim.Spec.DataSourceRef }}, viaPrime},
		{"dataSourceRef of ours, with annotations", []change{annotated(cdi.AnnSource, "http"), func(w *world) {
			w.claim.Spec.DataSourceRef = newWorld(viaPrime).claim.Spec.DataSourceRef
		}}, viaPrime},
		{"dataSourceRef of another kind", []change{annotated(cdi.AnnSource, "http"), func(w *world) {
			w.claim.Spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: ptr.To(cdi.Group), Kind: "VolumeCloneSource", Name: "x"}
		}}, foreign},
		{"dataSource", []change{annotated(cdi.AnnSource, "http"), func(w *world) {
			w.claim.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "x"}
		}}, foreign},
		{"filled by a backup", []change{annotated(cdi.AnnSource, "http"), annotated(cdi.AnnPopulatedFor, "disk")}, foreign},
		{"filled by another", []change{annotated(cdi.AnnSource, "http"), annotated(cdi.AnnPodPhase, "Succeeded")}, foreign},
		{"being filled by us", []change{annotated(cdi.AnnSource, "http"), annotated(cdi.AnnPodPhase, "Succeeded"), said(cdi.Population{State: cdi.StatePublishing})}, direct},
	} {
		w := newWorld(direct)
		delete(w.claim.Annotations, cdi.AnnSource)
		delete(w.claim.Annotations, cdi.AnnEndpoint)
		for _, c := range tt.changes {
			c(w)
		}
		if got := flowOf(w.claim); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestFromAnnotations(t *testing.T) {
	w := newWorld(direct)
	a := w.claim.Annotations
	a[cdi.AnnSource] = "no such source" // http, as ever
	for i, v := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"} {
		a[cdi.AnnExtraHeaders+v] = string(rune('a'+i)) + ": x"
	}
	a[cdi.AnnExtraHeaders+"x"] = "not numbered"
	spec, err := fromAnnotations(w.claim)
	if err != nil {
		t.Fatal(err)
	}
	if h := spec.Source.HTTP; h == nil || strings.Join(h.ExtraHeaders, ",") != "a: x,b: x,c: x,d: x,e: x,f: x,g: x,h: x,i: x,j: x,k: x" {
		t.Errorf("got %+v", spec.Source)
	}
	a[cdi.AnnSource] = "none"
	if spec, err = fromAnnotations(w.claim); err != nil || spec.Source.Blank == nil || spec.Source.HTTP != nil {
		t.Errorf("none: %+v, %v", spec, err)
	}
	a[cdi.AnnSource], a[cdi.AnnInsecureSkipVerify] = "http", "perhaps"
	if _, err = fromAnnotations(w.claim); err == nil || !strings.Contains(err.Error(), "insecureSkipVerify") {
		t.Errorf("perhaps: %v", err)
	}
	for _, kind := range []string{"s3", "gcs", "registry", "imageio", "vddk"} {
		a[cdi.AnnSource] = kind
		if spec, err = fromAnnotations(w.claim); err == nil {
			err = check(spec, "it")
		}
		if err == nil || !strings.Contains(err.Error(), "source "+kind+" is not supported") {
			t.Errorf("%s: %v", kind, err)
		}
	}
	a[cdi.AnnSource], a[cdi.AnnInsecureSkipVerify], a[cdi.AnnContentType] = "http", "", "archive"
	if spec, err = fromAnnotations(w.claim); err == nil {
		err = check(spec, "it")
	}
	if err == nil || !strings.Contains(err.Error(), "archive") {
		t.Errorf("archive: %v", err)
	}
}

func TestOrderOf(t *testing.T) {
	blank := func(w *world) { w.source.Source = &cdiv1.ImportSourceType{Blank: &cdiv1.DataVolumeBlankImage{}} }
	onBlock := func(w *world) { w.claim.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock) }
	config := func(s cdiv1.CDIConfigStatus) change {
		return func(w *world) { w.config = &cdiv1.CDIConfig{Status: s} }
	}
	id := 107
	file := job.Target{File: "/data/disk.img", Size: 1 << 30, Overhead: "0.06", Replace: true, Mode: "0660", UID: &id, GID: &id}
	web := func(h job.HTTP) job.Source {
		h.URL = "https://images.example/disk.qcow2"
		return job.Source{HTTP: &h}
	}
	for _, tt := range []struct {
		name    string
		changes []change
		want    job.Spec
	}{
		{"http into a file", nil, job.Spec{Source: web(job.HTTP{}), Target: file}},
		{"blank onto a device", []change{blank, onBlock}, job.Spec{
			Source: job.Source{Blank: &job.Blank{}}, Target: job.Target{Device: "/dev/cdi-block-volume", Size: 1 << 30, Replace: true}, StateDir: "/state",
		}},
		{"overhead of the class", []change{config(cdiv1.CDIConfigStatus{FilesystemOverhead: &cdiv1.FilesystemOverhead{
			Global: "0.1", StorageClass: map[string]cdiv1.Percent{"fast": "0.025"},
		}})}, job.Spec{Source: web(job.HTTP{}), Target: func() job.Target { f := file; f.Overhead = "0.025"; return f }()}},
		{"preallocation for all", []change{config(cdiv1.CDIConfigStatus{Preallocation: true})}, job.Spec{Source: web(job.HTTP{}), Target: file, Preallocate: true}},
		{"preallocation for all but this", []change{config(cdiv1.CDIConfigStatus{Preallocation: true}), func(w *world) { w.source.Preallocation = ptr.To(false) }},
			job.Spec{Source: web(job.HTTP{}), Target: file}},
		{"preallocation by annotation", []change{annotated(cdi.AnnPreallocRequest, "true")}, job.Spec{Source: web(job.HTTP{}), Target: file, Preallocate: true}},
		{"proxy", []change{config(cdiv1.CDIConfigStatus{ImportProxy: &cdiv1.ImportProxy{
			HTTPProxy: ptr.To("http://plain:1"), HTTPSProxy: ptr.To("http://u:p@safe:2"), TrustedCAProxy: ptr.To("cas"),
		}})}, job.Spec{Source: web(job.HTTP{Proxy: "http://u:p@safe:2", CAPath: "/job/ca"}), Target: file}},
		{"no proxy", []change{config(cdiv1.CDIConfigStatus{ImportProxy: &cdiv1.ImportProxy{
			HTTPSProxy: ptr.To("http://safe:2"), NoProxy: ptr.To(".example"), TrustedCAProxy: ptr.To("cas"),
		}})}, job.Spec{Source: web(job.HTTP{}), Target: file}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(viaPrime)
			for _, c := range tt.changes {
				c(w)
			}
			got, err := orderOf(w)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Version, tt.want.UID = job.Version, claimUID
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	w := newWorld(viaPrime)
	w.source.Source.HTTP.URL = "https://user:hunter2@/"
	if _, err := orderOf(w); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a URL without a host: %v", err)
	}
	w = newWorld(viaPrime)
	w.claim.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("0")
	blank(w)
	if _, err := orderOf(w); err == nil {
		t.Error("an empty disk of no size")
	}
}
