//go:build linux

package bounds

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
	"github.com/cdictl/cdictl/test/internal/web"
)

const fetchBound = 2 << 20

// TestFetched counts, at the server, what it takes to describe a large image and to refuse one.
func TestFetched(t *testing.T) {
	proc.Need(t, "qemu-img", "qemu-io", "mkfs.ext4")
	bin, dir := proc.TestBinary(t), scratch(t)
	path := filepath.Join(dir, "large.qcow2")
	large(t, dir, path)
	table := &report.Table{
		Title:  "Bytes fetched from an http server with ranges, 20 GiB virtual; at most 2.0 MiB",
		Header: []string{"command", "want", "exit", "MiB fetched", "requests"},
	}
	check := func(name string, want int, verify func(proc.Result) error, args ...string) {
		srv := web.Start(t, web.Ranges(dir))
		for i, a := range args {
			args[i] = strings.ReplaceAll(a, "URL", srv.URL)
		}
		r, err := proc.Run(t.Context(), proc.Command{Args: append([]string{bin}, args...)})
		must(t, err)
		problem := verify(r)
		switch sent := srv.Sent.Load(); {
		case r.Exit != want:
			problem = fmt.Errorf("exit %d, want %d: %s", r.Exit, want, strings.TrimSpace(r.Stderr))
		case sent >= fetchBound:
			problem = fmt.Errorf("%d bytes fetched, want less than %d", sent, fetchBound)
		}
		table.Row(name, fmt.Sprint(want), fmt.Sprint(r.Exit), mib(srv.Sent.Load()), fmt.Sprint(srv.Requests.Load()))
		table.Count(name, problem)
	}
	target := filepath.Join(dir, "out.raw")
	nothing := func(proc.Result) error {
		left, err := filepath.Glob(filepath.Join(dir, "*out.raw*"))
		if len(left) > 0 {
			return fmt.Errorf("left behind: %q", left)
		}
		return err
	}
	check("info qcow2", 0, sameInfo(t, path), "info", "URL/large.qcow2", "-o", "json")
	check("info qcow2.zst", 0, sameInfo(t, path), "info", "URL/large.qcow2.zst", "-o", "json")
	check("import qcow2 --size 10Gi", 14, nothing, "import", "URL/large.qcow2", target, "--size", "10Gi", "--progress", "none")
	check("import qcow2.zst --size 10Gi", 14, nothing, "import", "URL/large.qcow2.zst", target, "--size", "10Gi", "--progress", "none")
	check("import raw --size 10Gi", 14, nothing, "import", "URL/large.raw", target, "--size", "10Gi", "--progress", "none")
	table.Print(os.Stdout)
	if table.Failed() > 0 {
		t.Fail()
	}
}

// large makes a qcow2 of 20 GiB with a filesystem of real files in it (the Go tree's sources), and something in every
// L2 table, so that reading all tables would take more than the bound; and the same disk raw and as qcow2.zst.
func large(t *testing.T, dir, path string) {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	must(t, err)
	raw := filepath.Join(dir, "large.raw")
	must(t, os.WriteFile(raw, nil, 0o600))
	must(t, os.Truncate(raw, 20<<30))
	tool(t, "mkfs.ext4", "-q", "-F", "-d", filepath.Join(strings.TrimSpace(string(out)), "src"), raw)
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path)
	fill := []string{"qemu-io", "-f", "qcow2"}
	for off := 511; off < 20<<10; off += 512 {
		fill = append(fill, "-c", fmt.Sprintf("write -P 7 %dM 64k", off))
	}
	tool(t, append(fill, path)...)
	tool(t, "zstd", "-q", "-1", "-k", path)
}

// sameInfo compares what we say with what qemu-img says, by the field names of both.
func sameInfo(t *testing.T, path string) func(proc.Result) error {
	type info struct {
		Format  string `json:"format"`
		Virtual int64  `json:"virtual-size"`
		Cluster int64  `json:"cluster-size"`
	}
	var want info
	must(t, json.Unmarshal([]byte(tool(t, "qemu-img", "info", "--output=json", path)), &want))
	return func(r proc.Result) error {
		var got info
		if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil {
			return fmt.Errorf("info's JSON: %w: %.200s", err, r.Stdout)
		}
		if got != want {
			return fmt.Errorf("info says %+v, qemu-img %+v", got, want)
		}
		return nil
	}
}
