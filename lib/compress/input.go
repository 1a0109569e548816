package compress

import (
	"bufio"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
)

// stored is what is read from the source at a time.
const stored = 256 << 10

// An input is the stored content as a decoder reads it: buffered, counted, and with the source's own error kept apart
// from what a decoder makes of it. Decoders get the *bufio.Reader, for which they have fast paths.
type input struct {
	*bufio.Reader
	src   *recorder
	at    Point // where it begins
	point func(Point)
}

// tell tells of a point at what is read next; out is what has come out since the beginning.
func (in *input) tell(out int64) {
	if in.point != nil && in.consumed() > 0 {
		in.point(Point{Stored: in.at.Stored + in.consumed(), Out: in.at.Out + out})
	}
}

func newInput(r io.Reader, stop <-chan struct{}) *input {
	src := &recorder{r: r, stop: stop}
	return &input{Reader: bufio.NewReaderSize(src, stored), src: src}
}

// consumed is how many stored bytes the decoder has taken.
func (in *input) consumed() int64 { return in.src.n - int64(in.Buffered()) }

// failed is the error the source ended in, nil if it did not or just came to its end.
func (in *input) failed() error {
	if in.src.err == io.EOF {
		return nil
	}
	return in.src.err
}

// atEnd reports whether nothing is left; an error of the source counts as the end and is told by failed.
func (in *input) atEnd() bool {
	_, err := in.Peek(1)
	return err != nil
}

// barren is how many stored bytes may become nothing, one behind the other: empty streams and skippable frames have no
// end. Real ones that are not content (a table of frames, what pzstd puts first) have a few MiB.
const barren = 16 << 20

// yielded tells that something came out.
func (in *input) yielded() { in.src.since = 0 }

// A recorder reads, counts, and remembers how the source ended: whatever it ended in, it does so for good.
type recorder struct {
	r     io.Reader
	stop  <-chan struct{}
	n     int64
	since int64 // something came out
	err   error
	empty int
}

func (s *recorder) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	select {
	case <-s.stop:
		s.err = errClosed
		return 0, s.err
	default:
	}
	n, err := s.r.Read(p)
	if n < 0 || n > len(p) {
		n, err = 0, fmt.Errorf("compress: reader returned a count of %d for %d bytes", n, len(p))
	}
	s.n += int64(n)
	if s.since += int64(n); s.since > barren {
		s.err = fmt.Errorf("compress: of %d stored bytes the last %d have become nothing: %w", s.n, s.since, errdef.ErrLimit)
		return 0, s.err
	}
	if n > 0 || err != nil {
		s.empty = 0
	} else if s.empty++; s.empty >= 100 {
		err = io.ErrNoProgress // here, or bufio says it and it looks like the decoder's
	}
	s.err = err
	return n, err
}
