package httpsource

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

// TestDialRefusesLinkLocal: a redirect may name a host that only the name server turns into a link-local address.
func TestDialRefusesLinkLocal(t *testing.T) {
	d := &dialer{origin: "images.example"}
	if _, err := d.dial(t.Context(), "tcp", "169.254.169.254:80"); !errors.Is(err, errdef.ErrRefused) {
		t.Errorf("dial: %v", err)
	}
	s, err := New("http://images.example/x", Options{Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	tr := s.transport(nil)
	defer tr.CloseIdleConnections()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://169.254.169.254/", nil)
	req.RequestURI = ""
	resp, err := tr.RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, errdef.ErrRefused) {
		t.Errorf("transport: %v", err)
	}
	// What the user has named may be dialed: no server answers here, but nothing is refused.
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	c, err := d.dial(t.Context(), "tcp", strings.TrimPrefix(srv.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestLinkLocal(t *testing.T) {
	for in, want := range map[string]bool{
		"169.254.0.1": true, "169.254.169.254": true, "::ffff:169.254.1.1": true, "fe80::1": true, "fe80::1%eth0": true,
		"febf::1": true, "fd00:ec2::254": true, "64:ff9b::a9fe:a9fe": true, "100.100.100.200": true,
		"127.0.0.1": false, "10.0.0.1": false, "169.253.1.1": false, "fd00:ec2::255": false, "::1": false, "64:ff9b::a00:1": false,
	} {
		if got := linkLocal(netip.MustParseAddr(in)); got != want {
			t.Errorf("linkLocal(%s) = %v", in, got)
		}
	}
}

func TestSameOrigin(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"http://h/a", "http://h/b", true},
		{"http://h/a", "http://H:80/b", true},
		{"http://h/a", "https://h/b", true},
		{"https://h/a", "https://h:443/b", true},
		{"https://h/a", "http://h/b", false},
		{"http://h:8080/a", "https://h/b", false},
		{"http://h/a", "https://h:8443/b", false},
		{"http://h/a", "http://h:81/b", false},
		{"http://h/a", "http://sub.h/b", false},
		{"http://h/a", "http://h.evil/b", false},
	} {
		a, _ := url.Parse(tt.from)
		b, _ := url.Parse(tt.to)
		if got := sameOrigin(a, b); got != tt.want {
			t.Errorf("sameOrigin(%s, %s) = %v", tt.from, tt.to, got)
		}
	}
}
