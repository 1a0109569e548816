package gcssource

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/oauth2"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/retry"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// tokens are those of one open blob. A token is used until shortly before its end.
type tokens struct {
	ctx  context.Context // the blob's: a token source has no other
	from Credentials

	mu     sync.Mutex
	source oauth2.TokenSource
	had    bool // a token, at least once
}

func newTokens(ctx context.Context, from Credentials, client *http.Client) (*tokens, error) {
	t := &tokens{ctx: within(ctx, client), from: from}
	var err error
	t.source, err = from.source(t.ctx)
	return t, err
}

func (t *tokens) token() (*oauth2.Token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, err := t.source.Token()
	t.had = t.had || err == nil
	return k, err
}

// renew drops the token and reads the credentials anew, unless another request has done so since old was sent.
func (t *tokens) renew(old string) bool {
	if k, err := t.token(); err == nil && k.AccessToken != old {
		return true
	}
	t.mu.Lock()
	s, err := t.from.source(t.ctx)
	if err == nil {
		t.source = s
	}
	t.mu.Unlock()
	if err != nil {
		return false
	}
	k, err := t.token()
	return err == nil && k.AccessToken != old
}

// explain sorts the failure to get a token. Once there was one, it may pass; and the network always may.
func (t *tokens) explain(err error) error {
	if t.ctx.Err() != nil {
		return t.ctx.Err()
	}
	var timeout net.Error
	e, answered := errors.AsType[*oauth2.RetrieveError](err)
	t.mu.Lock()
	had := t.had
	t.mu.Unlock()
	if had || errors.As(err, &timeout) || answered && e.Response != nil && e.Response.StatusCode >= 500 {
		return fmt.Errorf("credentials: %s: %w", said(err), errdef.ErrUnavailable)
	}
	return retry.Permanent(errdef.WithHint(fmt.Errorf("credentials: %s: %w", said(err), errdef.ErrUnauthorized),
		"the key may have been deleted, or the account may not be used here"))
}

// authorizer puts a token into each request; nil tokens put none.
type authorizer struct {
	tokens  *tokens
	project string
}

var (
	_ httpsource.Authorizer = (*authorizer)(nil)
	_ httpsource.Refresher  = (*authorizer)(nil)
)

// Authorize asks for the bytes as they are stored, too: Google unpacks an object that was stored with a Content-Encoding of
// gzip for who does not accept that, and then knows no ranges.
func (a *authorizer) Authorize(r *http.Request) error {
	r.Header.Set("Accept-Encoding", "gzip")
	if a.project != "" {
		r.Header.Set("X-Goog-User-Project", a.project)
	}
	if a.tokens == nil {
		return nil
	}
	k, err := a.tokens.token()
	if err != nil {
		return a.tokens.explain(err)
	}
	k.SetAuthHeader(r)
	return nil
}

// Refused gets another token, if that one did not count; 403 says that it did, and was not enough.
func (a *authorizer) Refused(r *http.Request, status int) bool {
	_, old, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return ok && status == http.StatusUnauthorized && a.tokens != nil && a.tokens.renew(old)
}

// clean makes one short line.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return s[:min(len(s), 60)]
}
