package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// hello builds a static program for an architecture.
func hello(t *testing.T, arch string) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, "agent"), source)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(dir, "agent")
}

func TestImage(t *testing.T) {
	programs := []string{"amd64=" + hello(t, "amd64"), "arm64=" + hello(t, "arm64")}
	built := func() string {
		t.Helper()
		dir := t.TempDir()
		o, err := parse(append([]string{"-name", "registry.example/cdictl/agent:v1", "-created", "2026-11-01T00:00:00Z", "-out", dir}, programs...))
		if err != nil {
			t.Fatal(err)
		}
		if err := build(o); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	one, two := built(), built()
	names := []string{"cdictl-agent_linux_amd64.tar", "cdictl-agent_linux_arm64.tar", "cdictl-agent_oci.tar"}
	for _, name := range names {
		a, errA := os.ReadFile(filepath.Join(one, name))
		b, errB := os.ReadFile(filepath.Join(two, name))
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s: two builds differ", name)
		}
	}
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := tarball.ImageFromPath(filepath.Join(one, "cdictl-agent_linux_"+arch+".tar"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(img); err != nil {
			t.Error(err)
		}
		c, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if c.Architecture != arch || c.OS != "linux" || c.Config.User != user || !slices.Equal(c.Config.Entrypoint, []string{"/agent"}) {
			t.Errorf("%s: config is %+v", arch, c)
		}
		want := map[string]string{
			"etc/": "-rwxr-xr-x", "etc/group": "-rw-r--r--", "etc/passwd": "-rw-r--r--", "etc/ssl/": "-rwxr-xr-x", "etc/ssl/certs/": "-rwxr-xr-x",
			"etc/ssl/certs/ca-certificates.crt": "-rw-r--r--", "agent": "-rwxr-xr-x",
		}
		if diff := gocmp.Diff(want, contents(t, img)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", arch, diff)
		}
	}
	for path, want := range map[string]string{"oci-layout": "imageLayoutVersion", "index.json": `"io.containerd.image.name": "registry.example/cdictl/agent:v1"`} {
		if got := member(t, filepath.Join(one, "cdictl-agent_oci.tar"), path); !strings.Contains(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
	var index v1.IndexManifest
	if err := json.Unmarshal([]byte(member(t, filepath.Join(one, "cdictl-agent_oci.tar"), "index.json")), &index); err != nil || len(index.Manifests) != 1 {
		t.Errorf("the index has %d manifests (%v)", len(index.Manifests), err)
	}
}

// contents are the names and modes of an image's files.
func contents(t *testing.T, img v1.Image) map[string]string {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got[h.Name] = h.FileInfo().Mode().Perm().String()
		}
		r.Close()
	}
	return got
}

// member is one file of a tar.
func member(t *testing.T, path, name string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if err != nil {
			t.Fatalf("%s: %s: %v", path, name, err)
		}
		if h.Name == name {
			b, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
	}
}

func TestRoots(t *testing.T) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots()) || bytes.Count(roots(), []byte("BEGIN CERTIFICATE")) < 80 {
		t.Errorf("%d bytes of certificates", len(roots()))
	}
}

func TestRefused(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := readProgram(text, "amd64"); err == nil {
		t.Error("a script was taken")
	}
	if _, err := readProgram(hello(t, "arm64"), "amd64"); err == nil || !strings.Contains(err.Error(), "not for amd64") {
		t.Errorf("another architecture: %v", err)
	}
	if runtime.GOOS == "linux" {
		if _, err := readProgram("/bin/sh", runtime.GOARCH); err == nil || !strings.Contains(err.Error(), "dynamically") {
			t.Errorf("a dynamic program: %v", err)
		}
	}
	for _, args := range [][]string{
		{"amd64=x"}, {"-name", "x:1"}, {"-name", "x:1", "amd64"}, {"-name", "x:1", "amd64=a", "amd64=b"},
		{"-name", "x:1", "-created", "yesterday", "amd64=a"}, {"-name", "X Y", "amd64=a"},
	} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
