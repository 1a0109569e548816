package httpsource

import (
	"io"
	"net/http"

	"github.com/cdictl/cdictl/lib/internal/httprange"
	"github.com/cdictl/cdictl/lib/source"
)

// headSize is what Open asks for: enough for every codec's and format's magic, and for most headers.
const headSize = 64 << 10

// open makes the blob, asking for n bytes first.
func (s *session) open(n int64) (source.Blob, error) {
	count := s.failures()
	a := ask{n: n, ranged: s.src.o.Form == nil}
	for {
		blob, err := s.try(&a)
		if err == nil {
			s.opened = true
			return blob, nil
		}
		if err := s.wait(count, 0, err); err != nil {
			return nil, err
		}
	}
}

// try asks once and looks at the answer. Where ranges turn out to be useless it asks for the whole content.
func (s *session) try(a *ask) (source.Blob, error) {
	for {
		x, err := s.send(*a)
		if err != nil {
			return nil, err
		}
		blob, err := s.first(x, *a)
		if blob != nil || err != nil {
			if err != nil {
				x.close()
			}
			return blob, err
		}
		x.drain()
		x.close()
		*a = ask{}
	}
}

// first makes a blob of the first answer; nil and nil if the whole content must be asked for instead.
func (s *session) first(x *exchange, a ask) (source.Blob, error) {
	switch {
	case x.status == http.StatusOK:
		s.learn(x, x.length)
		if x.length == 0 {
			return s.empty(x), nil
		}
		return newStream(s, x), nil
	case !a.ranged:
		return nil, wrong("%d for the whole content", x.status)
	case x.status == http.StatusRequestedRangeNotSatisfiable:
		c, err := httprange.ParseContentRange(x.header.Get("Content-Range"))
		if err != nil || c.Total != 0 {
			return nil, nil
		}
		s.learn(x, 0)
		return s.empty(x), nil
	case x.status != http.StatusPartialContent:
		return nil, nil
	}
	c, err := httprange.ParseContentRange(x.header.Get("Content-Range"))
	if err != nil || c.First != 0 || c.Last >= a.n || c.Total == httprange.Unknown || x.length >= 0 && x.length != c.Len() {
		return nil, nil
	}
	if httprange.ParseValidator(x.header).Strong == "" && !s.src.o.Pinned {
		if c.Len() < c.Total {
			return nil, nil
		}
		s.learn(x, c.Total) // the range is the whole content: one answer, so no mixture
		return newStream(s, x), nil
	}
	s.learn(x, c.Total)
	defer x.close()
	defer s.env.Trace.Span("fetch", "open", 0, 0, c.Len())()
	head := make([]byte, c.Len())
	n, err := io.ReadFull(x, head)
	if e := s.ended(); e != nil {
		return nil, e
	}
	if err == nil {
		x.drain()
	}
	// What broke off is still good as far as it goes; the rest is fetched when it is wanted.
	return newRanged(s, head[:n:n]), nil
}

// empty needs no server any more, so random access is free.
func (s *session) empty(x *exchange) *ranged {
	x.close()
	return newRanged(s, nil)
}

func (s *session) learn(x *exchange, size int64) {
	s.size = size
	if !s.src.o.Pinned {
		s.validator = httprange.ParseValidator(x.header)
	}
}
