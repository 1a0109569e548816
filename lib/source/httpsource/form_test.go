package httpsource_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// TestForm: a form is posted, to nobody but the URL's host, and what is secret in it is not shown.
func TestForm(t *testing.T) {
	const secret = "hunter2/+secret"
	strayed := testserver.Start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s", r.Method, r.URL) }))
	base := testserver.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.PostFormValue("refresh_token") != secret || r.Header.Get("Range") != "" {
			t.Errorf("%s, %q, range %q", r.Method, r.PostForm, r.Header.Get("Range"))
		}
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, strayed, http.StatusTemporaryRedirect)
		case "/no":
			http.Error(w, "not with "+secret+" or "+r.PostForm.Encode(), http.StatusUnauthorized)
		default:
			_, _ = io.WriteString(w, "a token")
		}
	}))
	o := httpsource.Options{Backoff: time.Millisecond, Form: url.Values{"refresh_token": {secret}, "scope": {"s"}}}
	for path, want := range map[string]error{"/": nil, "/away": errdef.ErrRefused, "/no": errdef.ErrUnauthorized} {
		s, err := httpsource.New(base+path, o)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Open(t.Context(), source.Env{})
		if want != nil {
			wantError(t, err, want)
			if text := err.Error() + errdef.Hint(err); strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret)) {
				t.Errorf("%s shows the secret: %s", path, text)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(b)
		_ = b.Close()
		if err != nil || string(got) != "a token" {
			t.Errorf("%q, %v", got, err)
		}
	}
}
