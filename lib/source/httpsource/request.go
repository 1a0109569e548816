package httpsource

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/httprange"
	"github.com/cdictl/cdictl/lib/retry"
)

// ask says what a request wants.
type ask struct {
	off, n  int64 // n < 0: to the end
	ranged  bool  // else the whole content
	ifRange bool  // only if the validator still holds
}

func (s *session) origin() place { return place{s.src.url, true} }

func (s *session) pinned() *place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pin
}

// repin replaces the pin was by p, unless another goroutine has done so.
func (s *session) repin(was, p *place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pin == was {
		s.pin = p
	}
}

// send makes one try: at the pinned place, and if that has died or does not let us in any more (a signature has
// expired), at the URL itself. The status of the exchange is 200, 206, 412 or 416.
func (s *session) send(a ask) (*exchange, error) {
	pin := s.pinned()
	if pin != nil {
		x, err := s.follow(*pin, a)
		if err == nil {
			if x.moved {
				s.repin(pin, &x.at)
			}
			return x, nil
		}
		if s.ended() != nil {
			return nil, err
		}
		s.repin(pin, nil)
		pin = nil
		if !retry.IsPermanent(err) {
			return nil, err // first the delay, then the URL itself
		}
	}
	x, err := s.follow(s.origin(), a)
	if err == nil && x.moved {
		s.repin(pin, &x.at)
	}
	return x, err
}

// leave forgets the place that gave x, which does not do what the place before it did.
func (s *session) leave(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pin != nil && s.pin.url.String() == x.at.url.String() {
		s.pin = nil
	}
}

// follow asks at p and goes where redirects lead.
func (s *session) follow(p place, a ask) (*exchange, error) {
	x := s.newExchange()
	err := s.hops(x, p, a)
	if err != nil {
		x.close()
		if e := s.ended(); e != nil {
			err = e
		}
		return nil, err
	}
	return x, nil
}

func (s *session) hops(x *exchange, p place, a ask) error {
	visited := []string{p.url.String()}
	for {
		req, err := s.request(x, p, a)
		if err != nil {
			return x.networkError(err)
		}
		rt := s.rt.away
		if p.trusted {
			rt = s.rt.home
		}
		var resp *http.Response
		err = x.watch(func() (err error) {
			// The http.Client is not used: it would put whole URLs into its errors, and follow redirects by rules of its own.
			resp, err = rt.RoundTrip(req) //nolint:bodyclose // x owns the body from here on and closes it
			return err
		})
		if err != nil {
			return x.networkError(err)
		}
		x.status, x.header, x.length, x.body, x.at = resp.StatusCode, resp.Header, resp.ContentLength, resp.Body, p
		switch x.status {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		case http.StatusOK, http.StatusPartialContent, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
			return nil
		default:
			return x.statusError()
		}
		next, err := s.redirect(p, resp.Header.Get("Location"), len(visited))
		if err != nil {
			return retry.Permanent(&Answer{x.status, x.header, err})
		}
		if slices.Contains(visited, next.url.String()) {
			return retry.Permanent(fmt.Errorf("redirects go in a circle, back to %s: %w", display(next.url), errdef.ErrUnavailable))
		}
		x.drain()
		_ = x.body.Close()
		visited, p, x.moved = append(visited, next.url.String()), next, true
	}
}

// request is what is asked at p.
func (s *session) request(x *exchange, p place, a ask) (*http.Request, error) {
	method, body := http.MethodGet, io.Reader(nil)
	if form := s.src.o.Form; form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(x.ctx, method, p.url.String(), body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	headers := []http.Header{s.src.plain}
	if p.trusted {
		headers = append(headers, s.src.secret)
	}
	for _, h := range headers {
		for name, values := range h {
			req.Header[name] = slices.Clone(values)
		}
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Header.Del("Host")
		if p.trusted {
			req.Host = host
		}
	}
	req.Header.Set("Accept-Encoding", "identity")
	if a.ranged {
		req.Header.Set("Range", httprange.Format(a.off, a.n))
		switch {
		case a.ifRange && s.src.o.IfMatch && s.validator.Strong == s.validator.ETag:
			req.Header.Set("If-Match", s.validator.ETag)
		case a.ifRange && s.validator.Strong != "":
			req.Header.Set("If-Range", s.validator.Strong)
		}
	}
	if p.trusted {
		err = x.authorize(req)
	}
	return req, err
}

// redirect decides where a Location leads, and whether credentials go along. Once lost they do not come back: another
// host must not choose what is asked with them.
func (s *session) redirect(from place, location string, hops int) (place, error) {
	if location == "" {
		return place{}, fmt.Errorf("a redirect without a Location: %w", errdef.ErrUnavailable)
	}
	u, err := from.url.Parse(location)
	if err != nil {
		return place{}, fmt.Errorf("a redirect to something that is no URL: %w", errdef.ErrUnavailable)
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	switch {
	case s.src.o.MaxRedirects < 0:
		return place{}, fmt.Errorf("a redirect to %s, and none is allowed: %w", display(u), errdef.ErrRefused)
	case u.Scheme != "http" && u.Scheme != "https":
		return place{}, fmt.Errorf("a redirect to scheme %q, only http and https are followed: %w", clip(u.Scheme, 20), errdef.ErrRefused)
	case u.Hostname() == "":
		return place{}, fmt.Errorf("a redirect to a URL without host: %w", errdef.ErrUnavailable)
	case hops > s.src.o.MaxRedirects:
		return place{}, fmt.Errorf("more than %d redirects, the last to %s: %w", s.src.o.MaxRedirects, display(u), errdef.ErrUnavailable)
	}
	if err := s.src.checkHost(u); err != nil {
		return place{}, err
	}
	return place{u, from.trusted && sameOrigin(from.url, u)}, nil
}

// sameOrigin: the same scheme, host and port, or the step from http to https on their usual ports.
func sameOrigin(a, b *url.URL) bool {
	if !strings.EqualFold(a.Hostname(), b.Hostname()) {
		return false
	}
	if a.Scheme == b.Scheme {
		return port(a) == port(b)
	}
	return a.Scheme == "http" && port(a) == "80" && port(b) == "443"
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// networkError sorts what can go wrong before an answer: trust, names and refusals stay as they are, the rest may pass.
func (x *exchange) networkError(err error) error {
	var dns *net.DNSError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var own errAuthorize
	switch {
	case x.s.ended() != nil:
		return x.s.ended()
	case errors.As(err, &own):
		return authorizeError(own.error)
	case errors.Is(err, errdef.ErrRefused):
		var op *net.OpError // "dial tcp …: " adds nothing
		if errors.As(err, &op) {
			err = op.Err
		}
		return retry.Permanent(err)
	case errors.Is(err, errProxyAuth), errors.Is(err, errProxyEnv):
		return retry.Permanent(err)
	case certificateError(err) != nil:
		return retry.Permanent(certificateError(err))
	case errors.As(err, &alert) && clientCertAlert(alert):
		return retry.Permanent(errdef.WithHint(fmt.Errorf("the server refuses our TLS handshake: %s: %w",
			x.s.clean(err.Error()), errdef.ErrUnauthorized), hintClientCert))
	case x.s.rt.asked.Load() && !x.s.opened && !errors.Is(context.Cause(x.ctx), errStalled):
		// In TLS 1.3 the refusal comes after our first bytes, and the reset that they cause may overtake it.
		return errdef.WithHint(fmt.Errorf("no answer after the server had asked for a client certificate: %s: %w",
			x.s.clean(err.Error()), errdef.ErrUnauthorized), hintClientCert)
	case errors.As(err, &record):
		return retry.Permanent(errdef.WithHint(fmt.Errorf("the server does not speak TLS on this port: %w", errdef.ErrUnavailable),
			"use http:// or another port"))
	case errors.As(err, &dns) && dns.IsNotFound:
		return retry.Permanent(errdef.WithHint(fmt.Errorf("host %q is not known: %w", clip(printable(dns.Name), 100), errdef.ErrUnavailable),
			"look at the host's name in the URL, and at the name server"))
	}
	return x.failure("no answer", err)
}

const hintClientCert = "the server may want a (different) client certificate"

// clientCertAlert: bad, unsupported, revoked, expired or unknown certificate, unknown CA, access denied, certificate
// required (RFC 8446, section 6).
func clientCertAlert(a tls.AlertError) bool {
	return a >= 42 && a <= 46 || a == 48 || a == 49 || a == 116
}
