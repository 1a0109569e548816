package layering

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the folder of our module.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// goCommand runs go in dir; env comes on top of ours.
func goCommand(t *testing.T, dir string, env []string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// graph lists our packages as they are built for a system.
func graph(t *testing.T, system string) []pkg {
	t.Helper()
	out := goCommand(t, root(t), []string{"GOOS=" + system, "CGO_ENABLED=0"},
		"list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

var systems = []string{"linux", "darwin", "windows"}

func TestArrows(t *testing.T) {
	for _, system := range systems {
		t.Run(system, func(t *testing.T) {
			all := graph(t, system)
			if len(all) < 20 {
				t.Fatalf("go list found %d packages only", len(all))
			}
			for _, p := range all {
				for _, to := range p.Imports {
					if wrong := Check(p.ImportPath, to); wrong != "" {
						t.Error(wrong)
					}
				}
			}
		})
	}
}

// Cluster clients, registries and clouds do not come into lib by way of a test either: a user's module graph has them. Where
// a package has one by the rules, so may its tests.
func TestModulesOfTests(t *testing.T) {
	for _, p := range graph(t, "linux") {
		if !strings.HasPrefix(p.ImportPath, Module+"/lib/") {
			continue
		}
		for _, to := range slices.Concat(p.TestImports, p.XTestImports) {
			if slices.ContainsFunc(foreign, func(f string) bool {
				has := func(path string) bool { return strings.HasPrefix(path, f) }
				return has(to) && !slices.ContainsFunc(p.Imports, has)
			}) {
				t.Errorf("a test of %s imports %s", p.ImportPath, to)
			}
		}
	}
}

// The rules themselves: what is forbidden is found, what is needed is allowed.
func TestCheck(t *testing.T) {
	tests := []struct {
		from, to string
		ok       bool
	}{
		{"lib/source/httpsource", "lib/source", true},
		{"lib/source/httpsource", "lib/internal/httprange", true},
		{"lib/source/httpsource", "lib/format/qcow2", false},
		{"lib/source/httpsource", "lib/source/filesource", false},
		{"lib/source/byurl", "lib/source/filesource", true},
		{"lib/importer", "lib/source/httpsource", false},
		{"lib/importer", "lib/source/byurl", false},
		{"lib/importer", "lib/sink/filesink", false},
		{"lib/importer", "lib/transfer", true},
		{"lib/transfer", "lib/importer", false},
		{"lib/transfer", "lib/plan", false},
		{"lib/format/qcow2", "lib/format/raw", false},
		{"lib/format/qcow2", "lib/format", false},
		{"lib/format", "lib/format/qcow2", true},
		{"lib/compress", "lib/format", false},
		{"lib/errdef", "lib/limits", false},
		{"lib/importer", "cmd/cdictl/cli", false},
		{"cmd/cdictl/cli", "lib/source/byurl", true},
		{"cmd/cdictl/cli", "lib/internal/testserver", false},
		{"lib/importer", "lib/format/formattest", false},
		{"lib/nowhere", "lib/errdef", false},
	}
	for _, tt := range tests {
		if got := Check(Module+"/"+tt.from, Module+"/"+tt.to); (got == "") != tt.ok {
			t.Errorf("%s → %s: %q", tt.from, tt.to, got)
		}
	}
	for to, ok := range map[string]bool{
		"os": true, "net/http": true, "log": false, "log/slog": false, "flag": false, "golang.org/x/sync/errgroup": true,
		"github.com/spf13/cobra": false, "k8s.io/client-go/kubernetes": false, "golang.org/x/net/http2": false,
	} {
		if got := Check(Module+"/lib/importer", to); (got == "") != ok {
			t.Errorf("lib/importer → %s: %q", to, got)
		}
	}
	if got := Check(Module+"/cmd/agent", "k8s.io/client-go/kubernetes"); got != "" {
		t.Error(got)
	}
}
