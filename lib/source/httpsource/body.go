package httpsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
)

// readStep is the most that one read of a body takes, so that counting and pacing are smooth.
const readStep = 256 << 10

var errStalled = errors.New("stalled")

// exchange is one request and its answer. It is used by one goroutine.
type exchange struct {
	s      *session
	ctx    context.Context
	cancel context.CancelCauseFunc
	clock  *time.Timer
	status int
	header http.Header
	length int64 // of the body, -1 if not told
	body   io.ReadCloser
	at     place // that answered
	moved  bool  // by redirects
	// request is what the Authorizer made, nil if there is none or if another host was asked.
	request *http.Request
	got     int64 // bytes of body
}

func (s *session) newExchange() *exchange {
	x := &exchange{s: s}
	x.ctx, x.cancel = context.WithCancelCause(s.ctx)
	x.clock = time.AfterFunc(s.src.o.StallTimeout, func() { x.cancel(errStalled) })
	x.clock.Stop()
	return x
}

// watch runs f against the stall clock.
func (x *exchange) watch(f func() error) error {
	x.clock.Reset(x.s.src.o.StallTimeout)
	defer x.clock.Stop()
	return f()
}

// Read reads the body: against the stall clock, counted, and paced. At the end it returns io.EOF; any other error is
// one to try again or the end of the blob.
func (x *exchange) Read(p []byte) (n int, err error) {
	if len(p) > readStep {
		p = p[:readStep]
	}
	err = x.watch(func() (err error) {
		n, err = x.body.Read(p)
		return err
	})
	if n > 0 {
		x.got += int64(n)
		x.s.env.Tracker.AddStored(int64(n))
		if e := x.s.env.Limiter.Wait(x.s.ctx, n); e != nil {
			return n, x.s.limited(e)
		}
	}
	if err != nil && err != io.EOF {
		err = x.failure("connection broke", err)
	}
	return n, err
}

// limited explains why the limiter did not wait: the blob has ended, or its deadline would pass before.
func (s *session) limited(err error) error {
	if e := s.ended(); e != nil {
		return e
	}
	return fmt.Errorf("%w: %w", err, context.DeadlineExceeded)
}

// failure makes one line of what the network says, and drops the original: what is in there (a dial's timeout is a
// context.DeadlineExceeded) would change the meaning of our error.
func (x *exchange) failure(what string, err error) error {
	if e := x.s.ended(); e != nil {
		return e
	}
	if errors.Is(context.Cause(x.ctx), errStalled) {
		return fmt.Errorf("the server sent nothing for %v: %w", x.s.src.o.StallTimeout, errdef.ErrUnavailable)
	}
	return fmt.Errorf("%s: %s: %w", what, x.s.clean(err.Error()), errdef.ErrUnavailable)
}

// clean makes a foreign text fit to be shown.
func (s *session) clean(text string) string {
	return clip(printable(s.src.secrets.hide(text)), maxErrorText)
}

// drain reads the little that may be left of a body, so that the connection can be used again.
func (x *exchange) drain() {
	_ = x.watch(func() error {
		_, err := io.CopyN(io.Discard, x.body, 4<<10)
		return err
	})
}

func (x *exchange) close() {
	x.clock.Stop()
	if x.body != nil {
		_ = x.body.Close()
	}
	x.cancel(errClosed)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
