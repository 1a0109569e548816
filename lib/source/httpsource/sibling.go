package httpsource

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
)

// Sibling names what the last element of the URL's path becomes when it is replaced: same host, same folder, same query
// and same credentials, which a redirect away from the host does not get.
func (s *Source) Sibling(name string) (source.Source, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00\r\n") {
		return nil, s.fail("open", fmt.Errorf("%q is not a file beside it: %w", name, errdef.ErrRefused))
	}
	path := s.url.EscapedPath()
	path = "/" + strings.TrimPrefix(path[:strings.LastIndexByte(path, '/')+1], "/") + url.PathEscape(name)
	u := *s.url
	var err error
	if u.Path, err = url.PathUnescape(path); err != nil {
		return nil, s.fail("open", fmt.Errorf("path %q: %w", path, errdef.ErrUsage))
	}
	u.RawPath = path
	t := *s
	t.url, t.name = &u, display(&u)
	t.o.Name = "" // it named the other one
	return &t, nil
}
