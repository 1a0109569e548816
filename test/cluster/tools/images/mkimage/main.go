// Command mkimage packs files into an OCI image of one layer, as an archive that `ctr images import` takes: no docker,
// no registry. The same files give the same bytes.
//
//	mkimage -o box.tar -name localhost/box:1 -entrypoint /bin/sh /bin/busybox=/bin/busybox busybox@/bin/sh /tmp/
//
// An argument is FILE=PATH (a copy), TARGET@PATH (a symbolic link) or PATH/ (an empty folder that anyone may write to).
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path"
	"runtime"
	"strings"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("mkimage: ")
	out := flag.String("o", "", "archive to write")
	name := flag.String("name", "", "name of the image, such as localhost/box:1")
	entrypoint := flag.String("entrypoint", "", "what the image runs")
	user := flag.String("user", "", "UID or UID:GID")
	arch := flag.String("arch", runtime.GOARCH, "architecture that the image says")
	flag.Parse()
	if *out == "" || *name == "" || flag.NArg() == 0 {
		log.Fatal("-o, -name and at least one file are needed")
	}

	layer, err := pack(flag.Args())
	if err != nil {
		log.Fatal(err)
	}
	config := object{"User": *user, "WorkingDir": "/", "Env": []string{"PATH=/bin:/usr/bin:/sbin:/usr/sbin"}}
	if *entrypoint != "" {
		config["Entrypoint"] = []string{*entrypoint}
	}
	archive, err := image(*name, *arch, config, layer)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(*out, archive, 0o644); err != nil {
		log.Fatal(err)
	}
}

// pack writes the layer: every entry is of time zero and of root, so that the digest depends on content alone.
func pack(args []string) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	made := map[string]bool{}
	folder := func(name string, mode int64) error {
		if made[name] {
			return nil
		}
		made[name] = true
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode})
	}
	parents := func(name string) error {
		for i := range name {
			if name[i] != '/' {
				continue
			}
			if err := folder(name[:i], 0o755); err != nil {
				return err
			}
		}
		return nil
	}
	for _, arg := range args {
		i := strings.LastIndexAny(arg, "=@")
		dst := strings.TrimPrefix(path.Clean(arg[i+1:]), "/")
		if err := parents(dst); err != nil {
			return nil, err
		}
		var err error
		switch {
		case i < 0 && strings.HasSuffix(arg, "/"):
			err = folder(dst, 0o1777)
		case i < 0:
			return nil, fmt.Errorf("%s: want FILE=PATH, TARGET@PATH or PATH/", arg)
		case arg[i] == '@':
			err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: dst, Linkname: arg[:i], Mode: 0o777})
		default:
			err = file(w, arg[:i], dst)
		}
		if err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

func file(w *tar.Writer, src, dst string) error {
	b, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	mode := int64(0o644)
	if fi, err := os.Stat(src); err != nil {
		return err
	} else if fi.Mode()&0o100 != 0 {
		mode = 0o755
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: dst, Mode: mode, Size: int64(len(b))}); err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

type object map[string]any

// image builds the OCI layout around a layer.
func image(name, arch string, config object, layer []byte) ([]byte, error) {
	var zipped bytes.Buffer
	zw, err := gzip.NewWriterLevel(&zipped, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := zw.Write(layer); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}

	const oci = "application/vnd.oci.image."
	blobs := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	order := []string{"oci-layout", "index.json"}
	blob := func(kind string, b []byte) object {
		sum := digest(b)
		file := "blobs/sha256/" + strings.TrimPrefix(sum, "sha256:")
		blobs[file] = b
		order = append(order, file)
		return object{"mediaType": oci + kind, "digest": sum, "size": len(b)}
	}
	conf := blob("config.v1+json", encode(object{
		"architecture": arch, "os": "linux", "config": config,
		"rootfs": object{"type": "layers", "diff_ids": []string{digest(layer)}},
	}))
	data := blob("layer.v1.tar+gzip", zipped.Bytes())
	manifest := blob("manifest.v1+json", encode(object{
		"schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "config": conf, "layers": []object{data},
	}))
	manifest["platform"] = object{"architecture": arch, "os": "linux"}
	manifest["annotations"] = object{"io.containerd.image.name": name}
	blobs["index.json"] = encode(object{
		"schemaVersion": 2, "mediaType": oci + "index.v1+json", "manifests": []object{manifest},
	})

	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range order {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(blobs[name]))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(blobs[name]); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

func encode(o object) []byte {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // maps of strings, numbers and lists of them always marshal
	}
	return b
}
