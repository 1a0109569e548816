package httpsource_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

func TestNewRefuses(t *testing.T) {
	type o = httpsource.Options
	const good = "http://h/x"
	for _, tt := range []struct {
		name, url string
		o         o
	}{
		{"empty", "", o{}},
		{"scheme", "ftp://h/x", o{}},
		{"path", "/x/y", o{}},
		{"no host", "http:///x", o{}},
		{"opaque", "http:x", o{}},
		{"password with a slash", "http://u:hun/ter2@h/x", o{}},
		{"bad escape", "http://u:hunter2%zz@h/x", o{}},
		{"control character", "http://h/hunter2\n", o{}},
		{"own header", good, o{Header: http.Header{"range": {"bytes=0-hunter2"}}}},
		{"header name", good, o{Header: http.Header{"a b": {"hunter2"}}}},
		{"header value", good, o{SecretHeader: http.Header{"A": {"hunter2\r\nB: c"}}}},
		{"bearer and basic", good, o{BearerToken: "hunter2", Username: "u"}},
		{"bearer with line break", good, o{BearerToken: "hunter2\n"}},
		{"colon", good, o{Username: "u:hunter2"}},
		{"key alone", good, o{KeyFile: "k"}},
		{"proxy", good, o{Proxy: "gopher://u:hunter2@p"}},
		{"proxy URL", good, o{Proxy: "http://u:hun/ter2@p:x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := httpsource.New(tt.url, tt.o)
			if !errors.Is(err, errdef.ErrUsage) || s != nil {
				t.Fatalf("New = %v, %v", s, err)
			}
			if strings.Contains(err.Error(), "ter2") {
				t.Errorf("a secret shows: %v", err)
			}
			t.Log(err, errdef.Hint(err))
		})
	}
}

func TestString(t *testing.T) {
	for in, want := range map[string]string{
		"https://u:p@h:8443/a%20b/d.img?X-Sig=abc&n=&bare#frag": "https://h:8443/a%20b/d.img?X-Sig=…&n=…&…",
		"HTTP://h":                  "http://h",
		"http://h/ü.img":            "http://h/%C3%BC.img",
		"http://[fe80::1%25eth0]/x": "http://[fe80::1%25eth0]/x",
	} {
		if got := newSource(t, in, httpsource.Options{}).String(); got != want {
			t.Errorf("%s is %q, want %q", in, got, want)
		}
	}
}

func TestName(t *testing.T) {
	for in, want := range map[string]string{
		"/a/b%20c.img?x=y": "b c.img",
		"/":                "",
		"":                 "",
		"/dir/":            "dir",
	} {
		url := testserver.Start(t, testserver.NewFile([]byte("x"), testserver.Options{}))
		i, err := newSource(t, url+in, quick).Stat(t.Context(), source.Env{})
		if err != nil || i.Name != want {
			t.Errorf("name of %q is %q, %v, want %q", in, i.Name, err, want)
		}
	}
}

func TestAuthentication(t *testing.T) {
	content := random(100_000, 60)
	_, basic := file(t, content, testserver.Options{Username: "u", Password: "p%/@ü"})
	_, bearer := file(t, content, testserver.Options{BearerToken: "t0ken"})
	for _, tt := range []struct {
		name, url string
		o         httpsource.Options
		want      error
	}{
		{"basic", basic, httpsource.Options{Username: "u", Password: "p%/@ü"}, nil},
		{"userinfo", strings.Replace(basic, "http://", "http://u:p%25%2F%40%C3%BC@", 1), httpsource.Options{}, nil},
		{"options before userinfo", strings.Replace(basic, "http://", "http://x:y@", 1), httpsource.Options{Username: "u", Password: "p%/@ü"}, nil},
		{"wrong", basic, httpsource.Options{Username: "u", Password: "wr0ng"}, errdef.ErrUnauthorized},
		{"none", basic, httpsource.Options{}, errdef.ErrUnauthorized},
		{"bearer", bearer, httpsource.Options{BearerToken: "t0ken"}, nil},
		{"secret header", bearer, httpsource.Options{SecretHeader: http.Header{"authorization": {"Bearer t0ken"}}}, nil},
		{"wrong bearer", bearer, httpsource.Options{BearerToken: "wr0ng"}, errdef.ErrUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := fetch(t, newSource(t, tt.url, tt.o), source.Env{})
			if tt.want != nil {
				wantError(t, err, tt.want)
				if errdef.Hint(err) == "" || strings.Contains(err.Error(), "wr0ng") {
					t.Errorf("%v, hint %q", err, errdef.Hint(err))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, content)
		})
	}
}

func TestProxy(t *testing.T) {
	content := random(3<<20, 61)
	f, plain := file(t, content, testserver.Options{})
	ca := testserver.NewCA(t, "proxied")
	secure := testserver.StartTLS(t, f, ca, nil) + "/disk.img"
	p := &testserver.Proxy{Username: "pu", Password: "pr0xypass"}
	proxy := testserver.Start(t, p)
	o := quick
	o.CAFile = ca.WriteFile(t, t.TempDir(), "ca.pem")
	for _, url := range []string{plain, secure} {
		o.Proxy = strings.Replace(proxy, "http://", "http://pu:pr0xypass@", 1)
		got, err := fetch(t, newSource(t, url, o), source.Env{})
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, got, content)
		o.Proxy = strings.Replace(proxy, "http://", "pu:wr0ng-pass@", 1)
		_, err = fetch(t, newSource(t, url, o), source.Env{})
		wantError(t, err, errdef.ErrUnauthorized, "proxy")
		if strings.Contains(err.Error(), "wr0ng-pass") {
			t.Errorf("the password shows: %v", err)
		}
	}
	seen := p.Seen()
	host := func(u string) string { return strings.Split(u, "/")[2] }
	if !slices.Contains(seen, "GET "+host(plain)) || !slices.Contains(seen, "CONNECT "+host(secure)) {
		t.Errorf("the proxy saw %v", seen)
	}
	for _, r := range f.Requests() {
		if r.Header.Get("Proxy-Authorization") != "" {
			t.Error("the proxy's password reached the server")
		}
	}
	o.Proxy, o.Retries = "http://127.0.0.1:1", -1
	_, err := fetch(t, newSource(t, plain, o), source.Env{})
	wantError(t, err, errdef.ErrUnavailable, "proxy")
	noLeak(t)
}

func TestHostHeader(t *testing.T) {
	f, url := file(t, []byte("x"), testserver.Options{})
	o := quick
	o.Header = http.Header{"Host": {"images.example"}, "user-agent": {"mine/1"}}
	if _, err := fetch(t, newSource(t, url, o), source.Env{}); err != nil {
		t.Fatal(err)
	}
	if r := f.Requests()[0]; r.Host != "images.example" || r.Header.Get("User-Agent") != "mine/1" {
		t.Errorf("Host %q, User-Agent %q", r.Host, r.Header.Get("User-Agent"))
	}
}
