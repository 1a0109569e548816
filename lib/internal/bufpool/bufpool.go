// Package bufpool lends page-aligned byte buffers of one size, a bounded number of them, so that a transfer's memory
// does not depend on its image and direct I/O needs no copy.
package bufpool

import (
	"context"
	"fmt"
	"sync"
	"unsafe"
)

// Align is the alignment of every buffer: a page, which every O_DIRECT implementation accepts.
const Align = 4096

// A Pool holds up to a fixed number of buffers of one size. They are made when first wanted, and the one that came back
// last is lent first, so a pool that is larger than its users need costs nothing. All methods are safe for concurrent use.
type Pool struct {
	size  int
	lent  chan struct{} // one token for each buffer that is out
	mu    sync.Mutex
	spare [][]byte
}

// New makes a pool of up to count buffers of size bytes; both must be positive.
func New(size, count int) *Pool {
	if size <= 0 || count <= 0 {
		panic(fmt.Sprintf("bufpool: New(%d, %d): both must be positive", size, count))
	}
	return &Pool{size: size, lent: make(chan struct{}, count), spare: make([][]byte, 0, count)}
}

// Size is the length of every buffer.
func (p *Pool) Size() int { return p.size }

// Get lends a buffer of the pool's full size, aligned to [Align], with any content. It waits until one is free and
// returns ctx's error if ctx ends first. The caller gives it back with Put.
func (p *Pool) Get(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case p.lent <- struct{}{}:
	default:
		select {
		case p.lent <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return p.take(), nil
}

// TryGet is Get for a caller that can do without a buffer: it returns nil instead of waiting.
func (p *Pool) TryGet() []byte {
	select {
	case p.lent <- struct{}{}:
		return p.take()
	default:
		return nil
	}
}

// take returns a spare buffer, or a new one, to the holder of a token.
func (p *Pool) take() []byte {
	p.mu.Lock()
	if n := len(p.spare); n > 0 {
		b := p.spare[n-1]
		p.spare[n-1] = nil
		p.spare = p.spare[:n-1]
		p.mu.Unlock()
		return b
	}
	p.mu.Unlock()
	return Make(p.size)
}

// Put gives back a buffer that Get lent; it may have been cut at its end. The caller must not use it any more. Putting
// anything else, or more than was lent, is a bug of the caller and panics.
func (p *Pool) Put(b []byte) {
	if cap(b) != p.size {
		panic(fmt.Sprintf("bufpool: Put of a buffer of capacity %d into a pool of %d", cap(b), p.size))
	}
	// The buffer goes back before its token: whoever gets the token finds it, and the pool never makes one too many.
	p.mu.Lock()
	p.spare = append(p.spare, b[:p.size])
	p.mu.Unlock()
	select {
	case <-p.lent:
	default:
		panic("bufpool: Put of more buffers than were lent")
	}
}

// Make returns a new buffer of size bytes aligned to [Align], with exactly that capacity.
func Make(size int) []byte {
	b := make([]byte, size+Align-1)
	skip := 0
	if r := uintptr(unsafe.Pointer(unsafe.SliceData(b))) % Align; r != 0 {
		skip = Align - int(r)
	}
	return b[skip : skip+size : skip+size]
}

// Aligned reports whether b begins at a multiple of [Align]. An empty b does.
func Aligned(b []byte) bool {
	return len(b) == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(b)))%Align == 0
}
