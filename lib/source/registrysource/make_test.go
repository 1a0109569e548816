package registrysource

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// A file of a test's layer. A name that ends in / is a folder; link makes a hard link, sym a symbolic one.
type file struct {
	name, content, link, sym string
}

func makeTar(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o440, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		switch {
		case f.link != "":
			h.Typeflag, h.Linkname = tar.TypeLink, f.link
		case f.sym != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.sym
		case f.name[len(f.name)-1] == '/':
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed) // under the race detector the default takes seconds
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// made is an image of a test: its blobs by digest, and what names it.
type made struct {
	blobs map[string][]byte
	root  descriptor
}

func (m *made) add(kind string, b []byte) descriptor {
	d := descriptor{MediaType: kind, Digest: sum256(b).String(), Size: int64(len(b))}
	m.blobs[d.Digest] = b
	return d
}

func (m *made) json(kind string, v any) descriptor {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return m.add(kind, b)
}

// makeImage makes an image of these layers, from the bottom. settings are the configuration's "config".
func makeImage(p platform, settings map[string]any, layers ...[]byte) *made {
	m := &made{blobs: map[string][]byte{}}
	m.root = m.image(p, settings, layers...)
	return m
}

func (m *made) image(p platform, settings map[string]any, layers ...[]byte) descriptor {
	var list []descriptor
	for _, l := range layers {
		kind := typeLayer
		if l[0] == 0x1f {
			kind += "+gzip"
		} else if l[0] == 0x28 && l[1] == 0xb5 {
			kind += "+zstd"
		}
		list = append(list, m.add(kind, l))
	}
	config := map[string]any{"os": p.OS, "architecture": p.Architecture, "config": settings, "rootfs": map[string]any{"type": "layers"}}
	d := m.json(typeManifest, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "config": m.json(typeConfig, config), "layers": list})
	d.Platform = &p
	return d
}

func (m *made) index(list ...descriptor) {
	m.root = m.json(typeIndex, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": list})
}

// files are those of an OCI layout.
func (m *made) files(name string) map[string][]byte {
	d := m.root
	if name != "" {
		d.Annotations = map[string]string{refName: name}
	}
	index, _ := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{d}})
	out := map[string][]byte{"index.json": index, "oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	for digest, b := range m.blobs {
		out["blobs/sha256/"+digest[len("sha256:"):]] = b
	}
	return out
}

// layout writes an OCI layout and returns its folder.
func (m *made) layout(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	for path, b := range m.files(name) {
		write(t, filepath.Join(dir, path), b)
	}
	return dir
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// archive writes files into a tar and returns its path.
func archiveOf(t testing.TB, files map[string][]byte) string {
	t.Helper()
	var list []file
	for name, b := range files {
		list = append(list, file{name: name, content: string(b)})
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	write(t, path, makeTar(t, list...))
	return path
}

// dockerFiles are those of docker save, with the second layer as a link to the first if they are the same.
func dockerFiles(settings map[string]any, layers ...[]byte) []file {
	var ids, names []string
	var files []file
	seen := map[string]string{}
	for i, l := range layers {
		id, name := sum256(l).String(), fmt.Sprintf("l%d/layer.tar", i)
		ids, names = append(ids, id), append(names, name)
		if first, ok := seen[id]; ok {
			files = append(files, file{name: name, sym: "../" + first})
			continue
		}
		seen[id] = name
		files = append(files, file{name: name, content: string(l)})
	}
	config, _ := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "config": settings, "rootfs": map[string]any{"diff_ids": ids}})
	name := sum256(config).String()[len("sha256:"):] + ".json"
	manifest, _ := json.Marshal([]saved{{Config: name, RepoTags: []string{"localhost/disk:v1"}, Layers: names}})
	return append(files, file{name: name, content: string(config)}, file{name: "manifest.json", content: string(manifest)})
}
