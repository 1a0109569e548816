// Package proc runs the real cdictl binary, and the tools beside it, the way a shell would: a process with its own
// exit status, output and resource account.
package proc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Root is the top of the work tree: the folder of the first go.mod above the current one.
var Root = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod above the current folder")
		}
	}
})

// Binary is the cdictl to test: CDICTL_BIN (relative to the top of the work tree) if set, else one built into dir from
// the work tree as it is. Building is what keeps a forgotten `make build` from testing yesterday's program.
func Binary(dir string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	if bin := os.Getenv("CDICTL_BIN"); bin != "" {
		if !filepath.IsAbs(bin) {
			bin = filepath.Join(root, bin)
		}
		_, err := os.Stat(bin)
		return bin, err
	}
	if err := statSources(root); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "cdictl")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/cdictl")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/cdictl: %w\n%s", err, out)
	}
	return bin, nil
}

// statSources looks at every source of the binary, so that `go test` knows what its cached verdict depends on.
func statSources(root string) error {
	for _, top := range []string{"cmd", "lib", "go.mod"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, _ os.DirEntry, err error) error {
			if err == nil {
				_, err = os.Lstat(path)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// TestBinary is Binary for a test, built once per call into a folder of the test's own.
func TestBinary(t *testing.T) string {
	t.Helper()
	bin, err := Binary(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// Need ends the test if a tool is absent: it is skipped, or fails where CDICTL_REQUIRE_TOOLS is 1.
func Need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			Lacking(t, tool+" is not installed")
		}
	}
}

// Lacking skips the test because the machine lacks something, or fails it where CDICTL_REQUIRE_TOOLS is 1.
func Lacking(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CDICTL_REQUIRE_TOOLS") == "1" {
		t.Fatalf("%s, and CDICTL_REQUIRE_TOOLS=1", what)
	}
	t.Skip(what)
}
