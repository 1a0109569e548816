//go:build linux

package faults

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/web"
)

var lockError = regexp.MustCompile(`^cdictl: [^\n]*\.img: another process(?: \(process (\d+), "cdictl"\))? writes this disk: [^\n]*\nhint: [^\n]*\n$`)

// TestManyWriters imports ten times into one folder at once, twice to one name. One of these two is refused at once, by an
// error that says who is in the way, and nobody else notices.
func TestManyWriters(t *testing.T) {
	proc.Need(t, "qemu-img", "gzip", "xz")
	bin, in, out := proc.TestBinary(t), t.TempDir(), t.TempDir()
	raw := filepath.Join(in, "disk.raw")
	must(t, images.Raw(raw, 64<<20, 12<<20, 44))
	want := digest(t, raw)
	tool(t, "qemu-img", "convert", "-O", "qcow2", "-f", "raw", raw, filepath.Join(in, "disk.qcow2"))
	tool(t, "gzip", "-1", "-k", raw)
	must(t, blocksOfXZ(t, filepath.Join(in, "disk.qcow2"), filepath.Join(in, "disk.qcow2.xz"), "--block-size=4MiB"))
	names := []string{"disk.raw", "disk.qcow2", "disk.raw.gz", "disk.qcow2.xz"}

	gate := make(chan struct{})
	srv := web.Start(t, behindGate(gate, web.Ranges(in)))

	const writers, shared = 10, 4
	procs := make([]*proc.Process, writers)
	for i := range procs {
		no := i
		if i == writers-1 {
			no = shared
		}
		source, target := srv.URL+"/"+names[no%len(names)], filepath.Join(out, fmt.Sprintf("%d.img", no))
		p, err := proc.Start(t.Context(), proc.Command{Args: []string{bin, "import", source, target, "--progress", "none", "--quiet"}})
		must(t, err)
		procs[i] = p
	}
	loser, winner := procs[writers-1], procs[shared]
	var open sync.Once
	defer open.Do(func() { close(gate) })
	select { // one is refused while the other waits for the rest of its disk
	case <-loser.Done():
	case <-winner.Done():
		loser, winner = winner, loser
	case <-time.After(patience):
		t.Fatal("two write one disk, and none is refused")
	}
	open.Do(func() { close(gate) })

	r, err := loser.Wait()
	must(t, err)
	if m := lockError.FindStringSubmatch(r.Stderr); r.Exit != 18 || m == nil {
		t.Errorf("the second writer: exit %d: %q", r.Exit, r.Stderr)
	} else if m[1] != "" && m[1] != fmt.Sprint(winner.PID()) {
		t.Errorf("process %d is in the way, told is %s", winner.PID(), m[1])
	}
	for i, p := range procs {
		if p == loser {
			continue
		}
		r, err := p.Wait()
		must(t, err)
		if r.Exit != 0 {
			t.Errorf("writer %d: exit %d: %s", i, r.Exit, r.Stderr)
		}
	}
	left, err := os.ReadDir(out)
	must(t, err)
	if len(left) != writers-1 {
		t.Errorf("%d files, want %d: %v", len(left), writers-1, left)
	}
	for i := range writers - 1 {
		if got := digest(t, filepath.Join(out, fmt.Sprintf("%d.img", i))); got != want {
			t.Errorf("disk %d: %s, want %s", i, got, want)
		}
	}
}

// behindGate sends the first bytes of each answer, by which a disk is known, and the rest when the gate is open.
func behindGate(gate <-chan struct{}, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&gatedWriter{ResponseWriter: w, gate: gate, done: r.Context().Done(), free: 256 << 10}, r)
	})
}

type gatedWriter struct {
	http.ResponseWriter
	gate, done <-chan struct{}
	free       int
}

func (g *gatedWriter) Unwrap() http.ResponseWriter { return g.ResponseWriter }

func (g *gatedWriter) Write(p []byte) (int, error) {
	if g.free -= len(p); g.free < 0 {
		select {
		case <-g.gate:
		case <-g.done:
		}
	}
	return g.ResponseWriter.Write(p)
}
