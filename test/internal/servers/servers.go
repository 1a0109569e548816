// Package servers runs real servers of images on loopback: an S3 server, one of Google's storage, a container registry, a
// forward proxy. The suites cannot use lib/internal/testserver, which Go keeps inside of lib.
package servers

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// tool is the program that the module test/tools/NAME pins. Where tools are required it is built, which takes minutes; else
// a test is skipped if nobody has built it yet.
func tool(t testing.TB, name, pkg string) string {
	t.Helper()
	root, err := proc.Root()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(root, "test", "tools", "build.sh"), name, pkg)
	if os.Getenv("CDICTL_REQUIRE_TOOLS") != "1" {
		cmd.Env = append(os.Environ(), "CDICTL_TOOLS=built")
	}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		proc.Lacking(t, "test/tools/build.sh "+name+" "+pkg+": "+said.String())
	}
	return strings.TrimSpace(string(out))
}

// run starts a server on a loopback port, which args is asked for, and ends it with the test. It returns its address.
func run(t testing.TB, bin string, env []string, args func(host, port string) []string) string {
	t.Helper()
	addr := Address(t)
	host, port, _ := net.SplitHostPort(addr)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args(host, port)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // how it ended is in its log
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = log.Close()
	})
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			_ = c.Close()
			return addr
		}
		select {
		case <-done:
			b, _ := os.ReadFile(log.Name())
			t.Fatalf("%s did not start: %s", filepath.Base(bin), b)
		case <-time.After(25 * time.Millisecond):
		}
	}
	t.Fatalf("%s does not listen on %s", filepath.Base(bin), addr)
	return ""
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
