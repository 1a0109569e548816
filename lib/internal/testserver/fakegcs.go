package testserver

import "testing"

// FakeGCS says how to run fake-gcs-server.
type FakeGCS struct {
	// Require makes a program that is not built yet built, instead of a skip.
	Require bool
}

// Start runs it on a loopback port until the test ends, and returns its URL. What it stores is in its memory.
func (f FakeGCS) Start(t testing.TB) string {
	t.Helper()
	bin := tool(t, "fakegcs", "github.com/fsouza/fake-gcs-server", f.Require)
	addr := run(t, bin, nil, func(host, port string) []string {
		return []string{"-scheme", "http", "-host", host, "-port", port, "-public-host", host, "-backend", "memory", "-log-level", "error"}
	})
	return "http://" + addr
}
