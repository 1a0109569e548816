package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/kube"
)

// TestExamples applies the examples that the matrix does not, with URLs, password, certificate and checksum that are ours.
func TestExamples(t *testing.T) {
	b := on(t)
	image := small(t)
	tried := map[string]bool{"http.yaml": true, "blank.yaml": true}
	try := func(file string, f func(t *testing.T, s space, objects map[string]kube.Object)) {
		tried[file] = true
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			s := b.newSpace(t)
			objects := map[string]kube.Object{}
			list := s.example(t, file)
			for _, o := range list {
				objects[o.Text("kind")] = o
			}
			for _, kind := range []string{"DataVolume", "VolumeImportSource"} {
				if o, ok := objects[kind]; ok && o.At("spec", "source", "http") != nil {
					o.Set(image.url(), "spec", "source", "http", "url")
				}
			}
			f(t, s, objects)
		})
	}

	try("http-private.yaml", func(t *testing.T, s space, o map[string]kube.Object) {
		own := b.copyOf(t, image)
		b.misbehave(t, rule{"path": "/" + own.name, "user": "importer", "password": "change-me"})
		ca, err := b.Raw(t.Context(), http.MethodGet, b.server+"/ca.pem", "", nil)
		must(t, err)
		o["ConfigMap"].Set(string(ca), "data", "ca.pem")
		o["DataVolume"].Set(strings.Replace(own.url(), "http:", "https:", 1), "spec", "source", "http", "url")
		o["DataVolume"].Set("sha256:"+own.stored, "spec", "source", "http", "checksum")
		s.filled(t, o, volume{name: "private"}, own)
	})
	try("blank-block.yaml", func(t *testing.T, s space, o map[string]kube.Object) {
		s.filled(t, o, volume{name: "empty-block", block: true}, blank)
	})
	try("now.yaml", func(t *testing.T, s space, o map[string]kube.Object) {
		for _, c := range b.classes {
			if c.wffc {
				o["DataVolume"].Set(c.name, "spec", "storage", "storageClassName")
				break
			}
		}
		s.filled(t, o, volume{name: "now"}, image)
	})
	try("claim.yaml", func(t *testing.T, s space, o map[string]kube.Object) {
		o["PersistentVolumeClaim"].Set(b.quick().name, "spec", "storageClassName")
		for _, object := range o {
			must(t, s.Apply(t.Context(), object))
		}
		s.holds(t, volume{name: "from-cirros"}, image)
		claim, err := s.Get(t.Context(), s.path("persistentvolumeclaims", "from-cirros"))
		must(t, err)
		if got := claim.Annotation("cdi.kubevirt.io/storage.pod.phase"); got != "Succeeded" {
			t.Errorf("the claim says pod.phase %q, want Succeeded", got)
		}
		s.tidyBut(t, "volumeimportsources")
	})

	files, err := filepath.Glob(filepath.Join(b.root, "examples/kubernetes/*.yaml"))
	must(t, err)
	for _, f := range files {
		if !tried[filepath.Base(f)] {
			t.Errorf("nothing tries %s", f)
		}
	}
	if _, err := os.Stat(filepath.Join(b.root, "examples/kubernetes/README.md")); err != nil {
		t.Error(err)
	}
}

// filled applies an example, waits for its DataVolume and looks at the disk.
func (s space) filled(t *testing.T, objects map[string]kube.Object, v volume, want picture) {
	t.Helper()
	for _, kind := range []string{"Secret", "ConfigMap", "DataVolume"} {
		if o, ok := objects[kind]; ok {
			must(t, s.Apply(t.Context(), o))
		}
	}
	s.succeed(t, v.name)
	s.holds(t, v, want)
	s.tidy(t)
}
