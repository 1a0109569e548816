package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// ManifestType is the media type of a Container's manifest.
const ManifestType = "application/vnd.oci.image.manifest.v1+json"

// Container is a container image of one layer that holds a disk.
type Container struct{ Layer, Config, Manifest []byte }

// Digest is how an image names b.
func Digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// NewContainer packs the file at path as the disk of a container disk.
func NewContainer(path string) (*Container, error) {
	disk, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &Container{}
	if c.Layer, err = packed(member{"disk/" + filepath.Base(path), disk}); err != nil {
		return nil, err
	}
	var m any = map[string]any{"os": "linux", "architecture": runtime.GOARCH, "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{Digest(c.Layer)}}}
	if c.Config, err = json.Marshal(m); err != nil {
		return nil, err
	}
	m = map[string]any{"schemaVersion": 2, "mediaType": ManifestType,
		"config": descriptorOf("application/vnd.oci.image.config.v1+json", c.Config),
		"layers": []any{descriptorOf("application/vnd.oci.image.layer.v1.tar", c.Layer)}}
	c.Manifest, err = json.Marshal(m)
	return c, err
}

func descriptorOf(kind string, b []byte) map[string]any {
	return map[string]any{"mediaType": kind, "digest": Digest(b), "size": len(b)}
}

type member struct {
	name string
	data []byte
}

// layout are the files of an OCI layout with the image under the tag v1.
func (c *Container) layout() ([]member, error) {
	d := descriptorOf(ManifestType, c.Manifest)
	d["annotations"] = map[string]string{"org.opencontainers.image.ref.name": "v1"}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{d}})
	files := []member{{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {"index.json", index}}
	for _, b := range [][]byte{c.Manifest, c.Config, c.Layer} {
		files = append(files, member{"blobs/" + strings.Replace(Digest(b), ":", "/", 1), b})
	}
	return files, err
}

// WriteLayout writes an OCI layout into dir, with the image as v1.
func (c *Container) WriteLayout(dir string) error {
	files, err := c.layout()
	if err != nil {
		return err
	}
	for _, f := range files {
		at := filepath.Join(dir, f.name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, f.data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// WriteArchive writes the layout as a tar, for oci-archive:.
func (c *Container) WriteArchive(path string) error {
	files, err := c.layout()
	return writePacked(path, err, files)
}

// WriteDockerArchive writes what docker save does, with the image as disk:v1.
func (c *Container) WriteDockerArchive(path string) error {
	m, err := json.Marshal([]any{map[string]any{"Config": "config.json", "RepoTags": []string{"disk:v1"}, "Layers": []string{"layer.tar"}}})
	return writePacked(path, err, []member{{"layer.tar", c.Layer}, {"config.json", c.Config}, {"manifest.json", m}})
}

func writePacked(path string, err error, files []member) error {
	if err != nil {
		return err
	}
	b, err := packed(files...)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

func packed(files ...member) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o440, Uid: 107, Gid: 107, Size: int64(len(f.data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}
