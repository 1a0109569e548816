package testserver

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Nginx says how to run nginx.
type Nginx struct {
	Root    string // the folder that is served
	CertKey [2]string
	// Location holds directives of the server block ("max_ranges 0;").
	Location string
	// Require makes a missing nginx a failure instead of a skip.
	Require bool
}

// Start runs nginx on a loopback port until the test ends, and returns its URL without a path. With CertKey (paths of
// PEM files) it speaks TLS, HTTP/2 and 1.1.
func (n Nginx) Start(t testing.TB) string {
	t.Helper()
	bin, err := exec.LookPath("nginx")
	if err != nil {
		if n.Require {
			t.Fatal("nginx is required and not installed")
		}
		t.Skip("nginx is not installed")
	}
	dir := t.TempDir()
	addr := address(t)
	scheme, listen, certs := "http", addr, ""
	if n.CertKey[0] != "" {
		scheme, listen = "https", addr+" ssl http2"
		certs = fmt.Sprintf("ssl_certificate %s; ssl_certificate_key %s;", n.CertKey[0], n.CertKey[1])
	}
	// The worker keeps the test's own user, which owns the folders.
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	conf := fmt.Sprintf(`daemon off; master_process on; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log; %[2]s
events { worker_connections 128; }
http {
  access_log off; default_type application/octet-stream;
  client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;
  server { listen %[3]s; root %[4]s; %[5]s %[6]s }
}
`, dir, user, listen, n.Root, certs, n.Location)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-p", dir, "-c", path, "-e", filepath.Join(dir, "error.log"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // how it ended is in its log
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // fast shutdown, workers too
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
		}
	})
	for range 7200 {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			_ = c.Close()
			return scheme + "://" + addr
		}
		select {
		case <-done:
			log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Fatalf("nginx did not start: %s", log)
		case <-time.After(25 * time.Millisecond):
		}
	}
	t.Fatalf("nginx does not listen on %s", addr)
	return ""
}
