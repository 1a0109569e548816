package testserver

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tool is the program that the module test/tools/NAME pins. It is built if require is set, else a test is skipped where
// nobody has built it yet: that takes minutes and the network.
func tool(t testing.TB, name, pkg string, require bool) string {
	t.Helper()
	bin, why := find(t, name, pkg, require)
	switch {
	case why == "":
		return bin
	case require:
		t.Fatalf("%s is required: %s", name, why)
	}
	t.Skipf("%s is not built: test/tools/build.sh %s %s", name, name, pkg)
	return ""
}

// find is the path of the program, or why there is none.
func find(t testing.TB, name, pkg string, build bool) (bin, why string) {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil {
		if _, e := os.Stat(filepath.Join(dir, "test", "tools", name, "go.mod")); e == nil {
			break
		}
		if filepath.Dir(dir) == dir {
			err = errors.New("no folder test/tools above this one")
		}
		dir = filepath.Dir(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "test", "tools", "build.sh"), name, pkg)
	if !build {
		cmd.Env = append(os.Environ(), "CDICTL_TOOLS=built")
	}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", err.Error() + ": " + said.String()
	}
	return strings.TrimSpace(string(out)), ""
}

// run starts a server on a loopback port, which args is asked for, and ends it with the test. It returns its address.
func run(t testing.TB, bin string, env []string, args func(host, port string) []string) string {
	t.Helper()
	addr := address(t)
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
	for range 7200 {
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
