// Package web serves test images over HTTP on loopback: well, without ranges, slowly, or as a handler decides; and
// counts the body bytes it sent.
package web

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// Server is a counting server.
type Server struct {
	URL      string
	Sent     atomic.Int64 // body bytes handed to the kernel
	Requests atomic.Int64
}

// Start serves h until the test ends.
func Start(t testing.TB, h http.Handler) *Server {
	s := &Server{}
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Requests.Add(1)
		h.ServeHTTP(counter{w, &s.Sent}, r)
	}))
	t.Cleanup(func() {
		ts.CloseClientConnections()
		ts.Close()
	})
	s.URL = ts.URL
	return s
}

// counter counts body bytes. It hides io.ReaderFrom, so that every byte passes Write.
type counter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (c counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Ranges serves the files of dir with ranges and a strong ETag, as a good server does.
func Ranges(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, st, ok := open(w, r, dir)
		if !ok {
			return
		}
		defer f.Close()
		w.Header().Set("ETag", ETag(st))
		w.Header().Set("Content-Type", "text/html") // nobody may believe it
		http.ServeContent(w, r, "", time.Time{}, f)
	})
}

// ETag is the strong validator that Ranges gives a file.
func ETag(st os.FileInfo) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", st.Name(), st.Size(), st.ModTime().UnixNano()))
	return fmt.Sprintf(`"%x"`, sum[:8])
}

// Plain serves the files of dir as a poor server does: HEAD is forbidden, ranges are ignored, and there is neither a
// length nor a validator.
func Plain(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			http.Error(w, "GET only", http.StatusMethodNotAllowed)
			return
		}
		f, _, ok := open(w, r, dir)
		if !ok {
			return
		}
		defer f.Close()
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush() // from here on it is chunked; a client that left shows in Copy
		_, _ = io.Copy(w, f)
	})
}

// InOrder serves the files of dir with a length and a validator, but without ranges.
func InOrder(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, st, ok := open(w, r, dir)
		if !ok {
			return
		}
		defer f.Close()
		w.Header().Set("ETag", ETag(st))
		w.Header().Set("Content-Length", fmt.Sprint(st.Size()))
		if r.Method == http.MethodGet {
			_, _ = io.Copy(w, f)
		}
	})
}

func open(w http.ResponseWriter, r *http.Request, dir string) (*os.File, os.FileInfo, bool) {
	f, err := os.Open(filepath.Join(dir, filepath.Base(r.URL.Path)))
	if err != nil {
		http.Error(w, "no such image", http.StatusNotFound)
		return nil, nil, false
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		http.Error(w, "no such image", http.StatusNotFound)
		return nil, nil, false
	}
	return f, st, true
}

// Slow lets h send at most rate bytes a second over all its connections, so that a signal finds the import at work.
func Slow(h http.Handler, rate int64) http.Handler {
	var due atomic.Int64 // when the bytes given out so far will have been paid for, in Unix ns
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(pacer{w, r.Context(), rate, &due}, r)
	})
}

type pacer struct {
	http.ResponseWriter
	ctx  context.Context
	rate int64
	due  *atomic.Int64
}

func (p pacer) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p pacer) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n := min(len(b)-done, 16<<10)
		if err := p.wait(n); err != nil {
			return done, err
		}
		m, err := p.ResponseWriter.Write(b[done : done+n])
		done += m
		if err != nil {
			return done, err
		}
		if err := http.NewResponseController(p.ResponseWriter).Flush(); err != nil {
			return done, err
		}
	}
	return done, nil
}

// wait books n bytes and waits for their turn.
func (p pacer) wait(n int) error {
	cost := int64(n) * int64(time.Second) / p.rate
	var turn int64
	for {
		old := p.due.Load()
		turn = max(old, time.Now().UnixNano())
		if p.due.CompareAndSwap(old, turn+cost) {
			break
		}
	}
	select {
	case <-p.ctx.Done():
		return p.ctx.Err()
	case <-time.After(time.Until(time.Unix(0, turn))):
		return nil
	}
}
