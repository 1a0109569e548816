package registrysource

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/sourcetest"
)

var here = platform{OS: "linux", Architecture: runtime.GOARCH}

func newSource(t testing.TB, name string, o Options) *Source {
	t.Helper()
	s, err := New(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fetch reads all of a source, and tells how many stored bytes that took.
func fetch(t testing.TB, s source.Source) ([]byte, source.Info, int64, error) {
	t.Helper()
	tr := new(progress.Tracker)
	b, err := s.Open(t.Context(), source.Env{Tracker: tr})
	if err != nil {
		return nil, source.Info{}, tr.Snapshot().Stored, err
	}
	defer b.Close()
	got, err := io.ReadAll(b)
	return got, b.Info(), tr.Snapshot().Stored, err
}

// wantError checks the class of err, that it tells the side, and that it says something.
func wantError(t *testing.T, err, class error, says string) {
	t.Helper()
	var e *errdef.Error
	switch {
	case !errors.Is(err, class):
		t.Fatalf("error %v, want %v", err, class)
	case errdef.ExitCode(err) != errdef.ExitCode(class):
		t.Errorf("exit code %d, want %d: %v", errdef.ExitCode(err), errdef.ExitCode(class), err)
	case !errors.As(err, &e) || e.Side != errdef.Source:
		t.Errorf("%v does not tell the side", err)
	case !strings.Contains(err.Error(), says):
		t.Errorf("error %q does not have %q", err, says)
	}
	t.Log(err, "| hint:", errdef.Hint(err))
}

func TestLocal(t *testing.T) {
	one := func(content []byte) [][]byte {
		return [][]byte{makeTar(t, file{name: "etc/hosts", content: "x"}), makeTar(t, file{name: "disk/"}, file{name: "disk/disk.img", content: string(content)})}
	}
	for name, make := range map[string]func(t *testing.T, content []byte) source.Source{
		"oci": func(t *testing.T, content []byte) source.Source {
			return newSource(t, "oci:"+makeImage(here, nil, one(content)...).layout(t, "v1"), Options{})
		},
		"oci by name": func(t *testing.T, content []byte) source.Source {
			return newSource(t, "oci:"+makeImage(here, nil, one(content)...).layout(t, "v1")+":v1", Options{Path: "/disk/disk.img"})
		},
		"oci-archive": func(t *testing.T, content []byte) source.Source {
			return newSource(t, "oci-archive:"+archiveOf(t, makeImage(here, nil, one(content)...).files("v1")), Options{})
		},
		"docker-archive": func(t *testing.T, content []byte) source.Source {
			path := filepath.Join(t.TempDir(), "d.tar")
			write(t, path, makeTar(t, dockerFiles(nil, one(content)...)...))
			return newSource(t, "docker-archive:"+path+":disk:v1", Options{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Case{New: make, Sizes: []int{0, 513, 1_000_000},
				Broken: func(t *testing.T) source.Source { return newSource(t, "oci:"+t.TempDir(), Options{}) }})
		})
	}
}

// disk is a content, and other what must not be taken for it.
const disk, other = "the disk's bytes", "other bytes"

func d(name, content string) file { return file{name: "disk/" + name, content: content} }

func TestLayers(t *testing.T) {
	big := strings.Repeat("not needed ", 100_000)
	hosts := file{name: "etc/hosts", content: big}
	for _, tt := range []struct {
		name   string
		layers [][]file // from the bottom
		path   string
		want   string
		err    error
		says   string
	}{
		{name: "one layer", layers: [][]file{{d("disk.img", disk)}}},
		{name: "names with ./ and /", layers: [][]file{{{name: "./disk/x", content: disk}}, {{name: "/etc/y", content: other}}}},
		{name: "deeper", layers: [][]file{{d("a/b/c.img", disk)}}},
		{name: "a folder whose name begins so", layers: [][]file{{{name: "diskette/x", content: other}, d("x", disk), {name: "disk.img", content: other}}}},
		{name: "an upper layer wins", layers: [][]file{{d("disk.img", other)}, {d("disk.img", disk)}}},
		{name: "an upper layer wins twice", layers: [][]file{{d("disk.img", other)}, {d("disk.img", other)}, {hosts}, {d("disk.img", disk)}, {hosts}}},
		{name: "whiteout of another", layers: [][]file{{d("a", other), d("b", disk)}, {d(".wh.a", "")}}},
		{name: "whiteout of the disk", layers: [][]file{{d("a", other)}, {d(".wh.a", "")}}, err: errdef.ErrNotFound, says: "no file below /disk/"},
		{name: "whiteout of the disk, by its path", layers: [][]file{{d("a", other)}, {d(".wh.a", "")}}, path: "/disk/a", err: errdef.ErrNotFound, says: "no file /disk/a"},
		{name: "whiteout below a new one", layers: [][]file{{d("a", other)}, {d(".wh.a", "")}, {d("a", disk)}}},
		{name: "whiteout beside its own file", layers: [][]file{{d("a", other)}, {d("a", disk), d(".wh.a", "")}}},
		{name: "whiteout of the folder", layers: [][]file{{d("a", other)}, {{name: ".wh.disk"}}}, err: errdef.ErrNotFound},
		{name: "opaque folder", layers: [][]file{{d("a", other)}, {d("b", disk), d(".wh..wh..opq", "")}}},
		{name: "opaque folder after the disk of another layer", layers: [][]file{{d("a", other)}, {d(".wh..wh..opq", "")}, {d("b", disk)}}},
		{name: "opaque root", layers: [][]file{{d("a", other)}, {{name: ".wh..wh..opq"}, d("b", disk)}}},
		{name: "opaque folder elsewhere", layers: [][]file{{d("a", disk)}, {{name: "etc/.wh..wh..opq"}}}},
		{name: "folder replaced by a link", layers: [][]file{{d("a", other)}, {{name: "disk", sym: "/tmp"}}}, err: errdef.ErrNotFound},
		{name: "folder replaced by a file, and made again", layers: [][]file{{d("a", other)}, {{name: "disk", content: other}}, {{name: ".wh.disk"}}, {d("b", disk)}}},
		{name: "file replaced by a folder", layers: [][]file{{d("a", other), d("b", disk)}, {d("a/", "")}}},
		{name: "file replaced by a link", layers: [][]file{{d("a", other), d("b", disk)}, {{name: "disk/a", sym: "b"}}}},
		{name: "whiteout of nothing", layers: [][]file{{d("a", other)}, {d(".wh.", "")}}, err: errdef.ErrCorrupt, says: "hides nothing"},
		{name: "aufs", layers: [][]file{{d("a", disk)}, {d(".wh..wh.plnk", "")}}},
		{name: "two in a layer", layers: [][]file{{d("a", other), d("b", other)}}, err: errdef.ErrUsage, says: "2 files below /disk/, and it was not said which is the disk: /disk/a, /disk/b"},
		{name: "two in two layers", layers: [][]file{{d("b", other)}, {hosts}, {d("a", other)}}, err: errdef.ErrUsage, says: "/disk/a, /disk/b"},
		{name: "two, by path", layers: [][]file{{d("b", disk)}, {d("a", other)}}, path: "disk/b"},
		{name: "elsewhere, by path", layers: [][]file{{{name: "images/x.img", content: disk}}, {d("a", other)}}, path: "/images/x.img"},
		{name: "path to a folder", layers: [][]file{{d("a/b", other)}, {d("a/", "")}}, path: "/disk/a", err: errdef.ErrUnsupported, says: "no regular file"},
		{name: "path to a symbolic link", layers: [][]file{{d("a", other), {name: "disk/b", sym: "a"}}}, path: "/disk/b", err: errdef.ErrUnsupported, says: "no regular file"},
		{name: "the same name twice", layers: [][]file{{d("a", other), d("a", disk)}}, err: errdef.ErrCorrupt, says: "is twice"},
		{name: "hard link to a file before it", layers: [][]file{{{name: "blobs/x", content: disk}, {name: "disk/a", link: "blobs/x"}}}},
		{name: "hard link into a lower layer", layers: [][]file{{{name: "blobs/x", content: disk}}, {{name: "disk/a", link: "/blobs/x"}}}},
		{name: "hard link whose file is gone by its own name", layers: [][]file{{{name: "blobs/x", content: disk}}, {{name: "disk/a", link: "blobs/x"}}, {{name: "blobs/.wh.x"}, {name: "blobs/x", content: other}}}},
		{name: "hard link beside its file", layers: [][]file{{d("a", disk), {name: "disk/b", link: "disk/a"}}}},
		{name: "hard link to the file of a lower layer", layers: [][]file{{d("a", disk)}, {{name: "disk/b", link: "disk/a"}}}},
		{name: "hard link to another", layers: [][]file{{{name: "x", content: other}, d("a", other), {name: "disk/b", link: "x"}}}, err: errdef.ErrUsage, says: "/disk/a, /disk/b"},
		{name: "hard links to two", layers: [][]file{{{name: "x", content: other}, {name: "y", content: other}, {name: "disk/a", link: "x"}, {name: "disk/b", link: "y"}}}, err: errdef.ErrUsage, says: "/disk/a, /disk/b"},
		{name: "hard link by path", layers: [][]file{{{name: "x", content: disk}, d("a", other), {name: "disk/b", link: "x"}}}, path: "/disk/b"},
		{name: "hard link that is hidden", layers: [][]file{{{name: "x", content: other}, {name: "disk/a", link: "x"}}, {d("a", disk)}}},
		{name: "hard link to nothing", layers: [][]file{{{name: "disk/a", link: "../../etc/passwd"}}}, err: errdef.ErrCorrupt, says: "no file of the image"},
		{name: "hard link to itself", layers: [][]file{{{name: "disk/a", link: "disk/a"}}}, err: errdef.ErrCorrupt},
		{name: "hard links in a circle", layers: [][]file{{{name: "disk/a", link: "x"}, {name: "x", link: "y"}, {name: "y", link: "x"}}}, err: errdef.ErrCorrupt},
		{name: "no disk", layers: [][]file{{hosts}}, err: errdef.ErrNotFound, says: "no container disk"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for kind, pack := range map[string]func(testing.TB, []byte) []byte{"tar": func(_ testing.TB, b []byte) []byte { return b }, "gzip": gzipped, "zstd": zstded} {
				var layers [][]byte
				for _, l := range tt.layers {
					layers = append(layers, pack(t, makeTar(t, l...)))
				}
				s := newSource(t, "oci:"+makeImage(here, nil, layers...).layout(t, ""), Options{Path: tt.path})
				got, info, _, err := fetch(t, s)
				if tt.err != nil {
					wantError(t, err, tt.err, tt.says)
					continue
				}
				if err != nil || string(got) != disk {
					t.Fatalf("%s: %q, %v", kind, got, err)
				}
				again, info2, _, err := fetch(t, s)
				if err != nil || !bytes.Equal(again, got) || info2.Identity != info.Identity {
					t.Errorf("%s, opened again: %q, %v, %+v", kind, again, err, info2)
				}
			}
		})
	}
}

// TestBytes: what is read of five layers of which one is needed.
func TestBytes(t *testing.T) {
	filler := makeTar(t, file{name: "usr/lib/x", content: strings.Repeat("x", 1<<20)})
	layers := [][]byte{filler, makeTar(t, file{name: "a", content: strings.Repeat("a", 1<<20)}), makeTar(t, file{name: "b", content: strings.Repeat("b", 1<<20)}),
		makeTar(t, file{name: "c", content: strings.Repeat("c", 1<<20)}), makeTar(t, d("disk.img", strings.Repeat("D", 1<<20)))}
	dir := makeImage(here, nil, layers...).layout(t, "")
	_, _, n, err := fetch(t, newSource(t, "oci:"+dir, Options{Path: "/disk/disk.img"}))
	if err != nil || n > 1<<20+64<<10 {
		t.Errorf("with a path %d bytes were read, %v", n, err)
	}
	_, _, all, err := fetch(t, newSource(t, "oci:"+dir, Options{}))
	if err != nil || all < 5<<20 {
		t.Errorf("without one %d bytes were read, %v: a second disk would not be seen", all, err)
	}
	t.Logf("of %d bytes in 5 layers: %d with --path, %d without", 5*len(filler), n, all)
}

// TestOneByte changes any byte of any blob: nothing of that passes.
func TestOneByte(t *testing.T) {
	m := makeImage(here, map[string]any{"Labels": map[string]string{"a": "b"}}, gzipped(t, makeTar(t, file{name: "x", content: other})), makeTar(t, d("disk.img", disk)))
	for digest, b := range m.blobs {
		for i := 0; i < len(b); i += max(1, len(b)/40) {
			bad := bytes.Clone(b)
			bad[i] ^= 1
			m.blobs[digest] = bad
			_, _, _, err := fetch(t, newSource(t, "oci:"+m.layout(t, ""), Options{}))
			if c := errdef.ExitCode(err); c != 13 && c != 12 {
				t.Fatalf("byte %d of %s: %v", i, digest, err)
			}
		}
		m.blobs[digest] = append(bytes.Clone(b), 0)
		_, _, _, err := fetch(t, newSource(t, "oci:"+m.layout(t, ""), Options{}))
		if c := errdef.ExitCode(err); c != 13 && c != 12 && c != 15 {
			t.Errorf("a byte more in %s: %v", digest, err)
		}
		m.blobs[digest] = b
	}
	if _, _, _, err := fetch(t, newSource(t, "oci:"+m.layout(t, ""), Options{})); err != nil {
		t.Fatal(err)
	}
}

func TestPlatforms(t *testing.T) {
	layer := func(s string) []byte { return makeTar(t, d("disk.img", s)) }
	m := makeImage(here, nil, layer("old"))
	arm6, arm7, v8 := platform{"linux", "arm", "v6"}, platform{"linux", "arm", "v7"}, platform{"linux", "arm64", "v8"}
	unknown := m.image(platform{OS: "unknown", Architecture: "unknown"}, nil, layer("attestation"))
	m.index(unknown, m.image(arm6, nil, layer("6")), m.image(arm7, nil, layer("7")), m.image(v8, nil, layer("8")), m.image(platform{"linux", "amd64", ""}, nil, layer("amd")))
	dir := m.layout(t, "")
	for p, want := range map[string]string{"linux/arm/v6": "6", "linux/arm": "7", "linux/arm64": "8", "linux/aarch64/v8": "8", "linux/amd64": "amd", "Linux/x86_64": "amd"} {
		got, _, _, err := fetch(t, newSource(t, "oci:"+dir, Options{Platform: p}))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", p, got, err, want)
		}
	}
	_, _, _, err := fetch(t, newSource(t, "oci:"+dir, Options{Platform: "linux/s390x"}))
	wantError(t, err, errdef.ErrNotFound, "no image for linux/s390x; there is linux/arm/v6, linux/arm/v7, linux/arm64/v8, linux/amd64")
	one := makeImage(platform{"linux", "arm64", ""}, nil, layer("x")).layout(t, "")
	_, _, _, err = fetch(t, newSource(t, "oci:"+one, Options{Platform: "linux/amd64"}))
	wantError(t, err, errdef.ErrNotFound, "the only one is for linux/arm64")
	if _, _, _, err = fetch(t, newSource(t, "oci:"+one, Options{})); err != nil {
		t.Error(err)
	}
	for _, p := range []string{"linux", "linux/", "a/b/c/d", "/amd64"} {
		if _, err := New("oci:x", Options{Platform: p}); !errors.Is(err, errdef.ErrUsage) {
			t.Errorf("platform %q: %v", p, err)
		}
	}
}

func TestConfiguration(t *testing.T) {
	layer := makeTar(t, d("disk.img", disk))
	for label, refused := range map[string]bool{"containers.bootc=1": true, "ostree.bootable=true": true, "containers.bootc=0": false, "a=1": false} {
		k, v, _ := strings.Cut(label, "=")
		_, _, _, err := fetch(t, newSource(t, "oci:"+makeImage(here, map[string]any{"Labels": map[string]string{k: v}}, layer).layout(t, ""), Options{}))
		if refused {
			wantError(t, err, errdef.ErrUnsupported, "bootable container image (label "+label)
		} else if err != nil {
			t.Errorf("%s: %v", label, err)
		}
	}
	env := []string{"PATH=/bin", "INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE=fedora", "INSTANCETYPE_KUBEVIRT_IO_DEFAULT_INSTANCETYPE=u1.medium",
		"X_KUBEVIRT_IO_=1", "X_KUBEVIRT_IO_A=not a label", "X_KUBEVIRT_IO_B", "ÄKUBEVIRT_IO_C=1"}
	_, info, _, err := fetch(t, newSource(t, "oci:"+makeImage(here, map[string]any{"Env": env}, layer).layout(t, ""), Options{}))
	if err != nil || len(info.Labels) != 2 || info.Labels["instancetype.kubevirt.io/default-preference"] != "fedora" || info.Labels["instancetype.kubevirt.io/default-instancetype"] != "u1.medium" {
		t.Errorf("labels %v, %v", info.Labels, err)
	}
}

func TestManifests(t *testing.T) {
	good := makeImage(here, nil, makeTar(t, d("disk.img", disk)))
	config, layer := good.json(typeConfig, map[string]any{}), good.add(typeLayer, makeTar(t, d("disk.img", disk)))
	with := func(change func(d *descriptor)) map[string]any {
		l := layer
		change(&l)
		return map[string]any{"schemaVersion": 2, "config": config, "layers": []descriptor{l}}
	}
	many := make([]descriptor, maxLayers+1)
	for i := range many {
		many[i] = layer
	}
	for _, tt := range []struct {
		name string
		doc  any
		err  error
		says string
	}{
		{"schema 1", map[string]any{"schemaVersion": 1, "fsLayers": []any{}}, errdef.ErrUnsupported, "schema 1"},
		{"both", map[string]any{"schemaVersion": 2, "config": config, "layers": []descriptor{layer}, "manifests": []descriptor{}}, errdef.ErrCorrupt, "index too"},
		{"neither", map[string]any{"schemaVersion": 2}, errdef.ErrCorrupt, "no configuration"},
		{"no JSON", "x", errdef.ErrCorrupt, "no JSON"},
		{"no layers", map[string]any{"schemaVersion": 2, "config": config}, errdef.ErrNotFound, "no layers"},
		{"too many layers", map[string]any{"schemaVersion": 2, "config": config, "layers": many}, errdef.ErrLimit, "501 layers"},
		{"encrypted", with(func(d *descriptor) { d.MediaType += "+gzip+encrypted" }), errdef.ErrUnsupported, "media type"},
		{"artifact", with(func(d *descriptor) { d.MediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip" }), errdef.ErrUnsupported, "media type"},
		{"md5", with(func(d *descriptor) { d.Digest = "md5:d41d8cd98f00b204e9800998ecf8427e" }), errdef.ErrCorrupt, "digest"},
		{"digest that is a path", with(func(d *descriptor) { d.Digest = "sha256:../../../../etc/passwd" }), errdef.ErrCorrupt, "digest"},
		{"negative size", with(func(d *descriptor) { d.Size = -1 }), errdef.ErrCorrupt, "size is -1"},
		{"smaller size", with(func(d *descriptor) { d.Size-- }), errdef.ErrDigestMismatch, "longer"},
		{"larger size", with(func(d *descriptor) { d.Size++ }), errdef.ErrDigestMismatch, "bytes, expected"},
		{"foreign and absent", with(func(d *descriptor) {
			d.MediaType, d.Digest, d.URLs = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", sum256([]byte("?")).String(), []string{"http://169.254.169.254/"}
		}), errdef.ErrRefused, "foreign"},
		{"foreign and there", with(func(d *descriptor) { d.URLs = []string{"http://169.254.169.254/"} }), nil, ""},
		{"absent", with(func(d *descriptor) { d.Digest = sum256([]byte("?")).String() }), errdef.ErrNotFound, ""},
		{"configuration too large", map[string]any{"schemaVersion": 2, "config": descriptor{Digest: config.Digest, Size: maxManifest + 1}, "layers": []descriptor{layer}}, errdef.ErrLimit, "configuration"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			good.root = good.json(typeManifest, tt.doc)
			_, _, _, err := fetch(t, newSource(t, "oci:"+good.layout(t, ""), Options{}))
			if tt.err == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantError(t, err, tt.err, tt.says)
		})
	}
	t.Run("nested too deep", func(t *testing.T) {
		m := makeImage(here, nil, makeTar(t, d("disk.img", disk)))
		for range maxNested {
			m.index(m.root)
		}
		_, _, _, err := fetch(t, newSource(t, "oci:"+m.layout(t, ""), Options{}))
		wantError(t, err, errdef.ErrLimit, "lie in each other")
	})
}

func TestNames(t *testing.T) {
	for _, bad := range []string{"", "x", "oci", "oci:", "docker:", "docker:x", "docker://", "docker://UPPER/x", "docker://user:secret@host/x", "docker://h/x@sha256:12", "tarball:x", "oci:x:@md5:00", "oci:a\nb"} {
		_, err := New(bad, Options{})
		if !errors.Is(err, errdef.ErrUsage) || strings.Contains(err.Error()+errdef.Hint(err), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	m := makeImage(here, nil, makeTar(t, d("disk.img", disk)))
	dir := m.layout(t, "v1")
	for _, good := range []string{dir, dir + ":v1", dir + ":@" + m.root.Digest} {
		if _, _, _, err := fetch(t, newSource(t, "oci:"+good, Options{})); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	_, _, _, err := fetch(t, newSource(t, "oci:"+dir+":v2", Options{}))
	wantError(t, err, errdef.ErrNotFound, `no image "v2"; there is "v1"`)
	path := archiveOf(t, m.files("v1"))
	_, _, _, err = fetch(t, newSource(t, "docker-archive:"+path, Options{}))
	wantError(t, err, errdef.ErrCorrupt, "OCI archive")
	write(t, path, gzipped(t, makeTar(t, d("x", ""))))
	_, _, _, err = fetch(t, newSource(t, "oci-archive:"+path, Options{}))
	wantError(t, err, errdef.ErrUnsupported, "compressed by gzip")
}

func TestDockerArchive(t *testing.T) {
	layer := makeTar(t, d("disk.img", disk))
	path := filepath.Join(t.TempDir(), "d.tar")
	files := dockerFiles(nil, makeTar(t, file{name: "x"}), layer, makeTar(t, file{name: "x"}))
	write(t, path, makeTar(t, files...))
	for _, name := range []string{"", ":disk:v1", ":localhost/disk:v1", ":@0"} {
		got, _, _, err := fetch(t, newSource(t, "docker-archive:"+path+name, Options{}))
		if err != nil || string(got) != disk {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	_, _, _, err := fetch(t, newSource(t, "docker-archive:"+path+":disk", Options{}))
	wantError(t, err, errdef.ErrNotFound, "localhost/disk:v1")
	for i := range files {
		if files[i].name == "l1/layer.tar" {
			files[i].content = strings.Replace(files[i].content, disk, "the disk's Bytes", 1)
		}
	}
	write(t, path, makeTar(t, files...))
	_, _, _, err = fetch(t, newSource(t, "docker-archive:"+path, Options{}))
	wantError(t, err, errdef.ErrDigestMismatch, "layer sha256:")
}
