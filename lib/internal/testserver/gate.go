package testserver

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Gate stands before a handler and holds back a stretch of each content until it is opened. So somebody can be found
// half-way however fast or slow the machine is.
type Gate struct {
	h        http.Handler
	from, to int64
	once     sync.Once
	opened   chan struct{}
	waiting  atomic.Int64
}

// NewGate holds back what h sends from one offset to another.
func NewGate(h http.Handler, from, to int64) *Gate {
	return &Gate{h: h, from: from, to: to, opened: make(chan struct{})}
}

// Open lets everything pass from now on.
func (g *Gate) Open() { g.once.Do(func() { close(g.opened) }) }

// Reopen is for who comes again: it waits until those that were held have gone away, so that nothing is sent to them, and
// opens the gate.
func (g *Gate) Reopen() {
	for g.waiting.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	g.Open()
}

func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.h.ServeHTTP(&gated{ResponseWriter: w, g: g, gone: r.Context().Done()}, r)
}

// wait is false for who has gone away.
func (g *Gate) wait(gone <-chan struct{}) bool {
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	select {
	case <-g.opened:
		return true
	case <-gone:
		return false
	}
}

type gated struct {
	http.ResponseWriter
	g    *Gate
	pos  int64 // in the content
	told bool  // the header has been seen
	gone <-chan struct{}
}

// Unwrap lets http.ResponseController reach the connection.
func (w *gated) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *gated) WriteHeader(status int) {
	if !w.told {
		if status == http.StatusPartialContent {
			_, _ = fmt.Sscanf(w.Header().Get("Content-Range"), "bytes %d-", &w.pos)
		}
		w.told = status >= http.StatusOK
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *gated) Write(p []byte) (int, error) {
	if !w.told {
		w.WriteHeader(http.StatusOK)
	}
	n := 0
	if w.pos < w.g.to && w.pos+int64(len(p)) > w.g.from {
		k, err := w.ResponseWriter.Write(p[:max(0, w.g.from-w.pos)])
		w.pos += int64(k)
		if n += k; err != nil {
			return n, err
		}
		_ = http.NewResponseController(w.ResponseWriter).Flush() // what has passed is to arrive
		if !w.g.wait(w.gone) {
			return n, http.ErrAbortHandler
		}
	}
	k, err := w.ResponseWriter.Write(p[n:])
	w.pos += int64(k)
	return n + k, err
}
