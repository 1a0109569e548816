package httpsource

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"sync"

	"github.com/cdictl/cdictl/lib/internal/httprange"
	"github.com/cdictl/cdictl/lib/retry"
	"github.com/cdictl/cdictl/lib/source"
)

// errClosed ends what is under way when the blob is closed.
var errClosed = errors.New("closed")

// session is what the requests of one open blob share. It is safe for concurrent use.
type session struct {
	src    *Source
	env    source.Env
	outer  context.Context // Open's
	ctx    context.Context // ends with outer or with close
	cancel context.CancelCauseFunc
	rt     *transports

	// slots are the numbers of the ranges that may be in flight. fetch takes one.
	slots chan int

	mu      sync.Mutex
	pin     *place // where redirects have led; nil: ask the URL itself
	retired int    // slots that the server did not want
	closed  bool
	wg      sync.WaitGroup

	// Set by open, and constant after it.
	opened    bool
	size      int64
	validator httprange.Validator
}

// place is a URL to ask, and whether credentials may go there.
type place struct {
	url     *url.URL
	trusted bool
}

func (s *Source) newSession(ctx context.Context, env source.Env) (*session, error) {
	if err := s.checkHost(s.url); err != nil {
		return nil, err
	}
	rt, err := s.transports()
	if err != nil {
		return nil, err
	}
	ses := &session{src: s, env: env, outer: ctx, rt: rt, size: httprange.Unknown, slots: make(chan int, s.o.Connections)}
	ses.ctx, ses.cancel = context.WithCancelCause(ctx)
	for i := range s.o.Connections {
		ses.slots <- i
	}
	return ses, nil
}

// close ends all requests and waits for what spawn started.
func (s *session) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel(errClosed)
	s.wg.Wait()
	s.rt.close()
}

// spawn runs f beside the caller, until close at the longest.
func (s *session) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Go(f)
	return true
}

// ended is the reason why nothing more can be read, nil while there is none: Open's context, or Close.
func (s *session) ended() error {
	switch {
	case s.outer.Err() != nil:
		return s.outer.Err()
	case s.ctx.Err() != nil:
		return fs.ErrClosed
	}
	return nil
}

// failures starts a count of failures for one piece of work.
func (s *session) failures() *retry.Counter {
	return retry.Policy{Retries: s.src.o.Retries, Base: s.src.o.Backoff}.Start()
}

// wait is Counter.Wait with the notice that the importer gets.
func (s *session) wait(c *retry.Counter, off int64, err error) error {
	err = c.Wait(s.ctx, err, func(n retry.Notice) {
		if s.env.OnRetry != nil {
			s.env.OnRetry(source.Retry{Source: s.src.name, Offset: off, Attempt: n.Attempt, Delay: n.Delay, Err: n.Err})
		}
	})
	if e := s.ended(); e != nil && err != nil {
		return e
	}
	return err
}

// info tells what the answer to the first request has told.
func (s *session) info() source.Info {
	i := source.Info{
		Size: s.size, Name: s.src.fileName(), Identity: s.validator.String(),
		Strong: s.validator.Strong != "", Reopenable: true,
	}
	if i.Identity != "" && s.size >= 0 {
		i.Identity += " size=" + itoa(s.size)
	}
	return i
}
