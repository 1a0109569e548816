package httpsource

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
)

func TestSibling(t *testing.T) {
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(r.Context())
		_, _ = io.WriteString(w, "content")
	}))
	defer server.Close()
	for _, tt := range []struct{ url, name, want string }{
		{"/d/disk.vmdk", "disk-flat.vmdk", "/d/disk-flat.vmdk"},
		{"/d/disk.vmdk?a=b", "x", "/d/x?a=b"},
		{"/a%2Fb/disk.vmdk", "x", "/a%2Fb/x"},
		{"/d/", "x", "/d/x"},
		{"/disk.vmdk", "a?b#c%2e &d", "/a%3Fb%23c%252e%20&d"},
		{"", "x", "/x"},
		{"/d/disk.vmdk", "http:x", "/d/http:x"},
	} {
		s, err := New(server.URL+tt.url, Options{Username: "me", Password: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		sib, err := s.Sibling(tt.name)
		if err != nil {
			t.Errorf("%s, %q: %v", tt.url, tt.name, err)
			continue
		}
		b, err := sib.Open(t.Context(), source.Env{})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if got.RequestURI != tt.want {
			t.Errorf("%s, %q: asked for %s, want %s", tt.url, tt.name, got.RequestURI, tt.want)
		}
		if user, pass, ok := got.BasicAuth(); !ok || user != "me" || pass != "secret" {
			t.Errorf("%s, %q: came without the credentials", tt.url, tt.name)
		}
	}
	s, err := New(server.URL+"/d/disk.vmdk", Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b", "/x", `a\b`, "a\x00", "//evil/x", "http://evil/x", "a\r\nb"} {
		if _, err := s.Sibling(name); !errors.Is(err, errdef.ErrRefused) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
