//go:build unix

package cli_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

type (
	serversKey struct{}
	servers    map[string]*server
)

// A server serves one file, and misbehaves as it is told.
type server struct {
	content []byte
	word    map[string]string
	stalled string // file that appears when the server stalls

	asked, bytes atomic.Int64
	done         chan struct{}
}

// serve VARIABLE FILE [WORD]…: serve the file over HTTP until the script ends. The variable becomes the URL. Words:
// norange; status=N (of all requests, or of the first times=N); basic=USER:PASSWORD; bearer=TOKEN; header=NAME:VALUE;
// redirect=URL; loop; change=N (another ETag after N requests); stall=N (after N bytes of a body; WORK/VARIABLE.stalled
// appears then); hold=N (the same behind N bytes of the content, by whatever range but one for a footer); drop=N (the first
// times=N bodies break after N bytes); slow=DURATION (before each write of a body).
func serve(ts *testscript.TestScript, _ bool, args []string) {
	s := &server{content: []byte(ts.ReadFile(args[1])), word: map[string]string{}, stalled: ts.MkAbs(args[0] + ".stalled"), done: make(chan struct{})}
	for _, w := range args[2:] {
		k, v, _ := strings.Cut(w, "=")
		s.word[k] = v
	}
	h := httptest.NewServer(s)
	ts.Defer(sync.OnceFunc(func() {
		close(s.done)
		h.CloseClientConnections()
		h.Close()
	}))
	ts.Value(serversKey{}).(servers)[args[0]] = s
	ts.Setenv(args[0], h.URL+"/"+path.Base(args[1]))
}

// sent VARIABLE MAX: the server has sent at most so many bytes of content, and not none.
func sent(ts *testscript.TestScript, _ bool, args []string) {
	s := ts.Value(serversKey{}).(servers)[args[0]]
	if n := s.bytes.Load(); n > number(ts, args[1]) || n == 0 {
		ts.Fatalf("%s sent %d bytes in %d requests", args[0], n, s.asked.Load())
	}
}

func (s *server) number(word string) int64 {
	n, err := strconv.ParseInt(s.word[word], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (s *server) has(word string) bool { _, ok := s.word[word]; return ok }

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := s.asked.Add(1)
	early := !s.has("times") || n <= s.number("times")
	user, pass, _ := r.BasicAuth()
	name, value, _ := strings.Cut(s.word["header"], ":")
	switch {
	case s.has("status") && early:
		http.Error(w, "told to", int(s.number("status")))
	case s.has("basic") && user+":"+pass != s.word["basic"],
		s.has("bearer") && r.Header.Get("Authorization") != "Bearer "+s.word["bearer"],
		s.has("header") && r.Header.Get(name) != value:
		http.Error(w, "who are you?", http.StatusUnauthorized)
	case s.has("redirect"):
		http.Redirect(w, r, s.word["redirect"], http.StatusFound)
	case s.has("loop"):
		http.Redirect(w, r, "/x"+r.URL.Path, http.StatusFound)
	default:
		s.body(w, r, n, early)
	}
}

// body sends the content, or the part of it that breaks off.
func (s *server) body(w http.ResponseWriter, r *http.Request, n int64, early bool) {
	etag := fmt.Sprintf("%x", sha256.Sum256(s.content))[:16]
	if s.has("change") && n > s.number("change") {
		etag += "-new"
	}
	w.Header().Set("ETag", `"`+etag+`"`)
	w.Header().Set("Content-Type", "text/html")
	out := &counted{ResponseWriter: w, s: s, limit: -1}
	switch {
	case s.has("stall"):
		out.limit, out.atEnd = s.number("stall"), s.stall
	case s.has("hold"):
		var first, last int64
		n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last) // an open range has one, none has none
		if n < 2 || last-first >= 512 {                                         // less is a look for a footer
			out.limit, out.atEnd = max(0, s.number("hold")-first), s.stall
		}
	case s.has("drop") && early:
		out.limit, out.atEnd = s.number("drop"), func() { panic(http.ErrAbortHandler) }
	}
	if s.has("norange") {
		w.Header().Set("Content-Length", strconv.Itoa(len(s.content)))
		// In pieces, as from a disk; an error is a client that has left.
		_, _ = io.Copy(out, struct{ io.Reader }{bytes.NewReader(s.content)})
		return
	}
	http.ServeContent(out, r, "", time.Time{}, bytes.NewReader(s.content))
}

func (s *server) stall() {
	_ = os.WriteFile(s.stalled, nil, 0o644)
	<-s.done
}

// counted counts the bytes of bodies and breaks them off.
type counted struct {
	http.ResponseWriter
	s     *server
	n     int64
	limit int64
	atEnd func()
}

func (c *counted) Write(p []byte) (int, error) {
	if pause, err := time.ParseDuration(c.s.word["slow"]); err == nil {
		time.Sleep(pause)
	}
	if c.limit >= 0 && c.n+int64(len(p)) > c.limit {
		n, _ := c.ResponseWriter.Write(p[:c.limit-c.n])
		c.s.bytes.Add(int64(n))
		if f, ok := c.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		c.atEnd()
		return n, io.ErrShortWrite
	}
	n, err := c.ResponseWriter.Write(p)
	c.n += int64(n)
	c.s.bytes.Add(int64(n))
	return n, err
}
