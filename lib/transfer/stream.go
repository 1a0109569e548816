package transfer

import (
	"context"
	"errors"
	"io"

	"github.com/cdictl/cdictl/lib/internal/bufpool"
	"github.com/cdictl/cdictl/lib/sink"
)

// TailSize is how many bytes of a stream's end are shown to StreamOptions.Tail.
const TailSize = 512

// StreamOptions of Stream, beside Options.
type StreamOptions struct {
	// Max is the largest disk, 0: no bound. A longer stream ends in TooLarge.
	Max      int64
	TooLarge error
	// Tail, if set, is shown the last TailSize bytes (fewer if the stream is shorter) and the stream's length, and
	// tells the size of the disk: a footer of a format is no content, and what is missing at the end is zeros.
	Tail func(tail []byte, length int64) (int64, error)
	// From is where in the disk the reader begins: what lies before it is there already. The stream does not end within
	// TailSize of it.
	From int64
}

// Stream writes r, the disk in guest order, to dst and returns the disk's size: the stream's length rounded up to 512,
// or what Tail said. It reads r from one goroutine, to its end.
func Stream(ctx context.Context, dst sink.Sink, r io.Reader, so StreamOptions, o Options) (int64, Stats, error) {
	o = o.withDefaults()
	workers := o.Workers
	if dst.Caps().Ordered {
		workers = 1
	}
	s := &streamer{writer: writer{dst: dst, o: o}, so: so, r: r,
		// One segment per worker, one in the channel, two with the reader.
		pool: bufpool.New(int(o.Segment), workers+3), segments: make(chan segment, 1)}

	group, gctx := o.group(ctx)
	var size int64
	group.Go(func() (err error) {
		defer close(s.segments)
		size, err = s.read(gctx)
		return err
	})
	for lane := range workers {
		group.Go(func() error {
			for g := range s.segments {
				if err := gctx.Err(); err != nil {
					return err
				}
				end := o.Trace.Span("write", "write", lane+1, g.off, int64(len(g.data)))
				err := s.write(g.off, g.data)
				end()
				if err != nil {
					return err
				}
				s.pool.Put(g.buf)
			}
			return nil
		})
	}
	err := group.Wait()
	return size, s.stats.stats(), err
}

type streamer struct {
	writer
	so       StreamOptions
	r        io.Reader
	pool     *bufpool.Pool
	segments chan segment
}

type segment struct {
	off       int64
	data, buf []byte
}

// read cuts the stream into segments. It stays one segment behind, so that the end can be cut off.
func (s *streamer) read(ctx context.Context) (int64, error) {
	var last segment
	s.kept(s.so.From)
	for off := s.so.From; ; {
		buf, err := s.pool.Get(ctx)
		if err != nil {
			return 0, err
		}
		end := s.o.Trace.Span("decode", "stream", 0, off, int64(len(buf)))
		n, err := fill(s.r, buf)
		end()
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, s.o.readError(err)
		}
		this := segment{off: off, data: buf[:n], buf: buf}
		off += int64(n)
		if err != nil {
			return s.finish(ctx, last, this)
		}
		if s.so.Max > 0 && off > s.so.Max+TailSize {
			return 0, s.o.readError(s.so.TooLarge)
		}
		if err := s.send(ctx, last); err != nil {
			return 0, err
		}
		last = this
	}
}

func (s *streamer) finish(ctx context.Context, last, this segment) (int64, error) {
	length := this.off + int64(len(this.data))
	size := (length + 511) &^ 511
	if s.so.Tail != nil {
		tail := this.data[max(0, len(this.data)-TailSize):]
		if k := min(TailSize-len(tail), len(last.data)); k > 0 {
			tail = append(append(make([]byte, 0, TailSize), last.data[len(last.data)-k:]...), tail...)
		}
		n, err := s.so.Tail(tail, length)
		if err != nil {
			return 0, s.o.readError(err)
		}
		size = n
	}
	if s.so.Max > 0 && size > s.so.Max {
		return 0, s.o.readError(s.so.TooLarge)
	}
	for _, g := range []segment{last, this} {
		g.data = g.data[:max(0, min(int64(len(g.data)), size-g.off))]
		if err := s.send(ctx, g); err != nil {
			return 0, err
		}
	}
	if size > length && !s.dst.Caps().Ordered { // a pipe pads in Commit, when the data has passed
		return size, s.zero(length, size-length)
	}
	return size, nil
}

func (s *streamer) send(ctx context.Context, g segment) error {
	if g.buf == nil {
		return nil
	}
	if len(g.data) == 0 {
		s.pool.Put(g.buf)
		return nil
	}
	select {
	case s.segments <- g:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fill reads until p is full: io.EOF only at the end of r, with what came before it.
func fill(r io.Reader, p []byte) (n int, err error) {
	for idle := 0; n < len(p) && err == nil; {
		var m int
		m, err = r.Read(p[n:])
		n += m
		if m > 0 {
			idle = 0
		} else if idle++; err == nil && idle > 100 {
			return n, io.ErrNoProgress
		}
	}
	if n == len(p) && errors.Is(err, io.EOF) {
		err = nil // the next read tells again
	}
	return n, err
}
