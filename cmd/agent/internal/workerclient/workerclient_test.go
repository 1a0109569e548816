package workerclient

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/job"
)

// patience is for machines that stand still now and then.
const patience = time.Minute

func serve(t *testing.T, h http.HandlerFunc) (*Client, string) {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	addr := s.Listener.Addr().(*net.TCPAddr)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &Client{
		TLS:  func(string) (*tls.Config, error) { return &tls.Config{RootCAs: roots, ServerName: "example.com"}, nil },
		Port: addr.Port, Timeout: patience,
	}, addr.IP.String()
}

func TestProgress(t *testing.T) {
	want := job.Progress{Version: job.Version, UID: "u1", Rate: 5, Remaining: -1}
	want.Total, want.Virtual = 100, 40
	c, ip := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/progress" {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(want)
	})
	got, err := c.Progress(t.Context(), ip, "u1")
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := c.Progress(t.Context(), ip, "u2"); !errors.Is(err, ErrOther) {
		t.Errorf("another's answer: %v", err)
	}
}

func TestProgressRefuses(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"status": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere/", http.StatusFound)
		},
		"not JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for range 1000 {
				if _, err := w.Write([]byte(strings.Repeat(" ", 1<<10))); err != nil {
					return
				}
			}
		},
		"silent": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(3 * patience):
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, ip := serve(t, h)
			if name == "silent" {
				c.Timeout = 0
			}
			began := time.Now()
			if _, err := c.Progress(t.Context(), ip, "u1"); err == nil {
				t.Error("no error")
			}
			if d := time.Since(began); d > patience {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestTrust(t *testing.T) {
	c, ip := serve(t, func(http.ResponseWriter, *http.Request) {})
	c.TLS = func(string) (*tls.Config, error) {
		return &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "example.com"}, nil
	}
	if _, err := c.Progress(t.Context(), ip, "u1"); !errors.Is(err, ErrTrust) {
		t.Errorf("unknown authority: %v", err)
	}

	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
	s.StartTLS()
	defer s.Close()
	addr := s.Listener.Addr().(*net.TCPAddr)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c = &Client{TLS: func(string) (*tls.Config, error) { return &tls.Config{RootCAs: roots, ServerName: "example.com"}, nil }, Port: addr.Port, Timeout: patience}
	if _, err := c.Progress(t.Context(), addr.IP.String(), "u1"); !errors.Is(err, ErrTrust) {
		t.Errorf("refused client: %v", err)
	}

	nothing := errors.New("nothing fits")
	c.TLS = func(string) (*tls.Config, error) {
		return &tls.Config{RootCAs: roots, ServerName: "example.com", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return nil, nothing
		}}, nil
	}
	if _, err := c.Progress(t.Context(), addr.IP.String(), "u1"); !errors.Is(err, ErrTrust) || !errors.Is(err, nothing) {
		t.Errorf("no certificate of ours: %v", err)
	}
}
