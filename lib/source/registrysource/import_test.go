package registrysource

import (
	"bytes"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/sink/filesink"
	"github.com/cdictl/cdictl/lib/source"
)

// TestImport makes disks of container disks: without a copy of anything, and not at all of those that lie.
func TestImport(t *testing.T) {
	testimage.Require(t, "qemu-img")
	dir := t.TempDir()
	raw := filepath.Join(dir, "raw")
	if err := testimage.WriteRaw(raw, 8<<20, 3); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	pack := map[string][]string{"qcow2": nil, "compressed qcow2": {"-c"}, "raw": nil}
	for name, options := range pack {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			format := name[strings.LastIndexByte(name, ' ')+1:]
			if _, err := testimage.Run(t.Context(), "qemu-img", append(append([]string{"convert", "-O", format}, options...), raw, image)...); err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(image)
			if err != nil {
				t.Fatal(err)
			}
			layer := gzipped(t, makeTar(t, d("disk.img", string(content))))
			lower := gzipped(t, makeTar(t, file{name: "etc/x", content: "x"}))
			m := makeImage(here, map[string]any{"Env": []string{"INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE=fedora"}}, lower, layer)
			base := testserver.Start(t, &front{next: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))})
			push(t, base, "vm/disk", "v1", m)
			for _, s := range []source.Source{newSource(t, "oci:"+m.layout(t, ""), Options{}), newSource(t, nameOf(base, "vm/disk:v1"), Options{HTTP: quick})} {
				res := importAll(t, s, want)
				if res.Identity != m.root.Digest || res.Labels["instancetype.kubevirt.io/default-preference"] != "fedora" || res.Spooled != 0 {
					t.Errorf("%+v", res)
				}
				t.Logf("%s: route %s, %d pass(es), %d bytes fetched of %d in layers, held %d, spooled %d", s, res.Route, res.Passes, res.Fetched, len(layer)+len(lower), res.HeldMax, res.Spooled)
			}
			// The lowest layer comes last, and is not what the manifest says: all of the disk was written by then.
			m.blobs[sum256(lower).String()] = gzipped(t, makeTar(t, file{name: "etc/x", content: "y"}))
			target := filepath.Join(t.TempDir(), "disk.img")
			_, err = importer.Import(t.Context(), importer.Request{Source: newSource(t, "oci:"+m.layout(t, ""), Options{}), Target: filesink.New(target, filesink.Options{})})
			wantError(t, err, errdef.ErrDigestMismatch, "layer "+sum256(lower).String())
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(target), "*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func importAll(t *testing.T, s source.Source, want []byte) importer.Result {
	t.Helper()
	target := filepath.Join(t.TempDir(), "disk.img")
	res, err := importer.Import(t.Context(), importer.Request{Source: s, Target: filesink.New(target, filesink.Options{}), Spool: filepath.Dir(target)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(target)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s: the disk is not the same, %v", s, err)
	}
	return res
}
