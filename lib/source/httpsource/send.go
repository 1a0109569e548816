package httpsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/retry"
	"github.com/cdictl/cdictl/lib/source"
)

// finishing is how much longer than for anything else an answer to a Message that is Slow may take.
const finishing = 5

// A Sender makes requests of every kind, for who stores something where a Source reads: with the Source's authorities, proxy,
// credentials, bounds and words for what goes wrong. Send makes one try; whoever calls it decides with Wait about another.
// It is for one goroutine.
type Sender struct{ s *session }

// Sender returns one for the server of the source's URL, which it asks nothing yet. Its requests end with ctx.
func (s *Source) Sender(ctx context.Context, env source.Env) (*Sender, error) {
	ses, err := s.newSession(ctx, env)
	if err != nil {
		return nil, s.fail("open", err)
	}
	return &Sender{ses}, nil
}

// Close ends what is under way.
func (c *Sender) Close() { c.s.close() }

// A Message is one request.
type Message struct {
	Method string
	// URL may be what a server has answered: relative to that of the Source, or elsewhere. Credentials go to the Source's origin only.
	URL    string
	Header http.Header
	// Body is sent if Length is not 0.
	Body   io.Reader
	Length int64
	// Sent is told of each piece of Body that is handed over, from another goroutine. May be nil.
	Sent func(n int64)
	// Slow: the server may have work to do before it answers.
	Slow bool
	// Most bounds the answer's body; 0: it is of no interest.
	Most int64
}

// A Reply is an answer whose status is 2xx.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
	// URL is where Location leads, for the next Message; "" without one.
	URL string
}

// Failures starts a count of failures for one piece of work.
func (c *Sender) Failures() *retry.Counter { return c.s.failures() }

// Wait takes the failure of one try, at an offset of what is sent: nil, after a delay, if there is to be another.
func (c *Sender) Wait(n *retry.Counter, off int64, err error) error { return c.s.wait(n, off, err) }

// Send makes one try. GET and HEAD go where redirects lead. An answer of another status than 2xx is an *Answer in the chain of the
// error.
func (c *Sender) Send(m Message) (*Reply, error) {
	x := c.s.newExchange()
	defer x.close()
	r, err := c.send(x, m)
	if err != nil {
		if e := c.s.ended(); e != nil {
			err = e
		}
		return nil, err
	}
	return r, nil
}

func (c *Sender) send(x *exchange, m Message) (*Reply, error) {
	p, err := c.place(m.URL)
	if err != nil {
		return nil, err
	}
	body := &sending{x: x, m: &m}
	defer body.end()
	visited := []string{p.url.String()}
	for {
		if err := c.ask(x, p, m, body); err != nil {
			return nil, err
		}
		if x.status < 300 || x.status >= 400 {
			break
		}
		if m.Method != http.MethodGet && m.Method != http.MethodHead {
			return nil, retry.Permanent(&Answer{x.status, x.header, fmt.Errorf("the server answered %d to what was sent, and another place is not believed: %w", x.status, errdef.ErrRefused)})
		}
		next, err := c.s.redirect(p, x.header.Get("Location"), len(visited))
		if err != nil {
			return nil, retry.Permanent(&Answer{x.status, x.header, err})
		}
		if slices.Contains(visited, next.url.String()) {
			return nil, retry.Permanent(fmt.Errorf("redirects go in a circle: %w", errdef.ErrUnavailable))
		}
		x.drain()
		_ = x.body.Close()
		visited, p, x.moved = append(visited, next.url.String()), next, true
	}
	if x.status < 200 || x.status >= 300 {
		return nil, x.statusError()
	}
	c.s.opened = true
	return c.reply(x, m)
}

// reply reads what is wanted of the answer.
func (c *Sender) reply(x *exchange, m Message) (*Reply, error) {
	r := &Reply{Status: x.status, Header: x.header}
	if m.Method == http.MethodHead || m.Most == 0 {
		x.drain()
	} else {
		b, err := io.ReadAll(io.LimitReader(x, m.Most+1))
		switch {
		case err != nil:
			return nil, err
		case int64(len(b)) > m.Most:
			return nil, retry.Permanent(fmt.Errorf("the server's answer has more than %d bytes: %w", m.Most, errdef.ErrLimit))
		case x.length >= 0 && x.length != int64(len(b)):
			return nil, fmt.Errorf("the server's answer is cut: %w", errdef.ErrUnavailable)
		}
		r.Body = b
	}
	if to := x.header.Get("Location"); to != "" {
		u, err := x.at.url.Parse(to)
		if err != nil {
			return nil, fmt.Errorf("the server's Location is no URL: %w", errdef.ErrUnavailable)
		}
		r.URL = u.String()
	}
	return r, nil
}

// ask makes one request and takes the head of its answer.
func (c *Sender) ask(x *exchange, p place, m Message, body *sending) error {
	req, err := c.s.request(x, p, ask{method: m.Method, header: m.Header})
	if err != nil {
		return x.networkError(err)
	}
	if m.Length > 0 {
		req.Body, req.ContentLength = body, m.Length
	} else if m.Method == http.MethodPost || m.Method == http.MethodPut || m.Method == http.MethodPatch {
		req.Body = http.NoBody // says that its length is 0, which some servers want
	}
	rt := c.s.rt.away
	if p.trusted {
		rt = c.s.rt.home
	}
	body.touch()
	resp, err := rt.RoundTrip(req) //nolint:bodyclose // x owns the body from here on and closes it
	x.clock.Stop()
	if err != nil {
		return x.networkError(err)
	}
	x.status, x.header, x.length, x.body, x.at = resp.StatusCode, resp.Header, resp.ContentLength, resp.Body, p
	return nil
}

// place is where a URL leads, and whether it may be shown credentials.
func (c *Sender) place(raw string) (place, error) {
	origin := c.s.src.url
	u, err := origin.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return place{}, retry.Permanent(fmt.Errorf("the server sends us to something that is no http URL: %w", errdef.ErrUnavailable))
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	if origin.Scheme == "https" && u.Scheme == "http" {
		if !strings.EqualFold(origin.Hostname(), u.Hostname()) {
			return place{}, retry.Permanent(fmt.Errorf("the server sends us from https to %s: %w", display(&url.URL{Scheme: u.Scheme, Host: u.Host}), errdef.ErrRefused))
		}
		// What stands behind a proxy that speaks TLS for it often does not know that it does.
		u.Scheme, u.Host = origin.Scheme, origin.Host
	}
	if err := c.s.src.checkHost(u); err != nil {
		return place{}, retry.Permanent(err)
	}
	return place{u, sameOrigin(origin, u)}, nil
}

// sending is a body on its way: counted, paced, and against the stall clock as long as it moves.
type sending struct {
	x *exchange
	m *Message

	mu   sync.Mutex
	sent int64
	over bool // the transport may go on to read after its answer, but not what was lent to Send
}

// touch sets the clock anew.
func (b *sending) touch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return
	}
	patience := b.x.s.src.o.StallTimeout
	if b.m.Slow && b.sent >= b.m.Length {
		patience *= finishing
	}
	b.x.clock.Reset(patience)
}

func (b *sending) Read(p []byte) (int, error) {
	if len(p) > readStep {
		p = p[:readStep]
	}
	n, err := b.read(p)
	if n > 0 {
		if e := b.x.s.env.Limiter.Wait(b.x.s.ctx, n); e != nil {
			return n, e
		}
		b.touch()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = errBody{err}
	}
	return n, err
}

func (b *sending) read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return 0, errClosed
	}
	n, err := b.m.Body.Read(p)
	b.sent += int64(n)
	if n > 0 && b.m.Sent != nil {
		b.m.Sent(int64(n))
	}
	return n, err
}

// Close ends the transport's use of it.
func (*sending) Close() error { return nil }

// end takes the body back, and stops the clock for good.
func (b *sending) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	b.x.clock.Stop()
}

// errBody marks an error of who is sent from, which is none of the network.
type errBody struct{ error }

func (e errBody) Unwrap() error { return e.error }

// Outlive returns a Sender for what is to be put away when ctx has ended. Its requests end after d.
func (c *Sender) Outlive(ctx context.Context, d time.Duration) (_ *Sender, end func(), err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d)
	o, err := c.s.src.Sender(ctx, source.Env{})
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return o, func() { o.Close(); cancel() }, nil
}
