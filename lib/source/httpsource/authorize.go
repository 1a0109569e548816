package httpsource

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/retry"
)

// An Authorizer makes requests acceptable to the URL's origin: by a signature, a fresh token, or headers that name who
// pays. Its methods are safe for concurrent use.
type Authorizer interface {
	// Authorize changes the header of r, which is complete but for that. It is called before each try, and never for
	// another host. The class of its error says whether a later try may help (errdef.ErrUnavailable without
	// retry.Permanent); an error without a class is errdef.ErrUnauthorized. The error tells no secret.
	Authorize(r *http.Request) error
}

// A Refresher is an Authorizer that can get its credentials anew.
type Refresher interface {
	// Refused is told that the origin answered r with status 400, 401 or 403. It reports whether Authorize would do
	// something else now, which is the only reason to ask again.
	Refused(r *http.Request, status int) bool
}

// An Answer is in the chain of an error that an answer without content was.
type Answer struct {
	Status int
	Header http.Header
	err    error
}

func (a *Answer) Error() string { return a.err.Error() }
func (a *Answer) Unwrap() error { return a.err }

// errAuthorize marks what an Authorizer returned.
type errAuthorize struct{ error }

func (e errAuthorize) Unwrap() error { return e.error }

// authorize lets the Authorizer at a request to the origin. What it has added must not be shown.
func (x *exchange) authorize(r *http.Request) error {
	a := x.s.src.o.Authorizer
	if a == nil {
		return nil
	}
	if err := a.Authorize(r); err != nil {
		return errAuthorize{err}
	}
	x.request = r
	return nil
}

// authorizeError gives an Authorizer's error its class, and says whether to try again.
func authorizeError(err error) error {
	if errdef.Reason(err) == errdef.Reason(errors.New("of no class")) {
		err = fmt.Errorf("%w: %w", err, errdef.ErrUnauthorized)
	}
	if errors.Is(err, errdef.ErrUnavailable) {
		return err
	}
	return retry.Permanent(err)
}

// renewed reports whether the refused request would be authorized otherwise now.
func (x *exchange) renewed() bool {
	switch x.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden: // 400 is S3's for a token that has ended
	default:
		return false
	}
	f, ok := x.s.src.o.Authorizer.(Refresher)
	return ok && x.request != nil && f.Refused(x.request, x.status)
}

// addRequest hides what the Authorizer has put into a request. Words like "Credential" stay: errors speak of them.
func (s secrets) addRequest(r *http.Request) {
	if r == nil {
		return
	}
	if user, pass, ok := r.BasicAuth(); ok {
		s.addBasic(user, pass)
	}
	for name, values := range r.Header {
		if secretName(name) {
			for _, v := range values {
				s.addWords(v, 16)
				_, token, _ := strings.Cut(v, " ") // behind "Bearer"
				s.add(token)
			}
		}
	}
}
