package testserver

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Start serves h over HTTP/1.1 until the test ends, and returns its URL without a path.
func Start(t testing.TB, h http.Handler) string {
	t.Helper()
	return start(t, h, nil)
}

// StartTLS serves h over HTTPS, HTTP/2 and 1.1, with a certificate of ca for 127.0.0.1 and localhost. If clients is not
// nil, a client certificate of that CA is required.
func StartTLS(t testing.TB, h http.Handler, ca, clients *CA) string {
	t.Helper()
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.Server(t)}, MinVersion: tls.VersionTLS12}
	if clients != nil {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, clients.Pool()
	}
	return start(t, h, cfg)
}

func start(t testing.TB, h http.Handler, cfg *tls.Config) string {
	t.Helper()
	// Not httptest's own close: it waits for idle connections of clients that a failed test has left open.
	var conns sync.Map
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // panics and refused handshakes are what the test wants
	s.Config.ReadHeaderTimeout = time.Minute
	s.Config.ConnState = func(c net.Conn, st http.ConnState) {
		if st == http.StateClosed || st == http.StateHijacked {
			conns.Delete(c)
		} else {
			conns.Store(c, nil)
		}
	}
	if cfg != nil {
		s.TLS = cfg
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		conns.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}
