//go:build linux

// Package faults lets everything go wrong that the exit codes promise to tell apart, and holds the binary to it: the
// code of the table, one line with a hint, no target, nothing left behind. `go test -v ./test/faults` prints the table.
package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
)

// fault is one row of the table.
type fault struct {
	name string
	want []int // exit codes that fit
	hint bool  // a hint is due
	run  func(*stage) proc.Result
}

// inputs are made once and only read.
type inputs struct {
	dir string
	bin string
	// The same disk of 256 MiB: plain, as qcow2, and both compressed.
	raw, qcow2, rawGz, qcow2Zst string
	disk                        string // digest of raw
}

func newInputs(t *testing.T) *inputs {
	t.Helper()
	proc.Need(t, "qemu-img", "qemu-io", "gzip", "xz", "zstd", "bzip2", "strace")
	in := &inputs{dir: t.TempDir(), bin: proc.TestBinary(t)}
	at := func(name string) string { return filepath.Join(in.dir, name) }
	in.raw, in.qcow2, in.rawGz, in.qcow2Zst = at("disk.raw"), at("disk.qcow2"), at("disk.raw.gz"), at("disk.qcow2.zst")
	must(t, images.Raw(in.raw, 256<<20, 32<<20, 30))
	tool(t, "qemu-img", "convert", "-O", "qcow2", "-f", "raw", in.raw, in.qcow2)
	must(t, images.Compress(t.Context(), "gz", in.raw, in.rawGz))
	must(t, images.Compress(t.Context(), "zst", in.qcow2, in.qcow2Zst))
	in.disk = digest(t, in.raw)
	return in
}

// TestFaults is the table.
func TestFaults(t *testing.T) {
	in := newInputs(t)
	table := &report.Table{Title: "Faults: exit code, talk, leftovers", Header: []string{"fault", "want", "got", "verdict", "message"}}
	for _, f := range slices.Concat(imageFaults, httpFaults, targetFaults, diskFaults, signalFaults()) {
		t.Run(f.name, func(t *testing.T) {
			row := []string{f.name, codes(f.want), "-", "FAIL", ""}
			problem := errors.New("did not get to its end, see above")
			defer func() {
				if t.Skipped() {
					row[3] = "skipped"
				} else {
					table.Count(f.name, problem)
				}
				table.Row(row...)
			}()
			s := newStage(t, in)
			r := f.run(s)
			row[2] = fmt.Sprint(r.Exit)
			if s.summary != "" {
				row[2] = s.summary
			}
			row[4], _, _ = strings.Cut(tidy(r.Stderr), "\n")
			if problem = f.check(s, r); problem != nil {
				t.Error(problem)
			} else if t.Failed() { // something on the way, told already
				problem = errors.New("see above")
			} else {
				row[3] = "ok"
			}
		})
	}
	table.Print(os.Stdout)
}

func (f fault) check(s *stage, r proc.Result) error {
	if s.summary != "" { // the case checked more than one run itself
		return s.noLeftovers()
	}
	if !slices.Contains(f.want, r.Exit) {
		return fmt.Errorf("exit %d, want %s: %s", r.Exit, codes(f.want), tidy(r.Stderr))
	}
	if err := checkTalk(r.Stderr, f.hint); err != nil {
		return err
	}
	return s.noLeftovers()
}

// folders are those of a test, as the testing package names them.
var folders = regexp.MustCompile(regexp.QuoteMeta(os.TempDir()) + `/TestFaults\S*/\d+/`)

// tidy takes the long names of the folders out of a message.
func tidy(text string) string {
	return folders.ReplaceAllString(strings.TrimSpace(text), "")
}

func codes(want []int) string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(want)), "|"), "[]")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tool(t *testing.T, args ...string) string {
	t.Helper()
	out, err := proc.Tool(t.Context(), args...)
	must(t, err)
	return out
}

func digest(t *testing.T, path string) string {
	t.Helper()
	d, err := images.SHA256(path)
	must(t, err)
	return d
}
