package containerdisk

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/source/registrysource"
)

// TestRoundTrip pushes a disk in every form, gets it back, and pushes it again.
func TestRoundTrip(t *testing.T) {
	path := rawDisk(t, 5<<20+512, 1) // more than one chunk
	for name, start := range map[string]func(t testing.TB) *front{
		"ggcr":         func(t testing.TB) *front { return (&front{}).start(t) },
		"distribution": func(t testing.TB) *front { return (&front{}).startReal(t) },
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t)
			for _, tc := range []struct{ format, compression, layer, file, in string }{
				{file: "/disk/disk.qcow2", in: "qcow2"},
				{format: "qcow2", compression: "zstd", layer: "gzip", file: "/disk/disk.qcow2", in: "qcow2"},
				{format: "qcow2", compression: "none", layer: "zstd", file: "/disk/disk.qcow2", in: "qcow2"},
				{format: "raw", file: "/disk/disk.img", in: "raw"},
				{format: "raw", layer: "gzip", file: "/disk/disk.img", in: "raw"},
				{format: "raw", layer: "none", file: "/disk/disk.img", in: "raw"},
			} {
				if (name == "distribution" || testing.Short()) && tc.compression+tc.layer != "" {
					continue // one of each format tells what it has to
				}
				t.Run(fmt.Sprintf("%s %s %s", tc.format, tc.compression, tc.layer), func(t *testing.T) {
					repo := strings.ToLower(fmt.Sprintf("some/%sx%sx%s", tc.format, tc.compression, tc.layer))
					r := request(t, path, f.name(repo+":v1"), registrysource.Options{})
					r.Format, r.Compression, r.LayerCompression = tc.format, tc.compression, tc.layer
					r.Labels = map[string]string{"layer": tc.layer} // a registry may have one configuration for all repositories
					r.Env = map[string]string{"INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE": "fedora", "A": "b"}
					first := mustPush(t, r)
					if first.BlobsSent != 2 || first.BlobsSkipped != 0 || first.Sent < first.LayerSize || !first.TagMoved || first.File != tc.file || first.VirtualSize != 5<<20+512 {
						t.Errorf("first: %+v", first)
					}
					res, b := pulled(t, f.name(repo+":v1"), "")
					same(t, b, path)
					if res.Format != tc.in || res.Identity != first.Digest || res.Labels["instancetype.kubevirt.io/default-preference"] != "fedora" {
						t.Errorf("came back as %+v", res)
					}
					if _, b = pulled(t, first.Reference, ""); len(b) == 0 {
						t.Error("the reference leads nowhere")
					}

					if name == "distribution" {
						inspect(t, f.name(repo+":v1"), first.Digest)
					}

					f.reset()
					r.Limits.Workers = 5
					again := mustPush(t, r)
					if again.Digest != first.Digest || again.Layer != first.Layer || again.BlobsSent != 0 || again.BlobsSkipped != 2 || again.Sent != 0 || again.TagMoved {
						t.Errorf("again: %+v", again)
					}
					if f.count("PATCH", "") != 0 || f.count("PUT", "") != 0 || f.bodies() != 0 {
						t.Errorf("sent again: %q", f.asked)
					}
				})
			}
		})
	}
}

// inspect lets skopeo read what was pushed.
func inspect(t *testing.T, name, digest string) {
	t.Helper()
	bin, err := exec.LookPath("skopeo")
	if err != nil {
		if requireServers {
			t.Fatal(err)
		}
		return
	}
	out, err := exec.CommandContext(t.Context(), bin, "inspect", "--tls-verify=false", name).CombinedOutput()
	var said struct {
		Digest string
		Layers []string
		Env    []string
	}
	if err != nil || json.Unmarshal(out, &said) != nil || said.Digest != digest || len(said.Layers) != 1 || len(said.Env) != 2 {
		t.Errorf("skopeo says %v: %s", err, out)
	}
}

// TestSameBytes: what a digest depends on, and what not.
func TestSameBytes(t *testing.T) {
	path := rawDisk(t, 5<<20, 7)
	f := (&front{}).start(t)
	at := func(created time.Time, workers int) Result {
		r := request(t, path, f.name("some/disk:v1"), registrysource.Options{})
		r.Platform, r.Created, r.Limits.Workers = "linux/amd64", created, workers
		r.Labels = map[string]string{"b": "2", "a": "1"}
		return mustPush(t, r)
	}
	one, two := at(time.Time{}, 1), at(time.Time{}, 4)
	if one.Digest != two.Digest {
		t.Errorf("the number of workers changes the digest: %s, %s", one.Digest, two.Digest)
	}
	dated := at(time.Unix(1_700_000_000, 999), 3)
	zoned := at(time.Unix(1_700_000_000, 0).In(time.FixedZone("X", 7200)), 1)
	if dated.Digest != zoned.Digest || dated.Digest == one.Digest || dated.Layer == one.Layer {
		t.Errorf("times: none %s, a date %s, the same elsewhere %s", one.Digest, dated.Digest, zoned.Digest)
	}
}

// TestIndex makes an index of two platforms, and more.
func TestIndex(t *testing.T) {
	for name, start := range map[string]func(t testing.TB) *front{
		"ggcr":         func(t testing.TB) *front { return (&front{}).start(t) },
		"distribution": func(t testing.TB) *front { return (&front{}).startReal(t) },
	} {
		t.Run(name, func(t *testing.T) {
			if name == "distribution" && testing.Short() {
				t.Skip("long")
			}
			f := start(t)
			amd, arm, other := rawDisk(t, 1<<20, 1), rawDisk(t, 2<<20, 2), rawDisk(t, 3<<20, 3)
			do := func(path, platform string, index bool) Result {
				r := request(t, path, f.name("some/multi:v1"), registrysource.Options{})
				r.Platform, r.AppendIndex = platform, index
				return mustPush(t, r)
			}
			single := do(amd, "linux/amd64", false) // becomes the first entry
			if res := do(arm, "linux/arm64", true); res.Platforms != 2 || res.Digest == res.Manifest {
				t.Errorf("second: %+v", res)
			}
			_, b := pulled(t, f.name("some/multi:v1"), "linux/amd64")
			same(t, b, amd)
			_, b = pulled(t, f.name("some/multi:v1"), "linux/arm64/v8")
			same(t, b, arm)

			replaced := do(other, "linux/aarch64", true)
			if replaced.Platforms != 2 || replaced.Platform != "linux/arm64" {
				t.Errorf("replaced: %+v", replaced)
			}
			_, b = pulled(t, f.name("some/multi:v1"), "linux/arm64")
			same(t, b, other)
			res, b := pulled(t, f.name("some/multi:v1"), "linux/amd64")
			if res.Identity != single.Digest {
				t.Errorf("the other platform's image became %s", res.Identity)
			}
			same(t, b, amd)

			f.reset()
			if again := do(other, "linux/arm64", true); again.Digest != replaced.Digest || again.TagMoved || f.bodies() != 0 {
				t.Errorf("again: %+v, %d bytes", again, f.bodies())
			}
			if res := do(arm, "linux/arm/v7", true); res.Platforms != 3 {
				t.Errorf("third: %+v", res)
			}
		})
	}
}
