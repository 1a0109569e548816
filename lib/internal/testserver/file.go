// Package testserver has HTTP servers for tests: one file that misbehaves in every way that was asked of it,
// redirectors, a proxy, certificates, and nginx as the real one.
//
// All misbehaviour is deterministic: it depends on options, a seed and the order of requests. Everything here is safe for
// concurrent use.
package testserver

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cdictl/cdictl/lib/internal/httprange"
)

// Options say how a File misbehaves. The zero value is a good server: ranges, If-Range, a strong ETag, Last-Modified.
// A count ("Times") of 0 means every time.
type Options struct {
	NoRanges         bool      // ignores Range
	NoHead           bool      // answers HEAD with 403
	NoContentLength  bool      // chunked; with HTTP/2 no content-length
	NoValidator      bool      // neither ETag nor Last-Modified
	WeakETag         bool      // a weak ETag and no Last-Modified
	LastModifiedOnly bool      // no ETag
	ModTime          time.Time // zero: a day in 2020
	IgnoreIfRange    bool      // answers a range whatever If-Range says
	UnknownTotal     bool      // Content-Range ends in /*
	ContentType      string    // empty: text/html, which is wrong for an image
	MaxRange         int64     // a range is cut to this many bytes

	DropAfter int64 // the connection breaks after this many bytes of a body
	DropTimes int
	DropSeed  uint64 // not 0: each body breaks at a random place in its first DropMax bytes
	DropMax   int64
	ShortBody int64 // the body lacks this many bytes at its end
	LongBody  int64 // the body has this many bytes too many; needs NoContentLength to be visible

	WrongContentRange func(httprange.ContentRange) string // writes the header instead
	WrongTimes        int

	IgnoreRangeAfter    int    // not 0: from this request on (1 is the first) Range is ignored
	ChangeAfterRequests int    // not 0: from the request after this one on NewContent is served
	ChangeAfterBytes    int64  // not 0: the same, as soon as this many bytes have been sent
	NewContent          []byte // nil with Change…: the same bytes under another ETag

	FailStatus int // the first FailTimes requests are answered with this status …
	FailTimes  int
	RetryAfter string // … this Retry-After …
	FailBody   string // … and this body (text/plain)

	StallAfter int64 // not 0: a body stops after this many bytes until the client goes away
	StallTimes int
	WriteSize  int           // bytes per write; 0: 32 KiB
	Pause      time.Duration // between two writes

	Username, Password string // basic authentication is required
	BearerToken        string // a bearer token is required
}

// Request is what a File saw and did.
type Request struct {
	Method, Host, URL string
	Proto             string
	Header            http.Header
	Status            int
	Sent              int64 // bytes of body
	over              bool
}

// File serves one content under every path.
type File struct {
	content []byte
	o       Options

	mu       sync.Mutex
	requests []*Request
	sent     int64
	active   int
	maximum  int
	drops    int
	wrongs   int
	stalls   int
	rng      *rand.Rand
}

// NewFile returns a File with content.
func NewFile(content []byte, o Options) *File {
	return &File{content: content, o: o, rng: rand.New(rand.NewPCG(o.DropSeed, 1))}
}

// Requests returns a copy of what was asked so far, in order of arrival.
func (f *File) Requests() []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	rs := make([]Request, len(f.requests))
	for i, r := range f.requests {
		rs[i] = *r
	}
	return rs
}

// BytesSent is the number of body bytes handed to the network.
func (f *File) BytesSent() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent
}

// MaxConcurrent is the largest number of requests that were under way at once.
func (f *File) MaxConcurrent() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.maximum
}

// state is what one request sees.
type state struct {
	n       int // 1 for the first request
	content []byte
	changed bool
	rec     *Request
}

func (f *File) begin(r *http.Request) state {
	f.mu.Lock()
	defer f.mu.Unlock()
	rec := &Request{Method: r.Method, Host: r.Host, URL: r.URL.String(), Proto: r.Proto, Header: r.Header.Clone()}
	f.requests = append(f.requests, rec)
	f.active++
	f.maximum = max(f.maximum, f.active)
	s := state{n: len(f.requests), content: f.content, rec: rec}
	s.changed = f.o.ChangeAfterRequests > 0 && s.n > f.o.ChangeAfterRequests ||
		f.o.ChangeAfterBytes > 0 && f.sent >= f.o.ChangeAfterBytes
	if s.changed && f.o.NewContent != nil {
		s.content = f.o.NewContent
	}
	return s
}

// end says that a request is not under way any more. A client that has all of the answer is done, whether the server has been
// told so or not: so this comes before the last write.
func (f *File) end(rec *Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !rec.over {
		rec.over = true
		f.active--
	}
}

// ServeHTTP answers as the options say.
func (f *File) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := f.begin(r)
	defer f.end(s.rec)
	status := func(code int) {
		f.mu.Lock()
		s.rec.Status = code
		f.mu.Unlock()
		w.WriteHeader(code)
	}
	if code := f.refuse(w, r, s.n); code != 0 {
		w.Header().Set("Content-Type", "text/plain")
		status(code)
		_, _ = io.WriteString(w, f.o.FailBody)
		return
	}
	h := w.Header()
	f.validators(h, s.changed)
	h.Set("Content-Type", f.o.ContentType)
	if f.o.ContentType == "" {
		h.Set("Content-Type", "text/html")
	}
	size := int64(len(s.content))
	c := httprange.ContentRange{First: 0, Last: size - 1, Total: size}
	code := http.StatusOK
	if want := f.rangeOf(r, h, s); want != "" {
		first, last, ok := cutRange(want, size)
		if !ok {
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
			status(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		if f.o.MaxRange > 0 {
			last = min(last, first+f.o.MaxRange-1)
		}
		c.First, c.Last = first, last
		code = http.StatusPartialContent
		h.Set("Content-Range", f.contentRange(c))
	}
	body := s.content[c.First : c.Last+1]
	if f.o.LongBody > 0 {
		body = append(append([]byte(nil), body...), make([]byte, f.o.LongBody)...)
	}
	if !f.o.NoContentLength {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	status(code)
	if f.o.NoContentLength {
		_ = http.NewResponseController(w).Flush() // else a short body would get a length after all
	}
	if r.Method != http.MethodHead {
		f.send(w, r, s.rec, body)
	}
}

// refuse returns the status of an answer without content, 0 for none.
func (f *File) refuse(w http.ResponseWriter, r *http.Request, n int) int {
	o := &f.o
	if o.FailStatus != 0 && (o.FailTimes == 0 || n <= o.FailTimes) {
		if o.RetryAfter != "" {
			w.Header().Set("Retry-After", o.RetryAfter)
		}
		return o.FailStatus
	}
	user, pass, _ := r.BasicAuth()
	switch {
	case o.Username != "" && (user != o.Username || pass != o.Password):
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		return http.StatusUnauthorized
	case o.BearerToken != "" && r.Header.Get("Authorization") != "Bearer "+o.BearerToken:
		return http.StatusUnauthorized
	case r.Method == http.MethodHead && o.NoHead:
		return http.StatusForbidden
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return http.StatusMethodNotAllowed
	}
	return 0
}

func (f *File) validators(h http.Header, changed bool) {
	if f.o.NoValidator {
		return
	}
	tag, mod := `"first"`, f.o.ModTime
	if mod.IsZero() {
		mod = time.Date(2020, 5, 17, 1, 2, 3, 0, time.UTC)
	}
	if changed {
		tag, mod = `"second"`, mod.Add(time.Hour)
	}
	if f.o.WeakETag {
		h.Set("ETag", "W/"+tag)
		return
	}
	if !f.o.LastModifiedOnly {
		h.Set("ETag", tag)
	}
	h.Set("Last-Modified", mod.UTC().Format(http.TimeFormat))
}

// rangeOf is the Range to honour, if any.
func (f *File) rangeOf(r *http.Request, h http.Header, s state) string {
	if f.o.NoRanges || f.o.IgnoreRangeAfter > 0 && s.n >= f.o.IgnoreRangeAfter {
		return ""
	}
	if v := r.Header.Get("If-Range"); v != "" && !f.o.IgnoreIfRange && v != h.Get("ETag") && v != h.Get("Last-Modified") {
		return ""
	}
	return r.Header.Get("Range")
}

func (f *File) contentRange(c httprange.ContentRange) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.o.WrongContentRange != nil && (f.o.WrongTimes == 0 || f.wrongs < f.o.WrongTimes) {
		f.wrongs++
		return f.o.WrongContentRange(c)
	}
	if f.o.UnknownTotal {
		c.Total = httprange.Unknown
	}
	return c.String()
}

// cutRange reads "bytes=a-b" and "bytes=a-"; nothing else is asked of this server.
func cutRange(s string, size int64) (first, last int64, ok bool) {
	a, b, _ := strings.Cut(strings.TrimPrefix(s, "bytes="), "-")
	first, err := strconv.ParseInt(a, 10, 64)
	if err != nil || first >= size {
		return 0, 0, false
	}
	last = size - 1
	if n, err := strconv.ParseInt(b, 10, 64); err == nil {
		last = min(last, n)
	}
	return first, last, last >= first
}
