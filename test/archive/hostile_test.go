//go:build linux

package archive

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// least is how many archives there must be, so that a list which got lost is noticed.
const least = 100

type hostile struct {
	Name string   `json:"name"`
	Exit int      `json:"exit"`
	Says string   `json:"says"`
	Args []string `json:"args"`
}

// TestHostile unpacks every archive that the program craft writes, beside a folder that they aim at. Nothing may change there,
// nor any call have tried to: all are traced.
func TestHostile(t *testing.T) {
	t.Parallel()
	proc.Need(t, "strace")
	bin := proc.TestBinary(t)
	top, trace := t.TempDir(), filepath.Join(t.TempDir(), "trace")
	outside, target, tars := filepath.Join(top, "outside"), filepath.Join(top, "target"), filepath.Join(top, "tars")
	canaries(t, outside)
	for _, d := range []string{target, tars} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// What the target has already must be there afterwards, and be no way to anywhere either.
	if err := os.WriteFile(filepath.Join(target, "kept"), []byte("kept"), 0o640); err != nil {
		t.Fatal(err)
	}
	list := craft(t, outside, tars)
	before, kept := snapshot(t, outside), snapshot(t, target)
	for i, h := range list {
		args := append([]string{bin, "import", "--content", "archive", "--progress", "none", filepath.Join(tars, fmt.Sprintf("%d.tar", i)), target}, h.Args...)
		r, err := proc.Run(t.Context(), traced(proc.Command{Args: args}, trace))
		if err != nil {
			t.Fatal(err)
		}
		message, _, _ := strings.Cut(r.Stderr, "\n")
		t.Logf("%-45s exit %2d  %.2f s  %.150s", h.Name, r.Exit, r.Wall.Seconds(), message)
		switch {
		case r.Exit != h.Exit:
			t.Errorf("%s: exit %d, want %d: %s", h.Name, r.Exit, h.Exit, r.Stderr)
		case r.Exit != 0 && !strings.Contains(r.Stderr, h.Says):
			t.Errorf("%s: %q does not say %q", h.Name, r.Stderr, h.Says)
		case r.Wall > 5*time.Minute:
			t.Errorf("%s took %v", h.Name, r.Wall)
		}
		if err := noStrays(trace, target, outside); err != nil {
			t.Errorf("%s: outside of the target: %v", h.Name, err)
		}
		if d := differ(before, snapshot(t, outside)); d != "" {
			t.Fatalf("%s: outside has changed: %s", h.Name, d)
		}
		if h.Exit == 0 {
			drop(t, target)
		}
		if d := differ(kept, snapshot(t, target)); d != "" {
			t.Fatalf("%s: the target has changed: %s", h.Name, d)
		}
		if names := entries(t, top); names != "outside target tars" {
			t.Fatalf("%s: beside the target there is %s", h.Name, names)
		}
	}
	if len(list) < least {
		t.Errorf("%d archives, want at least %d", len(list), least)
	}
	t.Logf("%d archives, nothing outside has changed", len(list))
}

// canaries makes the folder that archives aim at.
func canaries(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "canary"), []byte("alive"), 0o604); err != nil {
		t.Fatal(err)
	}
	old := time.Unix(1_500_000_000, 123_456_789)
	for _, p := range []string{filepath.Join(dir, "canary"), dir} {
		if err := os.Chtimes(p, old, old); err != nil {
			t.Fatal(err)
		}
	}
}

func craft(t *testing.T, outside, dir string) (list []hostile) {
	t.Helper()
	root, err := proc.Root()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "craft")
	if _, err := proc.Tool(t.Context(), "go", "build", "-C", root, "-o", path, "./lib/internal/testimage/craft"); err != nil {
		t.Fatal(err)
	}
	out, err := proc.Tool(t.Context(), path, "-archives", outside, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// drop removes what was unpacked.
func drop(t *testing.T, target string) {
	t.Helper()
	fi, err := os.Stat(target)
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(target)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Name() == ".cdictl-archive" {
			t.Error("the hidden folder is there after success")
		}
		if e.Name() != "kept" {
			if err := os.RemoveAll(filepath.Join(target, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chtimes(target, fi.ModTime(), fi.ModTime()); err != nil {
		t.Fatal(err)
	}
}

func entries(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}
