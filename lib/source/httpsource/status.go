package httpsource

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/retry"
)

// throttled marks the wish of a server for fewer requests.
type throttled struct{ error }

func (t throttled) Unwrap() error { return t.error }

// statusError is the error for an answer that brings no content.
func (x *exchange) statusError() error {
	text := fmt.Sprintf("the server answered %d %s", x.status, http.StatusText(x.status))
	if said := x.said(); said != "" {
		text += " (" + said + ")"
	}
	with := func(class error) error { return fmt.Errorf("%s: %w", text, class) }
	permanent := retry.Permanent
	if x.moved && x.s.opened {
		// One of several mirrors does not have it. The content did exist, so the next mirror may.
		permanent = func(err error) error { return err }
	}
	switch x.status {
	case http.StatusNotFound, http.StatusGone:
		return permanent(with(errdef.ErrNotFound))
	case http.StatusUnauthorized, http.StatusForbidden:
		hint := "give a user and password, a bearer token or a --header-file; a signed URL may have expired"
		if !x.at.trusted {
			hint = "the answer is from behind a redirect to another host, where credentials are not sent; a signed URL may have expired"
		}
		return permanent(errdef.WithHint(with(errdef.ErrUnauthorized), hint))
	case http.StatusProxyAuthRequired:
		return retry.Permanent(errProxyAuth)
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusTooEarly:
		return throttled{x.after(with(errdef.ErrUnavailable))}
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return permanent(with(errdef.ErrUnavailable))
	}
	if x.status >= 500 {
		return x.after(with(errdef.ErrUnavailable))
	}
	return permanent(with(errdef.ErrUnavailable))
}

// after adds the delay that the server asks for.
func (x *exchange) after(err error) error {
	if d, ok := retry.ParseAfter(x.header.Get("Retry-After"), time.Now()); ok {
		return retry.After(err, d)
	}
	return err
}

// said is a bounded, harmless form of the body of an error: text and the like only, and without anything that was secret
// in the request, which object stores repeat in theirs.
func (x *exchange) said() string {
	kind := x.header.Get("Content-Type")
	if !strings.HasPrefix(kind, "text/plain") && !strings.Contains(kind, "json") && !strings.Contains(kind, "xml") ||
		strings.Contains(kind, "html") {
		return ""
	}
	b := make([]byte, maxErrorBody)
	n := 0
	_ = x.watch(func() (err error) {
		n, err = io.ReadFull(x.body, b)
		return err
	})
	sec := secrets{}
	for v := range x.s.src.secrets {
		sec[v] = true
	}
	sec.addQuery(x.at.url)
	return clip(printable(sec.hide(string(b[:n]))), maxErrorText)
}
