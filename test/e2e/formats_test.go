package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
)

// TestFormats fills claims from disks that come from other hypervisors, plain and in a codec, as the http server has them:
// in a worker with 192 MiB of memory, and with no volume but the claim's.
func TestFormats(t *testing.T) {
	b := on(t)
	for i, p := range []struct {
		name    string
		picture func(*testing.T) picture
	}{
		{"vmdk", maker("stream.vmdk", 64*mib, 24*mib, "-O", "vmdk", "-o", "subformat=streamOptimized")},
		{"vmdk in gz", maker("sparse.vmdk", 64*mib, 24*mib, "-O", "vmdk")},
		{"vhdx", maker("hyperv.vhdx", 64*mib, 24*mib, "-O", "vhdx")},
		{"vhd in gz", maker("azure.vpc", 64*mib, 24*mib, "-O", "vpc", "-o", "force_size=on")},
		{"vdi", maker("box.vdi", 64*mib, 24*mib, "-O", "vdi")},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			image := p.picture(t)
			url := image.url()
			if strings.HasSuffix(p.name, " in gz") {
				url += ".gz"
				b.gzip(t, image)
			}
			v := volume{name: "disk", class: b.quick(), block: i%2 == 0, url: url}
			took, sum := b.cell(t, v, image)
			t.Logf("%s, %s: %.1f s, %s", p.name, v.mode(), took.Seconds(), sum)
		})
	}
}

// gzip serves an image also in gzip, under its name with .gz.
func (b *bed) gzip(t *testing.T, p picture) {
	t.Helper()
	plain := filepath.Join(b.work, p.name)
	must(t, os.WriteFile(plain, b.fetch(t, p), 0o600))
	defer os.Remove(plain)
	must(t, images.Compress(t.Context(), "gz", plain, plain+".gz"))
	defer os.Remove(plain + ".gz")
	must(t, b.put(t.Context(), plain+".gz", p.name+".gz"))
}
