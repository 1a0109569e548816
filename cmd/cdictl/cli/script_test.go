//go:build unix

package cli_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cdictl/cdictl/cmd/cdictl/cli"
)

func TestMain(m *testing.M) {
	run := func() { os.Exit(cli.Main(cli.Build{Version: "v0.0.0-test", Commit: "abc", Date: "today"})) }
	testscript.Main(m, map[string]func(){"cdictl": run, "kubectl-cdi": run})
}

// TestScripts runs the real program: testdata/script/*.txtar. The commands below are theirs.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "config"))
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("NO_PROXY", "*")
			// No test asks a metadata address, where clouds keep the keys of their machines.
			e.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			e.Setenv("GCE_METADATA_HOST", "127.0.0.1:1")
			e.Values[serversKey{}] = servers{}
			e.Values[skipKey{}] = e.T()
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"need":    need,
			"status":  status,
			"expires": expires,
			"signal":  signalled,
			"blank":   blank,
			"fill":    fill,
			"same":    same,
			"left":    left,
			"digest":  digest,
			"mask":    mask,
			"serve":   serve,
			"sent":    sent,
			"sparse":  sparse,
			"loop":    loop,
		},
	})
}

// need TOOL…: the script needs these programs. Where CDICTL_REQUIRE_TOOLS is 1 it must not be passed over.
func need(ts *testscript.TestScript, _ bool, args []string) {
	for _, tool := range args {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CDICTL_REQUIRE_TOOLS") == "1" {
				ts.Fatalf("%s is needed: %v", tool, err)
			}
			ts.Value(skipKey{}).(testscript.T).Skip("needs " + tool)
		}
	}
}

// status CODE PROGRAM ARG…: run it and want this exit code. What it printed is for stdout and stderr, as with exec.
func status(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	if got := exitCode(ts, err); got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func exitCode(ts *testscript.TestScript, err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	ts.Fatalf("%v", err)
	return -1
}

// expires DURATION,… PROGRAM ARG…: run it with --timeout, and want it to time out and to leave what can be gone on with. A
// slow machine may have nothing by then, and gets more time.
func expires(ts *testscript.TestScript, _ bool, args []string) {
	for d := range strings.SplitSeq(args[0], ",") {
		status(ts, false, append([]string{"22", args[1], "--timeout", d}, args[2:]...))
		if strings.Contains(ts.ReadFile("stderr"), "\nhint: run again to continue") {
			return
		}
	}
	ts.Fatalf("it has nothing to go on with")
}

// blank: a terminal shows nothing of what was printed on stderr.
func blank(ts *testscript.TestScript, _ bool, _ []string) {
	for line := range strings.Lines(ts.ReadFile("stderr")) {
		var shown []rune
		for piece := range strings.SplitSeq(line, "\r") {
			over := []rune(piece)
			shown = append(over, shown[min(len(over), len(shown)):]...)
		}
		if strings.TrimSpace(string(shown)) != "" {
			ts.Fatalf("a terminal shows %q", string(shown))
		}
	}
}

// signal SIGNAL WHEN PROGRAM ARG…: start it, send the signal as soon as the file WHEN is there (or, if WHEN is
// "stderr", as soon as it said something), and want exit code 130 and the word for it within two seconds.
//
// A program that has given up putting things away, after 1.8 s, cannot tell what it has left. Where the machine is so slow, it
// is tried again, but for what waits for a record: that is what is left then, and all of it.
func signalled(ts *testscript.TestScript, _ bool, args []string) {
	for range 5 {
		if once(ts, args) || strings.HasSuffix(args[1], ".journal") {
			return
		}
		_ = os.Remove(ts.MkAbs(args[1]))
	}
	ts.Fatalf("it never puts everything away")
}

// once is false if the program has given up.
func once(ts *testscript.TestScript, args []string) bool {
	sig := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}[args[0]]
	path, err := exec.LookPath(args[2])
	ts.Check(err)
	c := exec.Command(path, args[3:]...)
	c.Dir = ts.Getenv("WORK")
	c.Env = append(os.Environ(), "XDG_CONFIG_HOME="+ts.Getenv("XDG_CONFIG_HOME"), "XDG_STATE_HOME="+ts.Getenv("XDG_STATE_HOME"), "NO_PROXY=*")
	var talk buffer
	c.Stderr = &talk
	if slices.Contains(args[3:], "-") { // stdin that never ends and never says anything
		in, err := c.StdinPipe()
		ts.Check(err)
		defer in.Close()
	}
	if sig == syscall.SIGHUP {
		// Under nohup the child would inherit that it is ignored. What is caught is not inherited.
		caught := make(chan os.Signal, 1)
		signal.Notify(caught, sig)
		defer signal.Stop(caught)
	}
	ts.Check(c.Start())
	due := func() bool {
		if args[1] == "stderr" {
			return talk.String() != ""
		}
		_, err := os.Stat(ts.MkAbs(args[1]))
		return err == nil
	}
	for deadline := time.Now().Add(3 * time.Minute); !due(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = c.Process.Kill()
			ts.Fatalf("%s never came; stderr: %s", args[1], &talk)
		}
	}
	sent := time.Now()
	ts.Check(c.Process.Signal(sig))
	late := time.AfterFunc(3*time.Minute, func() { _ = c.Process.Kill() })
	err = c.Wait()
	late.Stop()
	took := time.Since(sent)
	said := "\n" + strings.ReplaceAll(talk.String(), "\r", "\n") // a bar is taken back with \r
	if exitCode(ts, err) == 130 && took > 1700*time.Millisecond && strings.HasSuffix(talk.String(), "cdictl: canceled\n") {
		return false
	}
	if got := exitCode(ts, err); got != 130 || !slices.ContainsFunc(
		[]string{"nothing was left", "run again to continue, --discard to drop"},
		func(hint string) bool { return strings.Contains(said, "\ncdictl: canceled\nhint: "+hint) }) {
		ts.Fatalf("exit status %d after %s; stderr: %s", got, took, &talk)
	}
	return true
}

// A buffer can be read while a process writes to it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// same A B: both files have the same bytes. With !: they have not.
func same(ts *testscript.TestScript, neg bool, args []string) {
	if equal := ts.ReadFile(args[0]) == ts.ReadFile(args[1]); equal == neg {
		ts.Fatalf("%s and %s: same is %v", args[0], args[1], equal)
	}
}

// left DIR NAME…: the folder holds exactly these, hidden ones included.
func left(ts *testscript.TestScript, _ bool, args []string) {
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	want := slices.Sorted(slices.Values(args[1:]))
	if !slices.Equal(got, want) {
		ts.Fatalf("%s holds %q, want %q", args[0], got, want)
	}
}

// sparse FILE PERCENT: the file takes at most so much of its size on disk. With !: it takes more.
func sparse(ts *testscript.TestScript, neg bool, args []string) {
	fi, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	limit, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	if used := st.Blocks * 512; (used <= fi.Size()*limit/100) == neg {
		ts.Fatalf("%s takes %d bytes of %d, and %d%% is the limit", args[0], used, fi.Size(), limit)
	}
}

// number reads 4096, 4K, 4M.
func number(ts *testscript.TestScript, s string) int64 {
	unit := int64(1)
	switch {
	case strings.HasSuffix(s, "K"):
		unit, s = 1<<10, s[:len(s)-1]
	case strings.HasSuffix(s, "M"):
		unit, s = 1<<20, s[:len(s)-1]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	ts.Check(err)
	return n * unit
}

type skipKey struct{}
