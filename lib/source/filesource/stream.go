package filesource

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/cdictl/cdictl/lib/source"
)

// streamBuffer is the length of one of the two buffers between reader and consumer: four times a Linux pipe, so that a
// pipe is drained while the consumer works.
const streamBuffer = 256 << 10

// stream is a one-way Blob. A goroutine of its own reads ahead, because a Read of a pipe or a terminal cannot be
// interrupted by a context: the consumer leaves, the goroutine follows when its Read returns.
type stream struct {
	ctx   context.Context // of Open: a Blob observes it until it is closed
	env   source.Env
	src   *Source
	info  source.Info
	owned *os.File // closed with the Blob; nil for a caller's reader

	full, empty chan chunk
	stop        chan struct{}
	close       sync.Once
	start       sync.Once
	r           io.Reader
	unhook      func() bool

	cur  chunk // what is left of the buffer in use
	rest []byte
	err  error // sticky
}

// A chunk is a buffer, what was read into it, and the error that came with it.
type chunk struct {
	buf []byte
	n   int
	err error
}

func newStream(ctx context.Context, env source.Env, s *Source, r io.Reader, owned *os.File, info source.Info) *stream {
	b := &stream{ctx: ctx, env: env, src: s, info: info, owned: owned, r: r,
		full: make(chan chunk, 2), empty: make(chan chunk, 2), stop: make(chan struct{})}
	// A deadline wakes the goroutine where the file supports one (a pipe on Linux). Else it waits for its next bytes.
	b.unhook = context.AfterFunc(ctx, func() {
		if owned != nil {
			_ = owned.SetReadDeadline(time.Unix(1, 0))
		}
	})
	return b
}

func (b *stream) Info() source.Info { return b.info }

// pump reads until the end, an error or Close.
func (b *stream) pump() {
	defer close(b.full)
	for {
		var c chunk
		select {
		case c = <-b.empty:
		case <-b.stop:
			return
		}
		c.n, c.err = b.r.Read(c.buf)
		select {
		case b.full <- c:
		case <-b.stop:
			return
		}
		if c.err != nil {
			return
		}
	}
}

func (b *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b.start.Do(func() {
		for range cap(b.empty) {
			b.empty <- chunk{buf: make([]byte, streamBuffer)}
		}
		go b.pump()
	})
	for len(b.rest) == 0 {
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	select {
	case <-b.stop:
		return 0, b.src.fail("read", os.ErrClosed)
	default:
	}
	p = p[:min(len(p), len(b.rest))]
	if err := b.ctx.Err(); err != nil {
		return 0, b.src.fail("read", err)
	}
	if err := b.env.Limiter.Wait(b.ctx, len(p)); err != nil {
		return 0, b.src.fail("read", err)
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	b.env.Tracker.AddStored(int64(n))
	return n, nil
}

// next waits for the next buffer that the goroutine filled.
func (b *stream) next() error {
	if b.err != nil {
		return b.err
	}
	if b.cur.buf != nil {
		if b.cur.err != nil {
			b.err = io.EOF
			if b.cur.err != io.EOF {
				b.err = b.src.explain("read", b.cur.err)
			}
			return b.err
		}
		b.empty <- b.cur
		b.cur = chunk{}
	}
	if err := b.ctx.Err(); err != nil { // before a buffer that is there
		return b.src.fail("read", err)
	}
	select {
	case <-b.stop:
		return b.src.fail("read", os.ErrClosed)
	case <-b.ctx.Done():
		return b.src.fail("read", b.ctx.Err())
	case c, ok := <-b.full:
		switch {
		case !ok:
			return b.src.fail("read", os.ErrClosed)
		case errors.Is(c.err, os.ErrDeadlineExceeded) && b.ctx.Err() != nil:
			return b.src.fail("read", b.ctx.Err())
		}
		b.cur, b.rest = c, c.buf[:c.n]
		return nil
	}
}

func (b *stream) Close() error {
	var err error
	b.close.Do(func() {
		close(b.stop)
		b.unhook()
		if b.owned != nil {
			err = b.owned.Close()
		}
	})
	if err != nil {
		return b.src.explain("close", err)
	}
	return nil
}
