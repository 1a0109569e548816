package httpsource_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

func TestRedirectIsPinned(t *testing.T) {
	content := random(6<<20, 40)
	f, target := file(t, content, testserver.Options{WriteSize: 256 << 10, Pause: 2 * time.Millisecond})
	for _, status := range []int{301, 302, 303, 307, 308} {
		d := &testserver.Redirector{Targets: []string{target}, Status: status}
		s := newSource(t, testserver.Start(t, d)+"/latest.img", quick)
		got, err := fetch(t, s, source.Env{})
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, got, content)
		if d.Count() != 1 {
			t.Errorf("%d: the URL was asked %d times", status, d.Count())
		}
		b := open(t, s, source.Env{})
		if name := b.Info().Name; name != "latest.img" {
			t.Errorf("name %q, want that of the URL", name)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if f.MaxConcurrent() < 2 {
		t.Error("no ranges in flight")
	}
	noLeak(t)
}

// mirror serves f for some requests and dies then.
type mirror struct {
	http.Handler
	left chan struct{}
	dead http.HandlerFunc
}

func newMirror(h http.Handler, requests int, dead http.HandlerFunc) mirror {
	m := mirror{h, make(chan struct{}, requests), dead}
	for range requests {
		m.left <- struct{}{}
	}
	return m
}

func (m mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-m.left:
		m.Handler.ServeHTTP(w, r)
	default:
		m.dead(w, r)
	}
}

func TestMirrors(t *testing.T) {
	content := random(6<<20, 41)
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for _, tt := range []struct {
		name   string
		dead   http.HandlerFunc
		second testserver.Options
		want   error
	}{
		{"401", status(401), testserver.Options{}, nil},
		{"403", status(403), testserver.Options{}, nil},
		{"404", status(404), testserver.Options{}, nil},
		{"410", status(410), testserver.Options{}, nil},
		{"503", status(503), testserver.Options{}, nil},
		{"connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, testserver.Options{}, nil},
		{"other etag", status(404), testserver.Options{WeakETag: true}, errdef.ErrChanged},
		{"no validator", status(404), testserver.Options{NoValidator: true}, errdef.ErrChanged},
		{"no ranges", status(404), testserver.Options{NoRanges: true}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first := testserver.Start(t, newMirror(testserver.NewFile(content, testserver.Options{}), 3, tt.dead))
			_, second := file(t, content, tt.second)
			d := &testserver.Redirector{Targets: []string{first + "/a.img", second}}
			got, err := fetch(t, newSource(t, testserver.Start(t, d)+"/latest.img", quick), source.Env{})
			if tt.want != nil {
				wantError(t, err, tt.want)
			} else if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, content[:len(got)])
			if tt.want == nil && len(got) != len(content) {
				t.Errorf("%d bytes", len(got))
			}
		})
	}
	t.Run("other content", func(t *testing.T) {
		first := testserver.Start(t, newMirror(testserver.NewFile(content, testserver.Options{}), 2, status(404)))
		_, second := file(t, content[:5<<20], testserver.Options{})
		d := &testserver.Redirector{Targets: []string{first + "/a.img", second}}
		got, err := fetch(t, newSource(t, testserver.Start(t, d)+"/latest.img", quick), source.Env{})
		wantError(t, err, errdef.ErrChanged, "size was")
		wantContent(t, got, content[:len(got)])
	})
	noLeak(t)
}

func TestSignedURLExpires(t *testing.T) {
	content := random(10<<20, 42)
	h := &testserver.Signed{File: testserver.NewFile(content, testserver.Options{}), Uses: 3}
	url := testserver.Start(t, h)
	r := &retries{}
	got, err := fetch(t, newSource(t, url+"/disk.img", quick), r.env())
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, got, content)
	if h.Issued() < 3 || r.count() != 0 {
		t.Errorf("%d signatures, %d retries", h.Issued(), r.count())
	}
	// A signature that has expired from the start is the user's: told, without the signature.
	_, err = fetch(t, newSource(t, url+"/signed/disk.img?Signature=s3cr3t-99", quick), source.Env{})
	wantError(t, err, errdef.ErrUnauthorized, "AccessDenied", "Request has expired", "?Signature=…")
	if strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("the signature shows: %v", err)
	}
}

func TestRedirectsThatGoNowhere(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    http.Handler
		want error
		part string
	}{
		{"circle", testserver.Loop{}, errdef.ErrUnavailable, "circle"},
		{"endless", testserver.Loop{Grow: true}, errdef.ErrUnavailable, "more than 10 redirects"},
		{"no location", &testserver.Redirector{Targets: []string{""}}, errdef.ErrUnavailable, "without a Location"},
		{"no URL", &testserver.Redirector{Targets: []string{"http://[::1"}}, errdef.ErrUnavailable, "no URL"},
		{"file", &testserver.Redirector{Targets: []string{"file:///etc/passwd"}}, errdef.ErrRefused, "file"},
		{"ftp", &testserver.Redirector{Targets: []string{"ftp://h/x"}}, errdef.ErrRefused, "ftp"},
		{"metadata", &testserver.Redirector{Targets: []string{"http://169.254.169.254/latest/meta-data/"}}, errdef.ErrRefused, "link-local"},
		{"mapped", &testserver.Redirector{Targets: []string{"http://[::ffff:169.254.169.254]/"}}, errdef.ErrRefused, "link-local"},
		{"nat64", &testserver.Redirector{Targets: []string{"http://[64:ff9b::a9fe:a9fe]/"}}, errdef.ErrRefused, "link-local"},
		{"fe80", &testserver.Redirector{Targets: []string{"http://[fe80::1%25lo]/"}}, errdef.ErrRefused, "link-local"},
		{"ec2 v6", &testserver.Redirector{Targets: []string{"http://[fd00:ec2::254]/"}}, errdef.ErrRefused, "link-local"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &retries{}
			_, err := fetch(t, newSource(t, testserver.Start(t, tt.h)+"/a", quick), r.env())
			wantError(t, err, tt.want, tt.part)
			if r.count() != 0 {
				t.Errorf("%d retries", r.count())
			}
		})
	}
	t.Run("not allowed", func(t *testing.T) {
		o := quick
		o.MaxRedirects = -1
		_, err := fetch(t, newSource(t, testserver.Start(t, testserver.Loop{})+"/a", o), source.Env{})
		wantError(t, err, errdef.ErrRefused)
	})
	t.Run("bounded", func(t *testing.T) {
		o := quick
		o.MaxRedirects = 2
		_, err := fetch(t, newSource(t, testserver.Start(t, testserver.Loop{Grow: true})+"/a", o), source.Env{})
		wantError(t, err, errdef.ErrUnavailable, "more than 2 redirects")
	})
}

// TestCredentialsStayHome redirects to another host (another port counts) and back again.
func TestCredentialsStayHome(t *testing.T) {
	content := random(3<<20, 43)
	f, away := file(t, content, testserver.Options{})
	d := &testserver.Redirector{Targets: []string{away + "?x=1"}}
	home := testserver.Start(t, d)
	o := quick
	o.Header = http.Header{"X-Harmless": {"yes"}, "Authorization": {"Bearer from-header"}, "X-Api-Key": {"k3y-k3y"}, "Cookie": {"c=1"}}
	o.SecretHeader = http.Header{"X-Custom": {"hush-hush"}}
	for _, tt := range []struct {
		name, url string
		o         func(*httpsource.Options)
		want      string
	}{
		{"header", home, func(*httpsource.Options) {}, "Bearer from-header"},
		{"bearer", home, func(o *httpsource.Options) { o.BearerToken = "t0ken" }, "Bearer t0ken"},
		{"basic", home, func(o *httpsource.Options) { o.Username, o.Password = "u", "p" }, "Basic dTpw"},
		{"userinfo", strings.Replace(home, "http://", "http://u:p@", 1), func(*httpsource.Options) {}, "Basic dTpw"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := o
			tt.o(&o)
			got, err := fetch(t, newSource(t, tt.url+"/disk.img", o), source.Env{})
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, content)
			hs := d.Headers()
			h := hs[len(hs)-1]
			if h.Get("Authorization") != tt.want || h.Get("X-Api-Key") != "k3y-k3y" || h.Get("X-Custom") != "hush-hush" || h.Get("X-Harmless") != "yes" {
				t.Errorf("home saw %v", h)
			}
		})
	}
	for _, r := range f.Requests() {
		for _, name := range []string{"Authorization", "X-Api-Key", "Cookie", "X-Custom"} {
			if v := r.Header.Get(name); v != "" {
				t.Errorf("%s: %s went away", name, v)
			}
		}
		if r.Header.Get("X-Harmless") != "yes" || r.Header.Get("Referer") != "" {
			t.Errorf("away saw %v", r.Header)
		}
	}
}

func TestCredentialsDoNotComeBack(t *testing.T) {
	content := random(1000, 44)
	f := testserver.NewFile(content, testserver.Options{})
	d := &testserver.Redirector{}
	mux := http.NewServeMux()
	mux.Handle("/start", d)
	mux.Handle("/back", f)
	mux.Handle("/same", f)
	home := testserver.Start(t, mux)
	away := testserver.Start(t, &testserver.Redirector{Targets: []string{home + "/back"}})
	d.Targets = []string{away + "/", "/same", home + "/same"}
	o := quick
	o.BearerToken = "t0ken"
	for range d.Targets {
		if _, err := fetch(t, newSource(t, home+"/start", o), source.Env{}); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	for _, r := range f.Requests() {
		seen = append(seen, r.URL+" "+r.Header.Get("Authorization"))
	}
	if got := strings.Join(seen, "; "); got != "/back ; /same Bearer t0ken; /same Bearer t0ken" {
		t.Errorf("seen: %s", got)
	}
}

func TestDowngradeLosesCredentials(t *testing.T) {
	content := random(100_000, 45)
	f, plain := file(t, content, testserver.Options{})
	ca := testserver.NewCA(t, "downgrade")
	o := quick
	o.CAFile = ca.WriteFile(t, t.TempDir(), "ca.pem")
	o.Username, o.Password = "u", "p"
	home := testserver.StartTLS(t, &testserver.Redirector{Targets: []string{plain}}, ca, nil)
	b := open(t, newSource(t, home+"/x", o), source.Env{})
	got, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, got, content)
	for _, r := range f.Requests() {
		if r.Header.Get("Authorization") != "" {
			t.Error("credentials in the clear")
		}
	}
}
