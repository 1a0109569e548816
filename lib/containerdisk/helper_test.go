package containerdisk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/limits"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/sink/filesink"
	"github.com/cdictl/cdictl/lib/source/filesource"
	"github.com/cdictl/cdictl/lib/source/httpsource"
	"github.com/cdictl/cdictl/lib/source/registrysource"
)

// requireServers makes real servers a must.
var requireServers = os.Getenv("CDICTL_REQUIRE_SERVERS") == "1"

var quick = httpsource.Options{Retries: 6, Backoff: time.Millisecond, Insecure: true}

// rawDisk makes one with data, text and holes.
func rawDisk(t testing.TB, size int64, seed uint64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := testimage.WriteRaw(path, size, seed); err != nil {
		t.Fatal(err)
	}
	return path
}

// A front stands before a registry, counts what is sent, and spoils it.
type front struct {
	next http.Handler
	base string
	// before may answer a request: then it returns true.
	before func(w http.ResponseWriter, r *http.Request) bool
	// cut is after how many bytes of a blob's upload the connection breaks, one after the other.
	cut []int64
	// deaf: the answer to the PUT that ends an upload gets lost, once.
	deaf bool
	here bool // the registry is in this process

	mu    sync.Mutex
	asked []string
	body  int64 // bytes of blobs that came
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	upload := strings.Contains(r.URL.Path, "/blobs/uploads/")
	f.mu.Lock()
	f.asked = append(f.asked, r.Method+" "+r.URL.Path)
	end := int64(-1)
	if upload && r.Method == http.MethodPatch && len(f.cut) > 0 {
		end, f.cut = f.cut[0], f.cut[1:]
	}
	lose := f.deaf && upload && r.Method == http.MethodPut
	if lose {
		f.deaf = false
	}
	f.mu.Unlock()
	if f.before != nil && f.before(w, r) {
		return
	}
	if upload {
		r.Body = &cutBody{f: f, r: r.Body, end: end, here: f.here}
	}
	if lose {
		f.next.ServeHTTP(&lost{h: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	}
	f.next.ServeHTTP(w, r)
}

// count of requests whose method and path begin and contain this.
func (f *front) count(method, part string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.asked {
		if strings.HasPrefix(a, method+" ") && strings.Contains(a, part) {
			n++
		}
	}
	return n
}

func (f *front) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked, f.body = nil, 0
}

func (f *front) bodies() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.body
}

type cutBody struct {
	f    *front
	r    io.ReadCloser
	end  int64 // -1: whole
	here bool
}

func (c *cutBody) Read(p []byte) (int, error) {
	if c.end == 0 && c.here {
		panic(http.ErrAbortHandler) // it would take the part for the whole
	}
	if c.end == 0 {
		return 0, errors.New("cut")
	}
	if c.end > 0 {
		p = p[:min(int64(len(p)), c.end)]
	}
	n, err := c.r.Read(p)
	if c.end > 0 {
		c.end -= int64(n)
	}
	c.f.mu.Lock()
	c.f.body += int64(n)
	c.f.mu.Unlock()
	return n, err
}

func (c *cutBody) Close() error { return c.r.Close() }

// lost is an answer that nobody gets.
type lost struct{ h http.Header }

func (l *lost) Header() http.Header         { return l.h }
func (l *lost) Write(p []byte) (int, error) { return len(p), nil }
func (l *lost) WriteHeader(int)             {}

// start puts f before a registry in this process.
func (f *front) start(t testing.TB) *front {
	t.Helper()
	f.here = true
	f.next = ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	f.base = testserver.Start(t, f)
	return f
}

// startReal puts it before distribution/distribution, or skips the test where nobody has built that.
func (f *front) startReal(t testing.TB) *front {
	t.Helper()
	f.next = proxyTo(t, testserver.Registry{Require: requireServers}.Start(t))
	f.base = testserver.Start(t, f)
	return f
}

func proxyTo(t testing.TB, base string) http.Handler {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), FlushInterval: -1, Transport: &http.Transport{DisableCompression: true},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }}
}

func (f *front) name(rest string) string {
	return "docker://" + strings.TrimPrefix(f.base, "http://") + "/" + rest
}

// request is to push the file at path to name.
func request(t testing.TB, path, name string, o registrysource.Options) Request {
	t.Helper()
	if o.HTTP.Retries == 0 {
		auth := o.HTTP
		o.HTTP = quick
		o.HTTP.Username, o.HTTP.Password = auth.Username, auth.Password
	}
	if o.AuthFile == "" {
		o.AuthFile = filepath.Join(t.TempDir(), "auth.json") // this machine's logins are none of the test's business
		if err := os.WriteFile(o.AuthFile, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o.RegistriesConf = noMirrors(t)
	d, err := registrysource.NewDestination(name, o)
	if err != nil {
		t.Fatal(err)
	}
	r := Request{Source: filesource.New(path), Target: d, Scratch: t.TempDir()}
	r.Spool = r.Scratch
	r.Limits = limits.Limits{Workers: 2}
	r.Tracker = &progress.Tracker{}
	return r
}

func noMirrors(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "registries.conf")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// push does it, and looks whether the folder for scratch is empty then.
func push(t testing.TB, r Request) (Result, error) {
	t.Helper()
	return pushIn(t.Context(), t, r)
}

func pushIn(ctx context.Context, t testing.TB, r Request) (Result, error) {
	t.Helper()
	res, err := Push(ctx, r)
	if left, e := os.ReadDir(r.Scratch); e != nil || len(left) > 0 && runtime.GOOS != "windows" {
		t.Errorf("in the scratch folder: %v, %v", left, e)
	}
	return res, err
}

func mustPush(t testing.TB, r Request) Result {
	t.Helper()
	res, err := push(t, r)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// pulled imports what name leads to.
func pulled(t testing.TB, name, platform string) (importer.Result, []byte) {
	t.Helper()
	s, err := registrysource.New(name, registrysource.Options{HTTP: quick, Platform: platform, RegistriesConf: noMirrors(t)})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "back")
	res, err := importer.Import(t.Context(), importer.Request{Source: s, Target: filesink.New(path, filesink.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return res, b
}

func same(t testing.TB, got []byte, path string) {
	t.Helper()
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("what comes back (%d bytes) is not what was pushed (%d)", len(got), len(want))
	}
}
