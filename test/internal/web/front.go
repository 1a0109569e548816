package web

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Front stands before a real server, counts the bytes of bodies that pass, and breaks connections. Its fields are set before
// the first request.
type Front struct {
	// Before sees each request and may answer it: then it returns true. sent is how much has passed so far.
	Before func(w http.ResponseWriter, r *http.Request, sent int64) bool
	// Drops are counts of bytes, from the start of all, ascending, at which the connection breaks.
	Drops []int64

	URL string
	// CA is the certificate of a front with TLS, as PEM.
	CA []byte

	mu      sync.Mutex
	sent    int64
	dropped int
}

// Start puts it before target until the test ends. The Host passes as it came: signatures cover it. prepare may set up TLS; nil:
// plain HTTP.
func (f *Front) Start(t testing.TB, target string, prepare func(*httptest.Server)) {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	quiet := log.New(io.Discard, "", 0) // a break is what the test wants
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = u.Scheme, u.Host, r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			r.Body = &frontBody{f, r.Body}
			return nil
		},
		ErrorLog:     quiet,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.Before == nil || !f.Before(w, r, f.Sent()) {
			proxy.ServeHTTP(w, r)
		}
	}))
	s.Config.ErrorLog = quiet
	if prepare != nil {
		prepare(s)
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	f.URL = s.URL
}

// Host is its host and port.
func (f *Front) Host() string {
	_, host, _ := strings.Cut(f.URL, "://")
	return host
}

// Sent is the number of body bytes that have passed.
func (f *Front) Sent() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent
}

// Dropped is how many connections it has broken.
func (f *Front) Dropped() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dropped
}

var errDrop = errors.New("the front breaks the connection")

type frontBody struct {
	f *Front
	r io.ReadCloser
}

func (b *frontBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dropped < len(f.Drops) && f.sent+int64(n) >= f.Drops[f.dropped] {
		n = int(max(f.Drops[f.dropped]-f.sent, 0))
		f.dropped++
		err = errDrop
	}
	f.sent += int64(n)
	return n, err
}

func (b *frontBody) Close() error { return b.r.Close() }
