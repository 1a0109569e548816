package main

import (
	"net/http"
	"time"
)

// body is the answer to one request: it counts, and does to the bytes what the rule says.
type body struct {
	http.ResponseWriter
	server  *server
	request *http.Request
	rule    Rule
	began   time.Time
	status  int
	sent    int64
}

func (b *body) WriteHeader(status int) {
	if b.status != 0 {
		return
	}
	b.status = status
	if b.rule.NoRanges {
		b.Header().Del("Accept-Ranges")
	}
	b.server.mu.Lock()
	b.server.count(b.request).Statuses[status]++
	b.server.mu.Unlock()
	b.ResponseWriter.WriteHeader(status)
}

func (b *body) Write(p []byte) (int, error) {
	if b.status == 0 {
		b.WriteHeader(http.StatusOK)
	}
	total := 0
	for len(p) > 0 {
		n := b.room(int64(len(p)))
		if n == 0 {
			b.end() // does not come back
		}
		b.pace()
		if at := b.rule.FlipAt; at != nil && *at >= b.sent && *at < b.sent+n {
			p[*at-b.sent] ^= 0xff // p is the buffer of io.Copy, which is filled anew for the next write
		}
		b.count(n) // before it is sent: who has it all may ask at once
		written, err := b.ResponseWriter.Write(p[:n])
		b.count(int64(written) - n)
		total += written
		b.sent += int64(written)
		if err != nil {
			return total, err
		}
		p = p[n:]
	}
	return total, nil
}

func (b *body) count(n int64) {
	b.server.mu.Lock()
	b.server.count(b.request).Bytes += n
	b.server.mu.Unlock()
}

// room is how many of n bytes may be sent before something happens.
func (b *body) room(n int64) int64 {
	for _, at := range []*int64{b.rule.DropAfter, b.rule.StallAfter} {
		if at != nil {
			n = min(n, max(*at-b.sent, 0))
		}
	}
	if b.rule.Rate > 0 {
		n = min(n, max(b.rule.Rate/20, 1)) // so that a slow body flows rather than jumps
	}
	return n
}

// pace waits until what was sent is not ahead of the rate.
func (b *body) pace() {
	if b.rule.Rate <= 0 {
		return
	}
	due := time.Duration(float64(b.sent) / float64(b.rule.Rate) * float64(time.Second))
	select {
	case <-time.After(due - time.Since(b.began)):
	case <-b.request.Context().Done():
	}
	b.flush()
}

// end stalls or drops: what was sent reaches the client first.
func (b *body) end() {
	b.flush()
	if b.rule.StallAfter != nil && b.sent >= *b.rule.StallAfter {
		<-b.request.Context().Done()
	}
	panic(http.ErrAbortHandler) // cuts the connection, as net/http says
}

func (b *body) flush() {
	if f, ok := b.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}
