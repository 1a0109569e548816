package testserver

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"testing"
)

// Front stands before a real server and spoils what it says. Its fields are set before the first request.
type Front struct {
	// Before sees each request, of which 1 is the first, and may answer it: then it returns true. It may also change what
	// the server behind has.
	Before func(n int, w http.ResponseWriter, r *http.Request) bool
	// After may change an answer's status and header.
	After func(n int, r *http.Response)
	// Drops are counts of bytes of bodies, from the start of all, at which the connection breaks.
	Drops []int64

	mu       sync.Mutex
	n        int
	sent     int64
	requests []Request
}

// Start puts it before the server at target, and returns its URL. It passes the Host on as it came: signatures cover it.
func (f *Front) Start(t testing.TB, target string) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = u.Scheme, u.Host, r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			n, _ := strconv.Atoi(r.Request.Header.Get("X-Front"))
			if f.After != nil {
				f.After(n, r)
			}
			r.Body = &frontBody{f: f, r: r.Body}
			return nil
		},
		ErrorLog:     log.New(io.Discard, "", 0), // a break is what the test wants
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.n++
		n := f.n
		f.requests = append(f.requests, Request{Method: r.Method, Host: r.Host, URL: r.URL.String(), Header: r.Header.Clone()})
		f.mu.Unlock()
		if f.Before != nil && f.Before(n, w, r) {
			return
		}
		r.Header.Set("X-Front", strconv.Itoa(n)) // no signature has it
		p.ServeHTTP(w, r)
	}))
}

// Requests is what has been asked so far.
func (f *Front) Requests() []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Request(nil), f.requests...)
}

// Sent is the number of body bytes that have passed.
func (f *Front) Sent() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent
}

// frontBody counts a body, and breaks it off.
type frontBody struct {
	f *Front
	r io.ReadCloser
}

var errDropped = errors.New("dropped")

func (b *frontBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	b.f.sent += int64(n)
	if len(b.f.Drops) > 0 && b.f.sent >= b.f.Drops[0] {
		b.f.Drops = b.f.Drops[1:]
		return max(0, n-1), errDropped
	}
	return n, err
}

func (b *frontBody) Close() error { return b.r.Close() }
