package testserver

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Redirector sends each request on to the next of its targets, in turn, and starts again after the last.
type Redirector struct {
	Targets []string // whole URLs
	Status  int      // 0: 302

	mu     sync.Mutex
	n      int
	header []http.Header
}

// Count is the number of requests so far.
func (d *Redirector) Count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// Headers are those of the requests so far.
func (d *Redirector) Headers() []http.Header {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]http.Header(nil), d.header...)
}

func (d *Redirector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	target := d.Targets[d.n%len(d.Targets)]
	d.n++
	d.header = append(d.header, r.Header.Clone())
	d.mu.Unlock()
	code := d.Status
	if code == 0 {
		code = http.StatusFound
	}
	w.Header().Set("Location", target)
	w.WriteHeader(code)
}

// Loop sends /a to /b and back, or, if Grow is set, to a new path every time.
type Loop struct{ Grow bool }

func (l Loop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	next := "/b"
	switch {
	case l.Grow:
		next = r.URL.Path + "x"
	case r.URL.Path == next:
		next = "/a"
	}
	http.Redirect(w, r, next, http.StatusTemporaryRedirect)
}

// Signed redirects every path to a signed URL of the same server, behind which is File. A signature is good for Uses
// requests, then it has expired: 403, with a body that repeats the signature, as object stores do.
type Signed struct {
	File *File
	Uses int

	mu     sync.Mutex
	issued int
	used   map[int]int
}

// Issued is the number of signatures given out.
func (s *Signed) Issued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued
}

func (s *Signed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, signed := strings.CutPrefix(r.URL.Path, "/signed")
	s.mu.Lock()
	if !signed {
		s.issued++
		n := s.issued
		s.mu.Unlock()
		http.Redirect(w, r, fmt.Sprintf("/signed%s?Signature=s3cr3t-%d", rest, n), http.StatusTemporaryRedirect)
		return
	}
	sig := r.URL.Query().Get("Signature")
	n, err := strconv.Atoi(strings.TrimPrefix(sig, "s3cr3t-"))
	if s.used == nil {
		s.used = map[int]int{}
	}
	s.used[n]++
	ok := err == nil && n >= 1 && n <= s.issued && s.used[n] <= s.Uses
	s.mu.Unlock()
	if !ok {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message><Signature>%s</Signature></Error>", sig)
		return
	}
	s.File.ServeHTTP(w, r)
}
