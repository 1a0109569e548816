package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// Proxy is a tinyproxy.
type Proxy struct {
	Addr string // host:port
	log  string
}

// StartProxy runs one until the test ends; with a user it asks for the password.
func StartProxy(t testing.TB, user, password string) *Proxy {
	t.Helper()
	proc.Need(t, "tinyproxy")
	bin, err := exec.LookPath("tinyproxy")
	must(t, err)
	dir := t.TempDir()
	p := &Proxy{log: filepath.Join(dir, "log")}
	p.Addr = run(t, bin, nil, func(host, port string) []string {
		config := filepath.Join(dir, "config")
		text := fmt.Sprintf("Listen %s\nPort %s\nTimeout 60\nMaxClients 100\nAllow 127.0.0.1\nLogFile %q\nLogLevel Info\nViaProxyName \"tinyproxy\"\n", host, port, p.log)
		if user != "" {
			text += fmt.Sprintf("BasicAuth %s %s\n", user, password)
		}
		must(t, os.WriteFile(config, []byte(text), 0o600))
		return []string{"-d", "-c", config}
	})
	return p
}

// Log is what it has said so far.
func (p *Proxy) Log(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(p.log)
	must(t, err)
	return string(b)
}
