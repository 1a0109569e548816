//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// server is nginx on loopback; its work is in nobody's account.
type server struct {
	url   string // empty: there is none
	about string
	cmd   *exec.Cmd
}

const nginxConf = `daemon off;
master_process off;
pid PREFIX/nginx.pid;
error_log stderr error;
events { worker_connections 256; }
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	client_body_temp_path PREFIX/b; proxy_temp_path PREFIX/p; fastcgi_temp_path PREFIX/f; uwsgi_temp_path PREFIX/u; scgi_temp_path PREFIX/s;
	server { listen ADDRESS; location / { root "ROOT"; } }
}
`

// serve starts nginx on dir.
func serve(ctx context.Context, dir, work string) (*server, error) {
	if _, err := exec.LookPath("nginx"); err != nil {
		return &server{about: "left out, nginx is not installed"}, nil //nolint:nilerr // about tells
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	conf := filepath.Join(work, "nginx.conf")
	text := strings.NewReplacer("PREFIX", work, "ADDRESS", address, "ROOT", dir).Replace(nginxConf)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	s := &server{url: "http://" + address, about: "nginx on loopback", cmd: exec.CommandContext(ctx, "nginx", "-p", work, "-c", conf)}
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for range 100 {
		if conn, err := net.Dial("tcp", address); err == nil {
			return s, conn.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.stop()
	return nil, fmt.Errorf("nginx did not listen on %s in 2 s", address)
}

func (s *server) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		_ = s.cmd.Wait() // it was told to die
	}
}
