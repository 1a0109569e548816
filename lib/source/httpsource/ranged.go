package httpsource

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/retry"
	"github.com/cdictl/cdictl/lib/source"
)

// maxSkip is the most that a range reads past when the server sends the whole content for it.
const maxSkip = 4 << 20

// ranged is a blob with random access. Read is for one goroutine; everything else is safe for concurrent use.
type ranged struct {
	s    *session
	head []byte // the first bytes, from Open

	pos    int64
	win    *window
	stream *stream // takes over when the server honours ranges no more
	err    error   // of Read; it stays

	closing sync.Once
}

var (
	_ source.Blob = (*ranged)(nil)
	_ io.ReaderAt = (*ranged)(nil)

	_ source.Starter = (*ranged)(nil)
)

func newRanged(s *session, head []byte) *ranged { return &ranged{s: s, head: head} }

func (b *ranged) Info() source.Info { return b.s.info() }

// Close ends everything that is under way.
func (b *ranged) Close() error {
	b.closing.Do(b.s.close)
	return nil
}

// ReadAt asks for exactly what the first bytes do not hold: one range, or more if the server cuts it or it breaks.
func (b *ranged) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, b.s.src.fail("read", fmt.Errorf("offset %d is negative: %w", off, fs.ErrInvalid))
	}
	if err := b.s.ended(); err != nil {
		return 0, b.s.src.fail("read", err)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off >= b.s.size {
		return 0, io.EOF
	}
	var eof error
	if int64(len(p)) > b.s.size-off {
		p, eof = p[:b.s.size-off], io.EOF
	}
	n := 0
	if off < int64(len(b.head)) {
		n = copy(p, b.head[off:])
	}
	if n < len(p) {
		m, err := b.s.fetch(p[n:], off+int64(n))
		n += m
		if err != nil {
			return n, b.s.src.fail("read", err)
		}
	}
	return n, eof
}

// StartAt makes Read begin at off.
func (b *ranged) StartAt(off int64) error {
	if off < 0 || off > b.s.size || b.pos > 0 || b.win != nil {
		return b.s.src.fail("read", fmt.Errorf("begin at %d of %d bytes: %w", off, b.s.size, fs.ErrInvalid))
	}
	b.pos = off
	return nil
}

// Read reads the content in order, ahead of the caller once the first bytes are used up.
func (b *ranged) Read(p []byte) (int, error) {
	for {
		if err := b.s.ended(); err != nil {
			return 0, b.s.src.fail("read", err)
		}
		if b.stream != nil {
			return b.stream.Read(p)
		}
		if b.err != nil || len(p) == 0 {
			return 0, b.err
		}
		n, err := b.next(p)
		b.pos += int64(n)
		switch {
		case errors.Is(err, errNoRanges):
			b.win = nil // its ranges end on their own
			b.stream = newStream(b.s, nil)
			b.stream.pos = b.pos
			continue
		case err == io.EOF:
			b.err = err
		case err != nil:
			b.err = b.s.src.fail("read", err)
		}
		if n > 0 || b.err != nil {
			return n, b.err
		}
	}
}

func (b *ranged) next(p []byte) (int, error) {
	switch {
	case b.pos < int64(len(b.head)):
		return copy(p, b.head[b.pos:]), nil
	case b.pos >= b.s.size:
		return 0, io.EOF
	case b.win == nil:
		b.win = newWindow(b.s, b.pos)
	}
	return b.win.read(p)
}

// fetch fills p from off, by as many requests as it takes.
func (s *session) fetch(p []byte, off int64) (done int, err error) {
	var slot int
	select {
	case slot = <-s.slots:
	case <-s.ctx.Done():
		return 0, s.ended()
	}
	keep := true
	defer func() {
		if keep {
			s.slots <- slot
		}
	}()
	count, whole := s.failures(), 0
	for done < len(p) {
		end := s.env.Trace.Span("fetch", "range", slot, off+int64(done), int64(len(p)-done))
		n, err := s.part(p[done:], off+int64(done))
		end()
		done += n
		if n > 0 {
			count.Progress()
		}
		if err == nil {
			continue
		}
		if _, ok := errors.AsType[throttled](err); ok && keep {
			keep = !s.retire()
		}
		if errors.Is(err, errNoRanges) {
			// Once more, because another mirror may be better; then it is the server's way.
			if whole++; whole > 1 {
				err = retry.Permanent(err)
			}
		}
		if err := s.wait(count, off+int64(done), err); err != nil {
			return done, err
		}
	}
	return done, nil
}

// retire takes one range out of circulation, for a server that says it is asked too much. The last one stays.
func (s *session) retire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retired >= s.src.o.Connections-1 {
		return false
	}
	s.retired++
	return true
}

// part makes one request for p and returns how much of it came. n is right even with an error. It is not more than one
// answer's body, so what it returns is of one content.
func (s *session) part(p []byte, off int64) (n int, err error) {
	a := ask{off: off, n: int64(len(p)), ranged: true, ifRange: true}
	x, err := s.send(a)
	if err != nil {
		return 0, err
	}
	defer x.close()
	skip, length, err := s.rangeAnswer(x, a)
	if err != nil {
		s.leave(x)
		return 0, err
	}
	if skip > maxSkip {
		s.leave(x)
		return 0, fmt.Errorf("%w: %w", errNoRanges, errdef.ErrUnavailable)
	}
	if err := s.skip(x, skip); err != nil {
		return 0, err
	}
	p = p[:min(int64(len(p)), length)]
	for n < len(p) {
		m, err := x.Read(p[n:])
		n += m
		if err == nil || n == len(p) && err == io.EOF {
			continue
		}
		if err == io.EOF {
			err = fmt.Errorf("connection broke at byte %d: %w", off+int64(n), errdef.ErrUnavailable)
		}
		if x.got == 0 {
			s.leave(x) // a place that does not give a byte
		}
		return n, err
	}
	if skip > 0 || x.status != partial {
		return n, nil
	}
	return s.ending(x, n)
}

// ending looks behind the last byte of a range. An answer without a length that has more than it promised cannot be
// trusted in the rest either.
func (s *session) ending(x *exchange, n int) (int, error) {
	var b [1]byte
	m := 0
	_ = x.watch(func() (err error) {
		m, err = io.ReadFull(x.body, b[:])
		return err
	})
	if m > 0 {
		return 0, wrong("more bytes than its Content-Range")
	}
	return n, nil
}

// skip reads n bytes of body and drops them.
func (s *session) skip(x *exchange, n int64) error {
	if n == 0 {
		return nil
	}
	buf := make([]byte, min(n, 64<<10))
	for n > 0 {
		m, err := x.Read(buf[:min(n, int64(len(buf)))])
		n -= int64(m)
		if err == io.EOF && n > 0 {
			return fmt.Errorf("connection broke while going forward to where it had stopped: %w", errdef.ErrUnavailable)
		}
		if err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}
