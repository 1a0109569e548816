//go:build linux

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/web"
)

// moments is how often each route is interrupted; seed makes the moments the same in every run.
const (
	moments = 10
	seed    = 50
	// patience ends what hangs, and promptly is how long an import may take to stop. The quickest of many has to keep to it: on
	// a machine that stands still now and then, others may be late for no reason of theirs.
	patience, promptly = 3 * time.Minute, 2 * time.Second
	// gaveUp is when the program goes without having put everything away: a little less than it gives itself.
	gaveUp = 1700 * time.Millisecond
)

// way is an import that takes long enough to be interrupted.
type way struct {
	name   string
	length time.Duration // of the import if nobody interrupts it, about
	make   func(*stage) (proc.Command, begun)
}

// begun says whether a process does its work. Before that it belongs to the loader and the runtime, which no handler can
// serve.
type begun func(*proc.Process) bool

// asked: the server has been asked for something.
func asked(srv *web.Server) begun {
	return func(*proc.Process) bool { return srv.Requests.Load() > 0 }
}

// slow is an import of a file that takes 1.5 s to come.
func slow(s *stage, path string, args ...string) (proc.Command, begun) {
	srv, url := s.slowly(path, 1500*time.Millisecond)
	return s.command(url, args...), asked(srv)
}

var ways = []way{
	{"direct, http", 1500 * time.Millisecond, func(s *stage) (proc.Command, begun) {
		return slow(s, s.in.qcow2)
	}},
	{"hashed, http", 1500 * time.Millisecond, func(s *stage) (proc.Command, begun) {
		return slow(s, s.in.qcow2, "--checksum", "sha256:"+digest(s.t, s.in.qcow2))
	}},
	{"stream, http", 1500 * time.Millisecond, func(s *stage) (proc.Command, begun) {
		return slow(s, s.in.rawGz)
	}},
	{"stream of qcow2, http", 1500 * time.Millisecond, func(s *stage) (proc.Command, begun) {
		return slow(s, s.in.qcow2Zst)
	}},
	{"stream, file, all CPU", 1500 * time.Millisecond, func(s *stage) (proc.Command, begun) {
		path := s.bz2()
		return s.command(path), func(p *proc.Process) bool {
			open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.PID()))
			return slices.ContainsFunc(open, func(fd string) bool { to, _ := os.Readlink(fd); return to == path })
		}
	}},
	{"a server that never answers", time.Second, func(s *stage) (proc.Command, begun) {
		srv := web.Start(s.t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		return s.command(srv.URL + "/disk.raw"), asked(srv)
	}},
	{"a stdin that falls silent", time.Second, func(s *stage) (proc.Command, begun) {
		r, w, err := os.Pipe()
		must(s.t, err)
		s.t.Cleanup(func() { r.Close(); w.Close() })
		_, err = w.WriteString("Q") // a qcow2, perhaps
		must(s.t, err)
		c := s.command("-")
		c.Stdin = r
		return c, func(*proc.Process) bool {
			n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
			must(s.t, err)
			return n == 0
		}
	}},
}

func signalFaults() []fault {
	var list []fault
	for _, w := range ways {
		list = append(list, fault{fmt.Sprintf("SIGINT ×%d, %s", moments, w.name), []int{130}, false, func(s *stage) proc.Result {
			return w.interrupt(s, syscall.SIGINT, moments)
		}})
		list = append(list, fault{"SIGTERM ×2, " + w.name, []int{130}, false, func(s *stage) proc.Result {
			return w.interrupt(s, syscall.SIGTERM, 2)
		}})
	}
	return list
}

// interrupt starts the import n times and sends sig at a random moment of each.
func (w way) interrupt(s *stage, sig syscall.Signal, n int) (last proc.Result) {
	rng := rand.New(rand.NewPCG(seed, uint64(sig)))
	worst, best := time.Duration(0), patience
	for i := range n {
		moment, took := time.Duration(rng.Int64N(int64(w.length))), time.Duration(0)
		for range 20 {
			last, took = w.once(s, sig, moment)
			worst, best = max(worst, took), min(best, took)
			if last.Exit != 0 || s.t.Failed() {
				break
			}
			moment /= 2 // it was done already: sooner then
		}
		if err := checkTalk(last.Stderr, false); last.Exit != 130 || last.Signal || err != nil {
			s.t.Errorf("moment %d, %v behind the beginning: exit %d (killed: %v): %v: %s", i, moment, last.Exit, last.Signal, err, last.Stderr)
		}
		if err := s.dropped(last.Stderr, took); err != nil {
			s.t.Errorf("moment %d, %v behind the beginning: %v", i, moment, err)
		}
	}
	if n >= moments && best > promptly {
		s.t.Errorf("none of %d ended within %v of %v: the quickest took %v", n, promptly, sig, best)
	}
	if !s.t.Failed() {
		s.summary = fmt.Sprintf("130 ×%d, ≤%d ms", n, worst.Milliseconds())
	}
	return last
}

// dropped drops what was kept, if it was told that something was, and looks for leftovers. A program that has given up what
// there was to do, because it took too long, leaves its part and cannot tell.
func (s *stage) dropped(stderr string, took time.Duration) error {
	part := filepath.Join(s.out, ".disk.img.cdictl.part")
	told := strings.Contains(stderr, "hint: run again to continue, --discard to drop")
	if told && !exists(part) {
		return fmt.Errorf("%s was not kept", part)
	}
	if record := filepath.Join(s.out, ".disk.img.cdictl.journal"); told && !exists(record) {
		return fmt.Errorf("%s was not kept", record)
	}
	if told || took >= gaveUp && exists(part) {
		if r := s.run(s.command("-", "--discard")); r.Exit != 0 {
			return fmt.Errorf("--discard: exit %d: %s", r.Exit, r.Stderr)
		}
	}
	return s.noLeftovers()
}

// once interrupts one import so long after its beginning, and returns how long that took to show.
func (w way) once(s *stage, sig os.Signal, moment time.Duration) (proc.Result, time.Duration) {
	c, ready := w.make(s) // may make its input first, which is not the import's time
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	p := s.start(ctx, c)
	for over := false; !over && !ready(p); {
		select {
		case <-p.Done():
			over = true
		case <-time.After(time.Millisecond):
		}
	}
	select {
	case <-p.Done():
	case <-time.After(moment):
	}
	sent := time.Now()
	must(s.t, p.Signal(sig))
	r, err := p.Wait()
	took := time.Since(sent)
	must(s.t, err)
	if r.Exit == 0 {
		if got := digest(s.t, s.target); got != s.in.disk {
			s.t.Errorf("finished before the signal with digest %s, want %s", got, s.in.disk)
		}
		must(s.t, os.Remove(s.target))
	}
	return r, took
}

// bz2 is the disk as bzip2, slow to decode: made once.
func (s *stage) bz2() string {
	path := s.in.raw + ".bz2"
	if !exists(path) {
		must(s.t, images.Compress(s.t.Context(), "bz2", s.in.raw, path))
	}
	return path
}

// bare is a context that outlives the test's own, for what cleanup runs.
func bare(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }
