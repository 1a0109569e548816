// Package pipesink writes a disk to a pipe: in guest order, zeros included, with nothing to take back.
package pipesink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
)

// chunk is the length of one write: four times a Linux pipe, and two of them are in memory.
const chunk = 256 << 10

// A Target is an open writer.
type Target struct {
	w    io.Writer
	name string
	used atomic.Bool
}

// New names the writer w, which stays the caller's: nothing here closes it. name is for people, "-" for standard output.
// A target can be opened once. What was written cannot be taken back: who reads the other end must not trust it before
// the writer's success is known. When a sink is closed or its context ends while w.Write blocks, that one call stays
// behind until it returns.
//
// A Go program dies of SIGPIPE when w is its own standard output and the reader leaves; it sees an error instead if it
// calls signal.Ignore(syscall.SIGPIPE) first.
func New(w io.Writer, name string) *Target { return &Target{w: w, name: name} }

// Caps tells before Open what the sink will: order matters.
func (t *Target) Caps() sink.Caps { return caps }

var caps = sink.Caps{Ordered: true, Align: 1, Chunk: chunk}

// String returns the name.
func (t *Target) String() string { return t.name }

func (t *Target) fail(op string, err error) error {
	return &errdef.Error{Op: op, Side: errdef.Target, Name: t.name, Err: err}
}

// Open begins the stream. Its writes end when ctx does, until Commit. Preallocate is satisfied by itself.
func (t *Target) Open(ctx context.Context, o sink.Options) (sink.Sink, error) {
	if err := ctx.Err(); err != nil {
		return nil, t.fail("open", err)
	}
	switch {
	case o.Mode != sink.New:
		return nil, t.fail("open", errdef.WithHint(fmt.Errorf("a pipe takes a new disk only: %w", errdef.ErrUnsupported), "write to a file"))
	case o.Size < -1:
		return nil, t.fail("open", fmt.Errorf("size %d: %w", o.Size, errdef.ErrUsage))
	case t.used.Swap(true):
		return nil, t.fail("open", fmt.Errorf("this stream was opened before and cannot begin again: %w", errdef.ErrUsage))
	}
	s := &pipe{t: t, limit: o.Size, empty: make(chan []byte, 2), full: make(chan []byte, 2),
		stop: make(chan struct{}), drained: make(chan struct{})}
	if s.limit < 0 {
		s.limit = math.MaxInt64
	}
	s.unhook = context.AfterFunc(ctx, func() { s.end(ctx.Err()) })
	go s.pump()
	return s, nil
}

// pipe is the open stream. Its own goroutine writes, because a write to a pipe that nobody empties can not be
// interrupted by a context.
type pipe struct {
	t      *Target
	limit  int64 // size of the disk
	pos    int64 // what WriteAt and Zero accepted
	bufs   int   // made so far
	zeros  []byte
	unhook func() bool

	empty, full chan []byte
	drained     chan struct{} // closed when the goroutine has ended

	once   sync.Once
	stop   chan struct{} // closed by end, after why is set
	why    error
	closed bool // full is closed: no more data
	done   bool // committed
}

// end stops everything for the reason why; only the first reason counts.
func (s *pipe) end(why error) {
	s.once.Do(func() {
		s.why = why
		close(s.stop)
	})
}

func (s *pipe) stopped() error {
	select {
	case <-s.stop:
		return s.t.fail("write", s.why)
	default:
		return nil
	}
}

// pump writes what arrives until there is no more, and flushes.
func (s *pipe) pump() {
	defer close(s.drained)
	for {
		var b []byte
		var ok bool
		select {
		case <-s.stop:
			return
		case b, ok = <-s.full:
			if !ok {
				if err := s.flush(); err != nil {
					s.end(explain(err))
				}
				return
			}
		}
		n, err := s.t.w.Write(b)
		if err == nil && n < len(b) {
			err = io.ErrShortWrite
		}
		if err != nil {
			s.end(explain(err))
			return
		}
		if cap(b) == chunk { // not the shared zeros
			s.empty <- b
		}
	}
}

// explain gives an operating system's error its class and hint.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrClosedPipe):
		return errdef.WithHint(fmt.Errorf("the reader went away before the disk was complete: %w", err), "look at what the program behind the pipe said")
	case errors.Is(err, syscall.ENOSPC):
		return errdef.WithHint(fmt.Errorf("%w: %w", errdef.ErrNoSpace, err), "free some space where the output goes, or name a target file: it is written sparse")
	}
	return err
}

// buffer waits for a buffer that is free.
func (s *pipe) buffer() ([]byte, error) {
	if err := s.stopped(); err != nil {
		return nil, err
	}
	select {
	case b := <-s.empty:
		return b[:chunk], nil
	default:
	}
	if s.bufs < cap(s.empty) {
		s.bufs++
		return make([]byte, chunk), nil
	}
	select {
	case b := <-s.empty:
		return b[:chunk], nil
	case <-s.stop:
		return nil, s.stopped()
	}
}

func (s *pipe) send(b []byte) error {
	select {
	case s.full <- b:
		s.pos += int64(len(b))
		return nil
	case <-s.stop:
		return s.stopped()
	}
}

func (s *pipe) check(off, n int64) error {
	switch {
	case s.closed || s.done:
		return s.t.fail("write", os.ErrClosed)
	case off < 0 || n < 0:
		return s.t.fail("write", fmt.Errorf("range [%d,+%d): %w", off, n, errdef.ErrUsage))
	case n > 0 && off != s.pos:
		return s.t.fail("write", fmt.Errorf("offset %d, but a pipe goes on at %d: %w", off, s.pos, errdef.ErrUnsupported))
	case n > s.limit-off:
		return s.t.fail("write", fmt.Errorf("range [%d,+%d) passes the end of the disk at %d: %w", off, n, s.limit, errdef.ErrTooSmall))
	}
	return nil
}

// WriteAt takes the next bytes of the disk. They may still be under way when it returns; a failure is reported by the
// next call, at the latest by Commit.
func (s *pipe) WriteAt(p []byte, off int64) (int, error) {
	if err := s.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	n := 0
	for n < len(p) {
		b, err := s.buffer()
		if err != nil {
			return n, err
		}
		m := copy(b, p[n:])
		if err := s.send(b[:m]); err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// Zero writes n zeros.
func (s *pipe) Zero(off, n int64) error {
	if err := s.check(off, n); err != nil {
		return err
	}
	return s.pad(n)
}

func (s *pipe) pad(n int64) error {
	if s.zeros == nil && n > 0 {
		s.zeros = make([]byte, chunk/4) // shared by all writes under way; its capacity tells it from a buffer
	}
	for n > 0 {
		m := min(n, int64(len(s.zeros)))
		if err := s.send(s.zeros[:m]); err != nil {
			return err
		}
		n -= m
	}
	return nil
}

// Caps says that a pipe is written in order.
func (s *pipe) Caps() sink.Caps { return caps }

// Commit pads the stream with zeros to size, and waits until all of it was taken. What is visible already at the other
// end of a pipe stays so when it fails.
func (s *pipe) Commit(ctx context.Context, size int64) error {
	switch {
	case s.closed || s.done:
		return s.t.fail("commit", os.ErrClosed)
	case size < 0:
		return s.t.fail("commit", fmt.Errorf("size %d: %w", size, errdef.ErrUsage))
	case size < s.pos:
		return s.t.fail("commit", fmt.Errorf("size %d, but %d bytes are written already: %w", size, s.pos, errdef.ErrUnsupported))
	}
	if err := ctx.Err(); err != nil {
		return s.t.fail("commit", err)
	}
	defer context.AfterFunc(ctx, func() { s.end(ctx.Err()) })()
	if err := s.pad(size - s.pos); err != nil {
		return err
	}
	s.closed = true
	close(s.full)
	select {
	case <-s.drained:
	case <-s.stop:
	}
	if err := s.stopped(); err != nil {
		return err
	}
	s.done = true
	return nil
}

// flush makes the end durable where that means something: a buffered writer, or a file that the output goes to.
func (s *pipe) flush() error {
	if f, ok := s.t.w.(interface{ Flush() error }); ok {
		return f.Flush()
	}
	if f, ok := s.t.w.(*os.File); ok {
		if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() {
			return f.Sync()
		}
	}
	return nil
}

// Close ends the stream where it is.
func (s *pipe) Close() error {
	s.unhook()
	s.end(os.ErrClosed)
	s.closed = true
	return nil
}
