package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cdictl/cdictl/cmd/internal/apitest"
)

// asProgram makes the test binary be cdictl: what is tested is the process, with its exit code and its signals.
const asProgram = "TEST_AS_CDICTL"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "1" {
		main()
	}
	apitest.Main(m, apitest.Options{})
}

// A run is one call of cdictl.
type run struct {
	cmd      *exec.Cmd
	out, err buffer
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

// begin starts cdictl with a kubeconfig.
func begin(t *testing.T, kubeconfig string, args ...string) *run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	r := &run{cmd: exec.CommandContext(ctx, os.Args[0], args...)}
	r.cmd.Env = append(os.Environ(), asProgram+"=1", "KUBECONFIG="+kubeconfig, "XDG_CONFIG_HOME="+t.TempDir(), "NO_PROXY=*")
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.err
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// end waits for it, and wants this exit code.
func (r *run) end(t *testing.T, code int) *run {
	t.Helper()
	err := r.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%v: exit code %d, want %d\nstdout: %s\nstderr: %s", r.cmd.Args[1:], got, code, &r.out, &r.err)
	}
	return r
}

// says wants all these in stdout (err: false) or stderr.
func (r *run) says(t *testing.T, stderr bool, parts ...string) *run {
	t.Helper()
	text := r.out.String()
	if stderr {
		text = r.err.String()
	}
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%v: %q is not in:\n%s", r.cmd.Args[1:], p, text)
		}
	}
	return r
}

// until waits for something to be said.
func (r *run) until(t *testing.T, b *buffer, part string) {
	t.Helper()
	for range 400 {
		if strings.Contains(b.String(), part) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%v: %q was never said\nstdout: %s\nstderr: %s", r.cmd.Args[1:], part, &r.out, &r.err)
}
