package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// maxImage is what an image may have, unpacked.
const maxImage = 80_000_000

// user is who the agent is: 107 is qemu in KubeVirt, which owns the disks.
const user = "107:107"

// file is one of the image's; a folder has no content.
type file struct {
	path string
	mode int64
	data []byte
}

// machines are the ELF names of architectures.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// readProgram reads a static program for this architecture: in an image without anything else no other would start.
func readProgram(path, arch string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if want, ok := machines[arch]; !ok || f.Machine != want {
		return nil, fmt.Errorf("%s is for %s, not for %s", path, f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("%s is linked dynamically: build it with CGO_ENABLED=0", path)
		}
	}
	return b, nil
}

// pack makes the image of one architecture.
func pack(o options, arch string, program []byte) (v1.Image, error) {
	// The certificates change more seldom than the program, so they are a layer of their own.
	layers := [][]file{
		{
			{path: "etc/", mode: 0o755},
			{path: "etc/group", mode: 0o644, data: []byte("qemu:x:107:\n")},
			{path: "etc/passwd", mode: 0o644, data: []byte("qemu:x:107:107:cdi-agent:/:/nonexistent\n")},
			{path: "etc/ssl/", mode: 0o755},
			{path: "etc/ssl/certs/", mode: 0o755},
			{path: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: roots()},
		},
		{{path: "agent", mode: 0o755, data: program}},
	}
	config := &v1.ConfigFile{
		Architecture: arch, OS: "linux", Created: v1.Time{Time: o.created},
		Config: v1.Config{
			User: user, Entrypoint: []string{"/agent"}, WorkingDir: "/",
			Labels: map[string]string{
				"org.opencontainers.image.title":       "cdictl agent",
				"org.opencontainers.image.description": "Fills the claims of DataVolumes",
				"org.opencontainers.image.source":      "https://github.com/cdictl/cdictl",
				"org.opencontainers.image.licenses":    "Apache-2.0",
				"org.opencontainers.image.version":     o.version,
				"org.opencontainers.image.revision":    o.revision,
			},
		},
		RootFS: v1.RootFS{Type: "layers"},
	}
	img, err := mutate.ConfigFile(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), config)
	if err != nil {
		return nil, err
	}
	size := 0
	for _, files := range layers {
		for _, f := range files {
			size += len(f.data)
		}
		b, err := archive(files, o.created)
		if err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil },
			tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, err
		}
		history := v1.History{Created: v1.Time{Time: o.created}, CreatedBy: "cdictl image: " + path.Base(files[len(files)-1].path)}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: history, MediaType: types.OCILayer}); err != nil {
			return nil, err
		}
	}
	if size > maxImage {
		return nil, fmt.Errorf("the image for %s has %d bytes, %d are the limit", arch, size, maxImage)
	}
	return img, nil
}

// archive is a tar of root's files, all of the same age.
func archive(files []file, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.path, Mode: f.mode, Size: int64(len(f.data)), ModTime: at, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if f.data == nil {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// roots is Mozilla's list of authorities as the Go project publishes it, pinned by go.mod: a Debian package would be another
// one on every machine. Those that are trusted under a condition (certificates issued before some day) are left out,
// because a file of certificates cannot say it. A cluster that trusts others mounts its own file there.
func roots() []byte {
	var b bytes.Buffer
	for r := range bundle.Roots() {
		if r.Constraint == nil {
			b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate}))
		}
	}
	return b.Bytes()
}
