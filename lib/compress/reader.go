package compress

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Decoding runs ahead of the caller by ahead chunks of output.
const (
	chunk = 128 << 10
	ahead = 4
)

var errClosed = errors.New("compress: reader is closed")

// errTrailing is for decoders that find something behind the last stream.
var errTrailing = errors.New("something that is not compressed content follows the end")

// A reader hands out what its goroutine decodes.
type reader struct {
	spec *spec
	src  io.Reader
	o    Options
	at   Point // where src begins

	started sync.Once
	stopped sync.Once
	stop    chan struct{}
	done    chan struct{} // closed when the goroutine has ended, or there will be none

	full chan []byte // decoded, in order; closed at the end, err is set then
	free chan []byte // to be filled
	err  error

	cur, rest []byte // the chunk being handed out, and what is left of it
}

func newReader(s *spec, r io.Reader, at Point, o Options) (*reader, error) {
	if s.scan != nil && (o.OnPoint != nil || at.Stored > 0) {
		var err error
		if r, err = s.scan(r, at, o.OnPoint); err != nil {
			return nil, err
		}
	}
	return &reader{
		spec: s, src: r, at: at, o: o,
		stop: make(chan struct{}), done: make(chan struct{}),
		full: make(chan []byte, ahead), free: make(chan []byte, ahead),
	}, nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	r.started.Do(func() { go r.run() })
	select {
	case <-r.stop:
		return 0, errClosed
	default:
	}
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.rest) == 0 {
		if r.cur != nil {
			r.free <- r.cur // never blocks: there are only ahead chunks
			r.cur = nil
		}
		select {
		case <-r.stop:
			return 0, errClosed
		case b, ok := <-r.full:
			if !ok {
				return 0, r.err
			}
			r.cur, r.rest = b, b
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close ends decoding. It returns nil, always.
func (r *reader) Close() error {
	r.stopped.Do(func() { close(r.stop) })
	r.started.Do(func() { close(r.done) }) // never started
	<-r.done
	return nil
}

func (r *reader) run() {
	defer close(r.done)
	defer close(r.full)
	in := newInput(r.src, r.stop)
	m := meter{ratio: r.o.Expansion}
	err := r.decode(in, &m)
	switch {
	case in.failed() != nil:
		// The decoder's view of a source that broke off is of no use to anyone.
		r.err = in.failed()
	case err == io.EOF:
		r.err = io.EOF
	default:
		r.err = r.explain(err, in, &m)
	}
}

// decode sends chunks until something ends it: io.EOF when all is decoded, verified and read.
func (r *reader) decode(in *input, m *meter) error {
	if in.atEnd() {
		return io.ErrUnexpectedEOF // no codec has an empty form
	}
	in.at, in.point = r.at, r.o.OnPoint
	dec, release, err := r.spec.open(in, r.o)
	if err != nil {
		return notEOF(err)
	}
	if release != nil {
		defer release()
	}
	for made := 0; ; {
		var buf []byte
		select {
		case buf = <-r.free:
		default:
			if made < ahead {
				made++
				buf = make([]byte, chunk)
				break
			}
			select {
			case buf = <-r.free:
			case <-r.stop:
				return errClosed
			}
		}
		n, err := fill(dec, buf[:chunk])
		if lerr := m.add(buf[:n], in.consumed()); lerr != nil {
			return lerr
		}
		if n > 0 {
			in.yielded()
			r.full <- buf[:n] // never blocks, as above
		}
		switch {
		case err == io.EOF && !in.atEnd():
			return errTrailing
		case err != nil:
			return err
		}
	}
}

// fill reads until buf is full or r has nothing more to say. Its error is r's.
func fill(r io.Reader, buf []byte) (int, error) {
	n, empty := 0, 0
	for n < len(buf) {
		k, err := r.Read(buf[n:])
		n += k
		if err != nil {
			return n, err
		}
		if k > 0 {
			empty = 0
		} else if empty++; empty >= 100 {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// explain says what the decoder ran into, and where.
func (r *reader) explain(err error, in *input, m *meter) error {
	at := fmt.Sprintf("near stored byte %d, output byte %d", r.at.Stored+in.consumed(), r.at.Out+m.total)
	if errors.Is(err, errdef.ErrLimit) {
		return errdef.WithHint(fmt.Errorf("%s, %s: %w", r.spec.name, at, err), errdef.Hint(err))
	}
	if e := r.spec.explain(err, r.o); e != nil {
		return errdef.WithHint(fmt.Errorf("%s, %s: %w", r.spec.name, at, e), errdef.Hint(e))
	}
	what := err.Error()
	if errors.Is(err, io.ErrUnexpectedEOF) {
		what = "content ends early (truncated)"
	}
	return fmt.Errorf("%s, %s: %s: %w", r.spec.name, at, what, errdef.ErrCorrupt)
}

// notEOF makes an end in the wrong place an error.
func notEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
