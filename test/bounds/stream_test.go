//go:build linux

package bounds

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
	"github.com/cdictl/cdictl/test/internal/web"
)

// heldBound is how much of a stream may wait in memory.
const heldBound = 16 << 20

// A streamKind is an image that comes in order only, and what its stream may take.
type streamKind struct {
	name string     // of the file
	make [][]string // commands; RAW is the disk, IMAGE the image
	vmdk string     // made by package images instead
	// changed: the disk is not RAW's any more.
	changed bool
	// eighth: of so much of the data, for qemu-img takes minutes for more.
	eighth bool
	// late: what tells where the data lies comes far behind it: a second pass, or a spool, and not memory.
	late bool
}

func (s streamKind) format() string { return strings.TrimPrefix(filepath.Ext(s.name), ".") }

// converted are the commands of an image that qemu-img made in one go.
func converted(format string, options ...string) [][]string {
	return [][]string{slices.Concat([]string{"qemu-img", "convert", "-f", "raw", "-O", format}, options, []string{"RAW", "IMAGE"})}
}

var (
	qcow2Snapshot = []string{"qemu-img", "snapshot", "-c", "then", "IMAGE"}
	qcow2Writes   = []string{"qemu-io", "-t", "unsafe", "-f", "qcow2", "-c", "write -P 5 100k 30M", "-c", "write -P 6 90M 5M", "-c", "discard 60M 3M", "IMAGE"}
)

var streams = []streamKind{
	{name: "plain.qcow2", make: converted("qcow2")},
	{name: "zlib.qcow2", make: converted("qcow2", "-c")},
	{name: "zlib-W.qcow2", make: converted("qcow2", "-c", "-W", "-m", "16")},
	{name: "plain-W.qcow2", make: converted("qcow2", "-W", "-m", "16")},
	{name: "zstd.qcow2", make: converted("qcow2", "-c", "-o", "compression_type=zstd")},
	{name: "plain-512.qcow2", make: converted("qcow2", "-o", "cluster_size=512")},
	{name: "zlib-512.qcow2", eighth: true, make: converted("qcow2", "-c", "-o", "cluster_size=512")},
	{name: "plain-2m.qcow2", make: converted("qcow2", "-o", "cluster_size=2M")},
	{name: "zlib-2m.qcow2", make: converted("qcow2", "-c", "-o", "cluster_size=2M")},
	{name: "resized.qcow2", late: true, changed: true, make: append(converted("qcow2"), []string{"qemu-img", "resize", "-q", "-f", "qcow2", "IMAGE", "+1G"})},
	{name: "snapshots.qcow2", late: true, changed: true, make: append(converted("qcow2"), qcow2Snapshot, qcow2Writes, qcow2Snapshot, qcow2Writes)},
	{name: "sparse.vmdk", make: converted("vmdk", "-o", "subformat=monolithicSparse")},
	{name: "stream.vmdk", make: converted("vmdk", "-o", "subformat=streamOptimized")},
	{name: "footer.vmdk", vmdk: "streamOptimized-footer"},
	{name: "blocks.vdi", make: converted("vdi")},
	{name: "dynamic.vpc", make: converted("vpc", "-o", "subformat=dynamic,force_size=on")},
	{name: "dynamic.vhdx", make: converted("vhdx", "-o", "subformat=dynamic")},
}

// write makes the image in dir.
func (s streamKind) write(t *testing.T, raw, dir string) string {
	t.Helper()
	path := filepath.Join(dir, s.name)
	for _, line := range s.make {
		args := []string{}
		for _, a := range line {
			args = append(args, strings.NewReplacer("RAW", raw, "IMAGE", path).Replace(a))
		}
		tool(t, args...)
	}
	for _, v := range images.VMDK {
		if v.Name == s.vmdk {
			must(t, v.Write(t.Context(), raw, path))
		}
	}
	return path
}

// A content is what the disk of an image begins as.
type content struct{ raw, digest string }

func newContent(t *testing.T, dir string, data int64) content {
	t.Helper()
	raw := filepath.Join(dir, fmt.Sprintf("%d.raw", data))
	must(t, images.Raw(raw, 2*data, data, 61))
	digest, err := images.SHA256(raw)
	must(t, err)
	return content{raw, digest}
}

// TestStreams measures images of -data bytes of data that come once, through a pipe, and from a server without ranges.
func TestStreams(t *testing.T) {
	proc.Need(t, "qemu-img", "qemu-io")
	bin, dir := proc.TestBinary(t), scratch(t)
	whole, eighth := newContent(t, dir, int64(dataSize)), newContent(t, dir, int64(dataSize)/8)
	srv := web.Start(t, web.InOrder(dir))
	table := &report.Table{
		Title:  fmt.Sprintf("Streams of %s of data; at most %s MiB in memory, %s held", &dataSize, mib(peakBound), mib(heldBound)),
		Header: []string{"image", "from", "MiB", "passes", "MiB held", "MiB spooled", "MiB peak", "wall s", "CPU s"},
	}
	for _, s := range streams {
		t.Run(s.name, func(t *testing.T) {
			disk := whole
			if s.eighth {
				disk = eighth
			}
			path, want := s.write(t, disk.raw, dir), disk.digest
			defer os.Remove(path)
			st, err := os.Stat(path)
			must(t, err)
			if s.changed {
				want, err = images.Oracle(t.Context(), path, s.format(), "")
				must(t, err)
			}
			for _, from := range []string{"pipe", "http"} {
				source := srv.URL + "/" + s.name
				if from == "pipe" {
					source = "-"
				}
				u, r, problem := measureStream(t, bin, source, path, dir, want)
				if problem == nil {
					problem = s.check(r, from, u)
				}
				row := []string{s.name, from, mib(st.Size()), fmt.Sprint(r.Passes), mib(r.HeldMax), mib(r.Spooled), mib(u.PeakRSS),
					fmt.Sprintf("%.1f", u.Wall.Seconds()), fmt.Sprintf("%.1f", u.CPU.Seconds())}
				t.Log(strings.Join(row, "  ")) // the table may be hours away
				table.Row(row...)
				table.Count(s.name+" "+from, problem)
				if problem != nil {
					t.Errorf("%s: %v", from, problem)
				}
			}
		})
	}
	table.Print(os.Stdout)
}

type streamResult struct {
	Route   string `json:"route"`
	Passes  int    `json:"passes"`
	HeldMax int64  `json:"bytesHeldMax"`
	Spooled int64  `json:"bytesSpooled"`
}

func (s streamKind) check(r streamResult, from string, u proc.Usage) error {
	passes, spool := 1, false
	if s.late && int64(dataSize) > 2*heldBound {
		passes, spool = 2, true
	}
	switch {
	case r.Route != "stream-convert":
		return fmt.Errorf("route %s", r.Route)
	case u.PeakRSS > peakBound:
		return fmt.Errorf("peak memory %s MiB, at most %s", mib(u.PeakRSS), mib(peakBound))
	case r.HeldMax > heldBound:
		return fmt.Errorf("%s MiB held, at most %s", mib(r.HeldMax), mib(heldBound))
	case from == "pipe" && (r.Passes != 1 || (r.Spooled > 0) != spool):
		return fmt.Errorf("%d passes, %d bytes spooled from a pipe", r.Passes, r.Spooled)
	case from != "pipe" && (r.Passes != passes || r.Spooled > 0):
		return fmt.Errorf("%d passes, %d bytes spooled from a server", r.Passes, r.Spooled)
	}
	return nil
}

// measureStream imports source, or path through a pipe.
func measureStream(t *testing.T, bin, source, path, dir, digest string) (proc.Usage, streamResult, error) {
	var r streamResult
	target, result := filepath.Join(dir, "ours.raw"), filepath.Join(dir, "result.json")
	defer os.Remove(target)
	script := `exec "$0" import "$1" "$2" --progress none -o json >"$3"`
	if source == "-" {
		script = `cat "$4" | { ` + script + `; }`
	}
	u, err := proc.Measure(t.Context(), "sh", "-c", script, bin, source, target, result, path)
	if err != nil {
		return u, r, err
	}
	b, err := os.ReadFile(result)
	must(t, err)
	if err := json.Unmarshal(b, &r); err != nil {
		return u, r, err
	}
	got, err := images.SHA256(target)
	if err == nil && got != digest {
		err = fmt.Errorf("digest %s, want %s", got, digest)
	}
	return u, r, err
}
