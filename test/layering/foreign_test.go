package layering

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// foreign are what a user of lib/importer must not get into his binary.
var foreign = []string{
	"k8s.io/", "sigs.k8s.io/", "kubevirt.io/", "github.com/containers/", "go.podman.io/", "github.com/aws/", "github.com/vmware/govmomi",
	"github.com/spf13/cobra", "github.com/spf13/viper", "github.com/schollz/progressbar", "cloud.google.com/",
}

// A module of somebody else, who imports the front door and one source, builds without cgo and without tags, and links
// nothing of the command line, of clusters, registries or clouds.
func TestForeignModule(t *testing.T) {
	ours, dir := root(t), t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", fmt.Sprintf("module example.com/foreign\n\ngo 1.26.0\n\nrequire %s v0.0.0\n\nreplace %s => %s\n", Module, Module, ours))
	write("main.go", `// Command foreign imports a disk from a URL.
package main

import (
	"context"
	"fmt"
	"os"

	"`+Module+`/lib/importer"
	"`+Module+`/lib/source/httpsource"
)

var req importer.Request

var open = httpsource.New

func main() {
	_, err := importer.Import(context.Background(), req)
	fmt.Fprintln(os.Stderr, err)
}
`)
	sum, err := os.ReadFile(filepath.Join(ours, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	write("go.sum", string(sum))
	env := []string{"CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off"}
	goCommand(t, dir, env, "build", "-o", filepath.Join(dir, "foreign"), ".")
	deps := strings.Fields(string(goCommand(t, dir, env, "list", "-deps", ".")))
	importer := false
	for _, d := range deps {
		importer = importer || d == Module+"/lib/importer"
		for _, f := range foreign {
			if strings.HasPrefix(d, f) {
				t.Errorf("a user of lib/importer gets %s", d)
			}
		}
	}
	if !importer {
		t.Errorf("lib/importer is not among %d packages", len(deps))
	}
}
