package servers

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
)

// Registry is a distribution/distribution that everybody may use.
type Registry struct{ URL string }

// StartRegistry runs one until the test ends.
func StartRegistry(t testing.TB) *Registry {
	t.Helper()
	bin := tool(t, "registry", "github.com/distribution/distribution/v3/cmd/registry")
	dir := t.TempDir()
	return &Registry{"http://" + run(t, bin, []string{"OTEL_TRACES_EXPORTER=none"}, func(host, port string) []string {
		config := filepath.Join(dir, "config.yml")
		must(t, os.WriteFile(config, fmt.Appendf(nil, "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\n"+
			"storage:\n  filesystem:\n    rootdirectory: %q\n  maintenance:\n    uploadpurging:\n      enabled: false\n"+
			"http:\n  secret: for tests\n  addr: %s:%s\n", filepath.Join(dir, "store"), host, port), 0o600))
		return []string{"serve", config}
	})}
}

// Put pushes a container disk by the registry's API alone.
func (r *Registry) Put(t testing.TB, repo, tag string, c *images.Container) {
	t.Helper()
	for _, b := range [][]byte{c.Layer, c.Config} {
		at := send(t, http.MethodPost, r.URL+"/v2/"+repo+"/blobs/uploads/", "", nil)
		if at == nil {
			t.Fatal("the registry does not say where to upload")
		}
		q := at.Query()
		q.Set("digest", images.Digest(b))
		at.RawQuery = q.Encode()
		send(t, http.MethodPut, at.String(), "application/octet-stream", b)
	}
	send(t, http.MethodPut, r.URL+"/v2/"+repo+"/manifests/"+tag, images.ManifestType, c.Manifest)
}
