//go:build linux

package bounds

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
	"github.com/cdictl/cdictl/test/internal/web"
)

// peakBound is the promise for any image whose codec window is at most 32 MiB.
const peakBound = 96 << 20

// kinds are the stored forms of one disk, by name; convert gives qemu-img's options, codec what lies over it. Those that
// take the tools minutes to pack are of a disk of a quarter: what a decoder holds depends on its window alone.
var kinds = []struct {
	name    string
	convert []string
	codec   string
	quarter bool
}{
	{name: "plain.qcow2", convert: []string{"-O", "qcow2"}},
	{name: "zlib.qcow2", convert: []string{"-O", "qcow2", "-c"}},
	{name: "zstd.qcow2", convert: []string{"-O", "qcow2", "-c", "-o", "compression_type=zstd"}},
	{name: "plain-2m.qcow2", convert: []string{"-O", "qcow2", "-o", "cluster_size=2M"}},
	{name: "zlib-2m.qcow2", convert: []string{"-O", "qcow2", "-c", "-o", "cluster_size=2M"}},
	{name: "zstd-2m.qcow2", convert: []string{"-O", "qcow2", "-c", "-o", "cluster_size=2M,compression_type=zstd"}},
	{name: "plain-512.qcow2", convert: []string{"-O", "qcow2", "-o", "cluster_size=512"}},
	{name: "raw"},
	{name: "raw.gz", codec: "gz"},
	{name: "raw.xz", codec: "xz", quarter: true}, // dictionary 8 MiB, as of xz -6
	{name: "raw.zst", codec: "zst"},              // window 8 MiB, as of zstd -19
	{name: "raw.bz2", codec: "bz2", quarter: true},
	{name: "plain.qcow2.gz", convert: []string{"-O", "qcow2"}, codec: "gz"},
	{name: "zlib.qcow2.xz", convert: []string{"-O", "qcow2", "-c"}, codec: "xz", quarter: true},
}

// TestMemory measures the peak of every route with -data bytes of data.
func TestMemory(t *testing.T) {
	proc.Need(t, "qemu-img", "gzip", "xz", "zstd", "bzip2")
	bin, dir := proc.TestBinary(t), scratch(t)
	disks, digests := map[bool]string{}, map[bool]string{}
	for quarter, n := range map[bool]int64{false: int64(dataSize), true: int64(dataSize) / 4} {
		disks[quarter] = filepath.Join(dir, fmt.Sprintf("raw%d", n))
		must(t, images.Raw(disks[quarter], 4*n, n, 60))
		sum, err := images.SHA256(disks[quarter])
		must(t, err)
		digests[quarter] = sum
	}
	mux := http.NewServeMux()
	mux.Handle("/ranges/", web.Ranges(dir))
	mux.Handle("/plain/", web.Plain(dir))
	srv := web.Start(t, mux)
	table := &report.Table{
		Title:  fmt.Sprintf("Peak memory, %s of data in a disk of four times that; at most %s MiB", &dataSize, mib(peakBound)),
		Header: []string{"image", "from", "checksum", "MiB peak", "wall s", "CPU s"},
	}
	for _, k := range kinds {
		raw, want := disks[k.quarter], digests[k.quarter]
		path := store(t, dir, raw, k.name, k.convert, k.codec)
		sum, err := images.SHA256(path)
		must(t, err)
		for _, from := range []string{"file", "ranges", "plain"} {
			for _, args := range [][]string{nil, {"--checksum", "sha256:" + sum}} {
				if k.codec != "" && (args != nil) != (from == "ranges") || from == "plain" && args != nil {
					continue // a one-way stream is the same by any way, and so is the hash over it: once with, twice without
				}
				source := path
				if from != "file" {
					source = srv.URL + "/" + from + "/" + filepath.Base(path)
				}
				u, problem := measureImport(t.Context(), bin, source, dir, want, args...)
				if problem == nil && u.PeakRSS > peakBound {
					problem = fmt.Errorf("peak memory %s MiB, at most %s", mib(u.PeakRSS), mib(peakBound))
				}
				with := ""
				if args != nil {
					with = "sha256"
				}
				table.Row(k.name, from, with, mib(u.PeakRSS), fmt.Sprintf("%.1f", u.Wall.Seconds()), fmt.Sprintf("%.1f", u.CPU.Seconds()))
				table.Count(strings.TrimSpace(k.name+" "+from+" "+with), problem)
			}
		}
		if path != raw {
			must(t, os.Remove(path))
		}
	}
	table.Print(os.Stdout)
	if table.Failed() > 0 {
		t.Fail()
	}
}

// store makes one stored form of the raw disk.
func store(t *testing.T, dir, raw, name string, convert []string, codec string) string {
	t.Helper()
	path := raw
	if convert != nil {
		path = filepath.Join(dir, strings.TrimSuffix(name, "."+codec))
		tool(t, append(append([]string{"qemu-img", "convert", "-f", "raw"}, convert...), raw, path)...)
	}
	if codec == "" {
		return path
	}
	packed := filepath.Join(dir, name)
	must(t, images.Compress(t.Context(), codec, path, packed))
	if path != raw {
		must(t, os.Remove(path))
	}
	return packed
}

func blocks(st os.FileInfo) int64 { return st.Sys().(*syscall.Stat_t).Blocks }
