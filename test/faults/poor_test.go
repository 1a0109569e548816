//go:build linux

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/fusefs"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
)

// poorCalls are those that a network file system may not have. What the kernel answered is in the trace.
const poorCalls = "trace=openat,flock,fallocate,renameat2,sync_file_range"

// TestPoor imports where there are no locks, no direct writes and no ranges to allocate, as over NFS, and where the system
// refuses single calls: the disk is right, and the system-call trace shows that none of them worked.
func TestPoor(t *testing.T) {
	in := newInputs(t)
	here := func(t *testing.T) string { return t.TempDir() }
	poor := func(t *testing.T) string { return fusefs.Mount(t, t.TempDir(), fusefs.Options{Poor: true}) }
	table := &report.Table{Title: "Without locks and direct writes", Header: []string{"where", "image", "exit", "O_DIRECT", "flock", "verdict"}}
	for _, c := range []struct {
		name, inject string
		dir          func(t *testing.T) string
		image        string
		direct       bool // may work
		flock        string
	}{
		{"a file system that has neither", "", poor, in.raw, false, "ENOLCK"},
		{"a file system that has neither", "", poor, in.qcow2, false, "ENOLCK"},
		{"a file system that has neither", "", poor, in.qcow2Zst, false, "ENOLCK"},
		{"flock: ENOLCK", "inject=flock:error=ENOLCK", here, in.qcow2, true, "ENOLCK"},
		{"flock: EOPNOTSUPP", "inject=flock:error=EOPNOTSUPP", here, in.rawGz, true, "EOPNOTSUPP"},
		{"no sync_file_range either", "inject=sync_file_range:error=ENOSYS", poor, in.raw, false, "ENOLCK"},
	} {
		t.Run(c.name+", "+filepath.Base(c.image), func(t *testing.T) {
			s := newStage(t, in)
			s.out = c.dir(t)
			s.target = filepath.Join(s.out, "disk.img")
			log := s.path("strace.log")
			cmd := s.command(c.image)
			trace := []string{"strace", "-f", "-qq", "-e", poorCalls, "-o", log}
			if c.inject != "" {
				trace = append(trace, "-e", c.inject)
			}
			cmd.Args = append(trace, cmd.Args...)
			r := s.run(cmd)
			direct, flock, problem := readTrace(log)
			switch {
			case problem != nil:
			case r.Exit != 0:
				problem = fmt.Errorf("exit %d: %s", r.Exit, r.Stderr)
			case !c.direct && direct != "EINVAL":
				problem = fmt.Errorf("open with O_DIRECT: %q", direct)
			case flock != c.flock:
				problem = fmt.Errorf("flock: %q, want %s", flock, c.flock)
			default:
				problem = s.wholeTarget(in.disk)
			}
			if problem != nil {
				t.Error(problem)
			}
			table.Row(c.name, filepath.Base(c.image), fmt.Sprint(r.Exit), direct, flock, verdict(problem))
			table.Count(c.name+", "+filepath.Base(c.image), problem)
		})
	}
	table.Print(os.Stdout)
	t.Run("two writers", func(t *testing.T) { poorWriters(newStage(t, in)) })
}

var traced = regexp.MustCompile(`(openat|flock)\((.*?)\)\s+= (-?\d+)(?: (E[A-Z]+))?|(?:<\.\.\. (openat|flock) resumed>)(.*?)\)\s+= (-?\d+)(?: (E[A-Z]+))?`)

// readTrace tells what came of opening with O_DIRECT and of locking: "ok" if it ever worked, else the error; "" if it was
// never tried.
func readTrace(log string) (direct, flock string, err error) {
	b, err := os.ReadFile(log)
	if err != nil {
		return "", "", err
	}
	began := map[string]string{} // by process: the call that is under way
	for line := range strings.Lines(string(b)) {
		pid, _, _ := strings.Cut(line, " ")
		if call, ok := strings.CutSuffix(strings.TrimSpace(line), "<unfinished ...>"); ok {
			began[pid] = call
			continue
		}
		m := traced.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		call, args, errno := m[1], m[2], m[4]
		if m[5] != "" {
			call, args, errno = m[5], began[pid]+m[6], m[8]
		}
		if errno == "" {
			errno = "ok"
		}
		switch {
		case call == "flock" && flock != "ok":
			flock = errno
		case call == "openat" && strings.Contains(args, "O_DIRECT|") && direct != "ok",
			call == "openat" && strings.HasSuffix(args, "O_DIRECT") && direct != "ok":
			direct = errno
		}
	}
	return direct, flock, nil
}

// poorWriters: without locks the part's name is all that keeps two writers apart. So one that was left by a killed
// process is in the way until somebody removes it, and who can still do so removes it himself.
func poorWriters(s *stage) {
	t, in := s.t, s.in
	s.out = fusefs.Mount(t, t.TempDir(), fusefs.Options{Poor: true})
	s.target = filepath.Join(s.out, "disk.img")
	if r := twoWriters(s); r.Exit != 18 || !strings.Contains(r.Stderr, "another process may be writing this disk") {
		t.Errorf("the second writer: exit %d: %s", r.Exit, r.Stderr)
	}
	must(t, os.Remove(s.target))

	interrupt := func(sig syscall.Signal) (proc.Result, time.Duration) {
		g, url := s.half(in.qcow2)
		p := s.start(t.Context(), s.command(url))
		s.atWork(p, g)
		time.Sleep(3 * time.Second) // for what elsewhere would be worth keeping
		sent := time.Now()
		must(t, p.Signal(sig))
		r, err := p.Wait()
		must(t, err)
		return r, time.Since(sent)
	}
	s.before = []string{}
	r, took := interrupt(syscall.SIGINT)
	if r.Exit != 130 || strings.Contains(r.Stderr, "run again") {
		t.Errorf("interrupted: exit %d: %s", r.Exit, r.Stderr)
	}
	if err := s.noLeftovers(); err != nil && took < gaveUp {
		t.Error(err)
	} else if err != nil {
		must(t, os.Remove(filepath.Join(s.out, ".disk.img.cdictl.part")))
	}
	if r, _ := interrupt(syscall.SIGKILL); !r.Signal {
		t.Errorf("killed: exit %d: %s", r.Exit, r.Stderr)
	}
	r = s.importing(in.qcow2)
	_, part, ok := strings.Cut(r.Stderr, "hint: if nobody does, remove ")
	if r.Exit != 18 || !ok {
		t.Fatalf("over a part of nobody: exit %d: %s", r.Exit, r.Stderr)
	}
	must(t, os.Remove(strings.TrimSpace(part)))
	if r := s.importing(in.qcow2); r.Exit != 0 {
		t.Errorf("when the part is removed: exit %d: %s", r.Exit, r.Stderr)
	}
	must(t, s.wholeTarget(in.disk))
}
