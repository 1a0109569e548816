//go:build linux

package bounds

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
	"github.com/cdictl/cdictl/test/internal/web"
)

// TestRate holds --limit-rate to its word, by every way that bytes come in.
func TestRate(t *testing.T) {
	proc.Need(t, "qemu-img", "gzip")
	bin, dir := proc.TestBinary(t), scratch(t)
	const stored, rate = 32 << 20, 8 << 20
	raw := filepath.Join(dir, "disk.raw")
	must(t, images.Raw(raw, stored, stored, 1))
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, filepath.Join(dir, "disk.qcow2"))
	tool(t, "gzip", "-1", "-k", raw)
	good, poor := web.Start(t, web.Ranges(dir)), web.Start(t, web.Plain(dir))
	table := &report.Table{
		Title:  "--limit-rate 8Mi; at most 10% off",
		Header: []string{"source", "MiB fetched", "s without it", "s", "MiB/s"},
	}
	for name, source := range map[string]string{
		"raw, file": raw, "raw, http": good.URL + "/disk.raw", "raw, http without ranges": poor.URL + "/disk.raw",
		"qcow2, file": filepath.Join(dir, "disk.qcow2"), "qcow2, http": good.URL + "/disk.qcow2", "raw.gz, http": good.URL + "/disk.raw.gz",
	} {
		free := took(t, bin, source, dir)
		slow := took(t, bin, source, dir, "--limit-rate", "8Mi")
		fastest := float64(slow.Fetched) / rate / 1.1
		// What the machine needs anyway may come on top: it may be a busy one.
		slowest := float64(slow.Fetched)/rate*1.1 + free.Seconds
		var problem error
		if slow.Seconds < fastest || slow.Seconds > slowest {
			problem = fmt.Errorf("%.2f seconds, want %.2f to %.2f", slow.Seconds, fastest, slowest)
		}
		got := float64(slow.Fetched) / slow.Seconds
		table.Row(name, mib(slow.Fetched), fmt.Sprintf("%.2f", free.Seconds), fmt.Sprintf("%.2f", slow.Seconds), fmt.Sprintf("%.2f", got/(1<<20)))
		table.Count(name, problem)
	}
	table.Print(os.Stdout)
	if table.Failed() > 0 {
		t.Fail()
	}
}

// transferred is what an import tells of its work.
type transferred struct {
	Fetched int64   `json:"bytesFetched"`
	Seconds float64 `json:"seconds"`
}

// took imports, and removes what came of it.
func took(t *testing.T, bin, source, dir string, args ...string) (res transferred) {
	t.Helper()
	target := filepath.Join(dir, "out.raw")
	must(t, json.Unmarshal([]byte(tool(t, append([]string{bin, "import", source, target, "-o", "json"}, args...)...)), &res))
	must(t, os.Remove(target))
	return res
}
