package httpsource

import (
	"fmt"
	"html"
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
func (x *exchange) statusError() error { return &Answer{x.status, x.header, x.statusClass()} }

func (x *exchange) statusClass() error {
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
	if x.renewed() {
		return with(errdef.ErrUnauthorized)
	}
	switch x.status {
	case http.StatusNotFound, http.StatusGone:
		return permanent(with(errdef.ErrNotFound))
	case http.StatusUnauthorized, http.StatusForbidden:
		hint := "give a user and password, a bearer token or a --header-file; a signed URL may have expired"
		switch {
		case x.at.trusted && x.s.src.o.Unauthorized != "":
			hint = x.s.src.o.Unauthorized
		case !x.at.trusted:
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
	sec.addRequest(x.request)
	return clip(printable(sec.hide(documentText(kind, string(b[:n])))), maxErrorText)
}

// documentText is code and message of an object store's error document, which has much else in it: what was signed, and
// IDs. Any other text stays as it is.
func documentText(kind, text string) string {
	if !strings.Contains(kind, "xml") {
		return text
	}
	element := func(name string) string {
		_, rest, _ := strings.Cut(text, "<"+name+">")
		value, _, _ := strings.Cut(rest, "<")
		return html.UnescapeString(value)
	}
	code, message := element("Code"), element("Message")
	switch {
	case code == "":
		return text
	case message == "":
		return code
	}
	return code + ": " + message
}
