//go:build linux

package bounds

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
	"github.com/cdictl/cdictl/test/internal/web"
)

// heldBound is how much of a stream may wait in memory.
const heldBound = 16 << 20

// streams are images that come in order only. Those with late tables need more than a pass through memory.
var streams = []struct {
	name string
	make [][]string // RAW is the disk, IMAGE the image
	late bool
}{
	{name: "plain", make: [][]string{{"convert", "-O", "qcow2", "RAW", "IMAGE"}}},
	{name: "zlib", make: [][]string{{"convert", "-O", "qcow2", "-c", "RAW", "IMAGE"}}},
	{name: "zlib-W", make: [][]string{{"convert", "-O", "qcow2", "-c", "-W", "-m", "16", "RAW", "IMAGE"}}},
	{name: "plain-W", make: [][]string{{"convert", "-O", "qcow2", "-W", "-m", "16", "RAW", "IMAGE"}}},
	{name: "zstd", make: [][]string{{"convert", "-O", "qcow2", "-c", "-o", "compression_type=zstd", "RAW", "IMAGE"}}},
	{name: "plain-512", make: [][]string{{"convert", "-O", "qcow2", "-o", "cluster_size=512", "RAW", "IMAGE"}}},
	{name: "plain-2m", make: [][]string{{"convert", "-O", "qcow2", "-o", "cluster_size=2M", "RAW", "IMAGE"}}},
	{name: "zlib-2m", make: [][]string{{"convert", "-O", "qcow2", "-c", "-o", "cluster_size=2M", "RAW", "IMAGE"}}},
	{name: "resized", late: true, make: [][]string{
		{"convert", "-O", "qcow2", "RAW", "IMAGE"}, {"resize", "-q", "IMAGE", "+1G"}}},
	{name: "snapshots", late: true, make: [][]string{
		{"convert", "-O", "qcow2", "RAW", "IMAGE"}, {"snapshot", "-c", "one", "IMAGE"}, {"qemu-io"}, {"snapshot", "-c", "two", "IMAGE"}, {"qemu-io"}}},
}

// TestStreams measures images of -data bytes of data that come once, through a pipe, and from a server without ranges.
func TestStreams(t *testing.T) {
	proc.Need(t, "qemu-img", "qemu-io")
	bin, dir := proc.TestBinary(t), scratch(t)
	raw := filepath.Join(dir, "raw")
	must(t, images.Raw(raw, 2*int64(dataSize), int64(dataSize), 61))
	srv := web.Start(t, web.InOrder(dir))
	table := &report.Table{
		Title:  fmt.Sprintf("Streams of %s of data; at most %s MiB in memory, %s held", &dataSize, mib(peakBound), mib(heldBound)),
		Header: []string{"image", "from", "passes", "MiB held", "MiB spooled", "MiB peak", "wall s", "CPU s"},
	}
	for _, s := range streams {
		path := filepath.Join(dir, s.name+".qcow2")
		for _, line := range s.make {
			if line[0] == "qemu-io" {
				tool(t, "qemu-io", "-t", "unsafe", "-f", "qcow2", "-c", "write -P 5 100k 30M", "-c", "write -P 6 90M 5M", "-c", "discard 60M 3M", path)
				continue
			}
			args := []string{"qemu-img"}
			for _, a := range line {
				args = append(args, strings.NewReplacer("RAW", raw, "IMAGE", path).Replace(a))
			}
			tool(t, args...)
		}
		oracle := filepath.Join(dir, "oracle.raw")
		tool(t, "qemu-img", "convert", "-O", "raw", path, oracle)
		want, err := images.SHA256(oracle)
		must(t, err)
		must(t, os.Remove(oracle))
		for _, from := range []string{"pipe", "http"} {
			source := srv.URL + "/" + s.name + ".qcow2"
			if from == "pipe" {
				source = "-"
			}
			u, r, problem := measureStream(t, bin, source, path, dir, want)
			if problem == nil {
				problem = r.check(s.late, from, u)
			}
			table.Row(s.name, from, fmt.Sprint(r.Passes), mib(r.HeldMax), mib(r.Spooled), mib(u.PeakRSS),
				fmt.Sprintf("%.1f", u.Wall.Seconds()), fmt.Sprintf("%.1f", u.CPU.Seconds()))
			table.Count(s.name+" "+from, problem)
		}
		must(t, os.Remove(path))
	}
	table.Print(os.Stdout)
	if table.Failed() > 0 {
		t.Fail()
	}
}

type streamResult struct {
	Route   string `json:"route"`
	Passes  int    `json:"passes"`
	HeldMax int64  `json:"bytesHeldMax"`
	Spooled int64  `json:"bytesSpooled"`
}

func (r streamResult) check(late bool, from string, u proc.Usage) error {
	passes, spool := 1, false
	if late && int64(dataSize) > 2*heldBound {
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
