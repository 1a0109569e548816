//go:build linux

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/web"
)

// moments is how often each route is interrupted; seed makes the moments the same in every run.
const (
	moments = 10
	seed    = 50
	// patience is what an interrupted import has to stop and clean up in.
	patience = 2 * time.Second
)

// way is an import that takes long enough to be interrupted.
type way struct {
	name   string
	length time.Duration // of the import if nobody interrupts it, about
	make   func(*stage) proc.Command
}

var ways = []way{
	{"direct, http", 1500 * time.Millisecond, func(s *stage) proc.Command {
		return s.command(s.slowly(s.in.qcow2, 1500*time.Millisecond))
	}},
	{"hashed, http", 1500 * time.Millisecond, func(s *stage) proc.Command {
		return s.command(s.slowly(s.in.qcow2, 1500*time.Millisecond), "--checksum", "sha256:"+digest(s.t, s.in.qcow2))
	}},
	{"stream, http", 1500 * time.Millisecond, func(s *stage) proc.Command {
		return s.command(s.slowly(s.in.rawGz, 1500*time.Millisecond))
	}},
	{"stream of qcow2, http", 1500 * time.Millisecond, func(s *stage) proc.Command {
		return s.command(s.slowly(s.in.qcow2Zst, 1500*time.Millisecond))
	}},
	{"stream, file, all CPU", 1500 * time.Millisecond, func(s *stage) proc.Command {
		return s.command(s.bz2())
	}},
	{"a server that never answers", time.Second, func(s *stage) proc.Command {
		srv := web.Start(s.t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		return s.command(srv.URL + "/disk.raw")
	}},
	{"a stdin that stays silent", time.Second, func(s *stage) proc.Command {
		r, w, err := os.Pipe()
		must(s.t, err)
		s.t.Cleanup(func() { r.Close(); w.Close() })
		c := s.command("-")
		c.Stdin = r
		return c
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
	worst := time.Duration(0)
	for i := range n {
		// The first 50 ms belong to the loader and the runtime, which no handler can serve.
		moment := 50*time.Millisecond + time.Duration(rng.Int64N(int64(w.length)))
		for {
			var took time.Duration
			last, took = w.once(s, sig, moment)
			worst = max(worst, took)
			if last.Exit != 0 || s.t.Failed() {
				break
			}
			moment /= 2 // it was done already: sooner then
		}
		if err := checkTalk(last.Stderr, false); last.Exit != 130 || last.Signal || err != nil {
			s.t.Errorf("moment %d, %v after the start: exit %d (killed: %v): %v: %s", i, moment, last.Exit, last.Signal, err, last.Stderr)
		}
		if err := s.dropped(last.Stderr); err != nil {
			s.t.Errorf("moment %d, %v after the start: %v", i, moment, err)
		}
	}
	if worst > patience {
		s.t.Errorf("stopped only after %v", worst)
	}
	if !s.t.Failed() {
		s.summary = fmt.Sprintf("130 ×%d, ≤%d ms", n, worst.Milliseconds())
	}
	return last
}

// dropped drops what was kept, if it was told that something was, and looks for leftovers.
func (s *stage) dropped(stderr string) error {
	if strings.Contains(stderr, "hint: run again to continue, --discard to drop") {
		for _, name := range []string{".disk.img.cdictl.part", ".disk.img.cdictl.journal"} {
			if !exists(filepath.Join(s.out, name)) {
				return fmt.Errorf("%s was not kept", name)
			}
		}
		if r := s.run(s.command("-", "--discard")); r.Exit != 0 {
			return fmt.Errorf("--discard: exit %d: %s", r.Exit, r.Stderr)
		}
	}
	return s.noLeftovers()
}

// once interrupts one import after the given time, and returns how long that took to show.
func (w way) once(s *stage, sig os.Signal, moment time.Duration) (proc.Result, time.Duration) {
	c := w.make(s) // may make its input first, which is not the import's time
	ctx, cancel := context.WithTimeout(s.t.Context(), moment+patience+10*time.Second)
	defer cancel()
	p := s.start(ctx, c)
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
