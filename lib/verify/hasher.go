package verify

import (
	"hash"
	"sync"
)

// queue bounds the chunks that wait for the hash.
const queue = 4

// A hasher hashes on another goroutine than its caller's. The goroutine ends when it has caught up and a new one
// starts with the next chunk: once per 128 KiB at most, and an abandoned hasher leaves nothing behind.
type hasher struct {
	h    hash.Hash
	cur  []byte      // being filled; owned by the caller
	free chan []byte // chunks to fill
	full chan []byte // chunks to hash, in order; never blocks, there are only queue chunks
	made int

	mu      sync.Mutex
	idle    *sync.Cond
	running bool
	marks   marks
}

func newHasher(h hash.Hash) *hasher {
	a := &hasher{h: h, free: make(chan []byte, queue), full: make(chan []byte, queue)}
	a.idle = sync.NewCond(&a.mu)
	return a
}

func (a *hasher) write(p []byte) {
	for len(p) > 0 {
		if a.cur == nil {
			a.cur = a.chunk()
		}
		n := min(len(p), cap(a.cur)-len(a.cur))
		a.cur = append(a.cur, p[:n]...)
		p = p[n:]
		if len(a.cur) == cap(a.cur) {
			a.flush()
		}
	}
}

// chunk returns an empty chunk, and waits for the hash only when all are taken.
func (a *hasher) chunk() []byte {
	select {
	case b := <-a.free:
		return b[:0]
	default:
	}
	if a.made < queue {
		a.made++
		return make([]byte, 0, chunk)
	}
	return (<-a.free)[:0]
}

// flush hands over what is there.
func (a *hasher) flush() {
	if len(a.cur) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.full <- a.cur
	a.cur = nil
	if !a.running {
		a.running = true
		go a.run()
	}
}

func (a *hasher) run() {
	for {
		select {
		case b := <-a.full:
			a.h.Write(b) // a hash.Hash never fails
			a.mu.Lock()
			a.marks.passed(a.h, int64(len(b)))
			a.mu.Unlock()
			a.free <- b
			continue
		default:
		}
		a.mu.Lock()
		if len(a.full) == 0 {
			a.running = false
			a.idle.Broadcast()
			a.mu.Unlock()
			return
		}
		a.mu.Unlock()
	}
}

// sum waits for the hash to catch up.
func (a *hasher) sum() []byte {
	a.flush()
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.running {
		a.idle.Wait()
	}
	return a.h.Sum(nil)
}
