package httpsource

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/retry"
	"github.com/cdictl/cdictl/lib/source"
)

func newSender(t *testing.T, base string, o Options) *Sender {
	t.Helper()
	s, err := New(base, o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Sender(t.Context(), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestSend(t *testing.T) {
	var base string
	release := make(chan struct{})
	base = testserver.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("Location", "next?a=b%2F")
			w.WriteHeader(http.StatusAccepted)
			_, _ = fmt.Fprintf(w, "%s %q %s %s", r.Method, b, r.Header.Get("Authorization"), r.Header.Get("X-Own"))
		case "/moved":
			http.Redirect(w, r, strings.Replace(base, "127.0.0.1", "localhost", 1)+"/echo", http.StatusTemporaryRedirect)
		case "/deaf":
			<-release // and nothing of the body
		case "/no":
			http.Error(w, "you are "+r.Header.Get("Authorization"), http.StatusForbidden)
		}
	}))
	defer close(release)
	c := newSender(t, base+"/", Options{BearerToken: "hunter2-secret"})
	hurried := newSender(t, base+"/", Options{StallTimeout: 500 * time.Millisecond})
	own := http.Header{"X-Own": {"mine"}}

	r, err := c.Send(Message{Method: http.MethodPatch, URL: "echo", Header: own, Body: strings.NewReader("disk"), Length: 4, Most: 100})
	if err != nil || string(r.Body) != `PATCH "disk" Bearer hunter2-secret mine` || r.URL != base+"/next?a=b%2F" || r.Status != http.StatusAccepted {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err = c.Send(Message{Method: http.MethodGet, URL: "moved", Header: own, Most: 100}); err != nil || string(r.Body) != `GET ""  mine` {
		t.Errorf("behind a redirect: %+v, %v", r, err)
	}
	if r, err = c.Send(Message{Method: http.MethodPut, URL: strings.Replace(base, "127.0.0.1", "localhost", 1) + "/echo", Most: 100}); err != nil || string(r.Body) != `PUT ""  ` {
		t.Errorf("at another host: %+v, %v", r, err)
	}

	broken := errors.New("broken disk")
	for name, tc := range map[string]struct {
		m     Message
		class error
		final bool
	}{
		"too long an answer": {Message{Method: http.MethodGet, URL: "echo", Most: 5}, errdef.ErrLimit, true},
		"moved with a body":  {Message{Method: http.MethodPost, URL: "moved"}, errdef.ErrRefused, true},
		"deaf":               {Message{Method: http.MethodPatch, URL: "deaf", Body: strings.NewReader(strings.Repeat("x", 64<<20)), Length: 64 << 20}, errdef.ErrUnavailable, false},
		"broken body":        {Message{Method: http.MethodPatch, URL: "echo", Body: io.MultiReader(strings.NewReader("x"), failing{broken}), Length: 9}, broken, true},
		"refused":            {Message{Method: http.MethodPost, URL: "no"}, errdef.ErrUnauthorized, true},
		"link-local":         {Message{Method: http.MethodPut, URL: "http://169.254.169.254/x"}, errdef.ErrRefused, true},
		"no URL":             {Message{Method: http.MethodPut, URL: "ftp://x/y"}, errdef.ErrUnavailable, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := c
			if name == "deaf" {
				c = hurried
			}
			_, err := c.Send(tc.m)
			if !errors.Is(err, tc.class) || retry.IsPermanent(err) != tc.final || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v", err)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestSendTLS: a Location that forgets TLS is taken to mean it where the host is ours, and not followed where it is not.
func TestSendTLS(t *testing.T) {
	ca := testserver.NewCA(t, "registry")
	base := testserver.StartTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.TLS != nil, r.Header.Get("Authorization"))
	}), ca, nil)
	c := newSender(t, base+"/", Options{CAs: ca.PEM, BearerToken: "hunter2-secret"})
	plain := strings.Replace(base, "https:", "http:", 1)
	if r, err := c.Send(Message{Method: http.MethodPut, URL: plain + "/x", Body: strings.NewReader("x"), Length: 1, Most: 100}); err != nil || string(r.Body) != "trueBearer hunter2-secret" {
		t.Errorf("%+v, %v", r, err)
	}
	_, err := c.Send(Message{Method: http.MethodPut, URL: "http://localhost:1/x"})
	if !errors.Is(err, errdef.ErrRefused) || !retry.IsPermanent(err) {
		t.Errorf("%v", err)
	}
}
