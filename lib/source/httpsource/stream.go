package httpsource

import (
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/httprange"
	"github.com/cdictl/cdictl/lib/retry"
	"github.com/cdictl/cdictl/lib/source"
)

const partial = http.StatusPartialContent

// stream is a blob that is read once, in order, from one connection at a time. Only Close may be called beside Read.
type stream struct {
	s     *session
	info  source.Info
	x     *exchange // nil: to be asked for
	pos   int64
	size  int64 // -1 until it is known
	count *retry.Counter
	err   error // of Read; it stays

	closing sync.Once
}

var _ source.Blob = (*stream)(nil)

// newStream reads the body of x, which is the content from its beginning; nil: the stream asks for it.
func newStream(s *session, x *exchange) *stream {
	return &stream{s: s, info: s.info(), x: x, size: s.size, count: s.failures()}
}

func (b *stream) Info() source.Info { return b.info }

func (b *stream) Close() error {
	b.closing.Do(b.s.close)
	return nil
}

// Read reads on, over broken connections.
func (b *stream) Read(p []byte) (int, error) {
	if b.err == nil {
		if err := b.s.ended(); err != nil {
			b.err = b.s.src.fail("read", err)
		}
	}
	for b.err == nil && len(p) > 0 {
		n, err := b.next(p)
		b.pos += int64(n)
		if n > 0 {
			b.count.Progress()
		}
		if err == nil && n > 0 {
			return n, nil
		}
		switch {
		case err == io.EOF:
			b.drop()
			b.err = err
		case err != nil:
			b.drop()
			if err = b.goOn(err); err != nil {
				b.err = b.s.src.fail("read", err)
			}
		}
		if n > 0 {
			return n, nil // the error, if it is one, comes with the next Read
		}
	}
	if len(p) == 0 {
		return 0, nil
	}
	return 0, b.err
}

// next is one read. io.EOF is the end of the content, any other error that of the connection.
func (b *stream) next(p []byte) (int, error) {
	if b.size >= 0 {
		if b.pos == b.size {
			return 0, io.EOF
		}
		p = p[:min(int64(len(p)), b.size-b.pos)] // a longer body is not trusted
	}
	if b.x == nil {
		if err := b.ask(); err != nil {
			return 0, err
		}
	}
	defer b.s.env.Trace.Span("fetch", "stream", 0, b.pos, int64(len(p)))()
	n, err := b.x.Read(p)
	if err == io.EOF && b.size >= 0 {
		if b.pos+int64(n) == b.size {
			return n, nil
		}
		err = fmt.Errorf("connection broke at byte %d of %d: %w", b.pos+int64(n), b.size, errdef.ErrUnavailable)
	}
	return n, err
}

// drop ends the connection. A place that did not give a byte is left.
func (b *stream) drop() {
	if b.x != nil {
		if b.x.got == 0 {
			b.s.leave(b.x)
		}
		b.x.close()
		b.x = nil
	}
}

// goOn decides whether a broken stream can be continued. It waits before the next try.
func (b *stream) goOn(err error) error {
	if e := b.s.ended(); e != nil {
		return e
	}
	if b.pos > 0 && b.s.validator.Strong == "" && !b.s.src.o.Pinned && !retry.IsPermanent(err) {
		return fmt.Errorf("stopped at byte %d, and the server gives no validator to go on with: %w", b.pos, err)
	}
	return b.s.wait(b.count, b.pos, err)
}

// ask opens the content again, at pos.
func (b *stream) ask() error {
	a := ask{off: b.pos, n: httprange.Unknown}
	if b.pos > 0 {
		a.ranged, a.ifRange = true, true
	}
	x, err := b.s.send(a)
	if err != nil {
		return err
	}
	if x.status == http.StatusRequestedRangeNotSatisfiable && b.size < 0 {
		// All of an unchanged content has come, and only its end was missing.
		c, err := httprange.ParseContentRange(x.header.Get("Content-Range"))
		if err == nil && c.Total == b.pos && b.s.validator.Same(x.header, true) {
			x.close()
			b.size = b.pos
			return io.EOF
		}
	}
	skip, n, err := b.s.rangeAnswer(x, a)
	if err == nil {
		err = b.s.skip(x, skip)
	}
	if err != nil {
		b.s.leave(x)
		x.close()
		return err
	}
	if b.size < 0 && x.status == partial {
		if c, err := httprange.ParseContentRange(x.header.Get("Content-Range")); err == nil && c.Total != httprange.Unknown {
			b.size = c.Total
		}
	} else if b.size < 0 && n >= 0 {
		b.size = b.pos + n
	}
	b.x = x
	return nil
}
