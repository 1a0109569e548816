package httpsource

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/httprange"
	"github.com/cdictl/cdictl/lib/retry"
)

// errNoRanges: the content is still the same, but the server sends the whole of it for a range.
var errNoRanges = errors.New("the server does not honour ranges any more")

// changed is the end of a content that is not what it was.
func changed(format string, args ...any) error {
	return retry.Permanent(errdef.WithHint(fmt.Errorf(format+": %w", append(args, errdef.ErrChanged)...),
		"start again, when nobody writes to it any more"))
}

// wrong is an answer that contradicts the question. It is tried again: a broken cache or mirror may not be asked twice.
func wrong(format string, args ...any) error {
	return fmt.Errorf("the server answered wrongly: "+format+": %w", append(args, errdef.ErrUnavailable)...)
}

// rangeAnswer checks the answer to a range with If-Range. It returns how many bytes of body lie before a.off (0, or all
// of them for a whole content), and how many belong to the answer from a.off on.
func (s *session) rangeAnswer(x *exchange, a ask) (skip, n int64, err error) {
	if x.status == http.StatusPreconditionFailed {
		return 0, 0, changed("the validator %s does not hold any more", s.validator.Strong)
	}
	if x.status == http.StatusRequestedRangeNotSatisfiable {
		c, err := httprange.ParseContentRange(x.header.Get("Content-Range"))
		if err == nil && c.Total != httprange.Unknown && c.Total != s.size && s.size >= 0 {
			return 0, 0, changed("size was %d and is now %d", s.size, c.Total)
		}
		return 0, 0, wrong("no range at %d", a.off)
	}
	if err := s.sameContent(x, a); err != nil {
		return 0, 0, err
	}
	if x.status == http.StatusOK {
		if s.size < 0 {
			return a.off, httprange.Unknown, nil
		}
		return a.off, s.size - a.off, nil
	}
	c, err := httprange.ParseContentRange(x.header.Get("Content-Range"))
	if err != nil {
		return 0, 0, wrong("%w", err)
	}
	switch {
	case c.Total != httprange.Unknown && s.size >= 0 && c.Total != s.size:
		return 0, 0, changed("size was %d and is now %d", s.size, c.Total)
	case c.First != a.off || a.n >= 0 && c.Last >= a.off+a.n || s.size >= 0 && c.Last >= s.size:
		return 0, 0, wrong("%s for a range at %d", c, a.off)
	case x.length >= 0 && x.length != c.Len():
		return 0, 0, wrong("%d bytes of body for %s", x.length, c)
	}
	return 0, c.Len(), nil
}

// sameContent compares what an answer tells of its content with what the first one told.
func (s *session) sameContent(x *exchange, a ask) error {
	if v := s.validator; v.Strong != "" && !v.Same(x.header, a.ifRange && x.status == http.StatusPartialContent) {
		is := httprange.ParseValidator(x.header).String()
		if is == "" {
			is = "without a validator"
		}
		return changed("the content was %s and is now %s", v, is)
	}
	if x.status == http.StatusOK && x.length >= 0 && s.size >= 0 && x.length != s.size {
		return changed("size was %d and is now %d", s.size, x.length)
	}
	return nil
}
