package httpsource_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// keys is an Authorizer with one key at a time.
type keys struct {
	mu    sync.Mutex
	key   string
	next  string // what Refused finds
	asked int
	err   error
}

func (k *keys) Authorize(r *http.Request) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	r.Header.Set("Authorization", "Bearer "+k.key)
	return k.err
}

func (k *keys) Refused(r *http.Request, _ int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.next != "" {
		k.key = k.next
	}
	return r.Header.Get("Authorization") != "Bearer "+k.key
}

func authorized(k *keys) httpsource.Options {
	o := quick
	o.Authorizer, o.Unauthorized = k, "look at the keys"
	return o
}

func TestAuthorizerSeesEachRequest(t *testing.T) {
	content := random(3<<20, 7)
	f, url := file(t, content, testserver.Options{BearerToken: "k3y-0f-today", DropAfter: 700_000, DropTimes: 2})
	k := &keys{key: "k3y-0f-today"}
	got, err := fetch(t, newSource(t, url, authorized(k)), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, got, content)
	if n := len(f.Requests()); n < 3 || k.asked != n {
		t.Errorf("%d requests, %d of them authorized", n, k.asked)
	}
}

func TestAuthorizerIsRenewed(t *testing.T) {
	content := random(3<<20, 8)
	good := testserver.NewFile(content, testserver.Options{BearerToken: "k3y-0f-today"})
	old := testserver.NewFile(content, testserver.Options{BearerToken: "k3y-0f-yesterday"})
	var n int
	var mu sync.Mutex
	url := testserver.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		h := old
		if n > 1 { // the key ends after the first answer
			h = good
		}
		mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	got, err := fetch(t, newSource(t, url+"/a", authorized(&keys{key: "k3y-0f-yesterday", next: "k3y-0f-today"})), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, got, content)
}

func TestAuthorizerRefused(t *testing.T) {
	f, url := file(t, nil, testserver.Options{BearerToken: "another"})
	r := &retries{}
	_, err := fetch(t, newSource(t, url, authorized(&keys{key: "k3y-0f-today"})), r.env())
	wantError(t, err, errdef.ErrUnauthorized, "401")
	if len(f.Requests()) != 1 || r.count() != 0 {
		t.Errorf("%d requests with the same key", len(f.Requests()))
	}
	if h := errdef.Hint(err); h != "look at the keys" {
		t.Errorf("hint %q", h)
	}
}

func TestAuthorizerErrors(t *testing.T) {
	for _, tt := range []struct {
		name         string
		err, class   error
		asked, tries int
	}{
		{"of no class", errors.New("no key"), errdef.ErrUnauthorized, 1, 0},
		{"may pass", fmt.Errorf("no key yet: %w", errdef.ErrUnavailable), errdef.ErrUnavailable, 6, 5},
		{"for good", fmt.Errorf("no such profile: %w", errdef.ErrUsage), errdef.ErrUsage, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, url := file(t, nil, testserver.Options{})
			k, r := &keys{err: tt.err}, &retries{}
			_, err := fetch(t, newSource(t, url, authorized(k)), r.env())
			wantError(t, err, tt.class, "no ")
			if k.asked != tt.asked || r.count() != tt.tries || len(f.Requests()) != 0 {
				t.Errorf("asked %d times, %d notices, %d requests", k.asked, r.count(), len(f.Requests()))
			}
		})
	}
}

func TestAuthorizerStaysAtTheOrigin(t *testing.T) {
	content := random(1<<20, 9)
	elsewhere, away := file(t, content, testserver.Options{})
	d := &testserver.Redirector{Targets: []string{away}}
	k := &keys{key: "k3y-0f-today"}
	got, err := fetch(t, newSource(t, testserver.Start(t, d)+"/a", authorized(k)), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, got, content)
	for _, r := range elsewhere.Requests() {
		if v := r.Header.Get("Authorization"); v != "" {
			t.Errorf("the other host got %q", v)
		}
	}
	if k.asked == 0 {
		t.Error("the origin was not asked")
	}
}

// An object store repeats in its errors what was signed.
func TestAuthorizerIsNotShown(t *testing.T) {
	for name, body := range map[string]string{
		"text/plain":      "no: Bearer k3y-0f-today-and-more",
		"application/xml": "<Error><Code>SignatureDoesNotMatch</Code><Message>not &amp; k3y-0f-today-and-more</Message><StringToSign>x-amz-secret</StringToSign></Error>",
	} {
		t.Run(name, func(t *testing.T) {
			url := testserver.Start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", name)
				w.WriteHeader(http.StatusForbidden)
				_, _ = w.Write([]byte(body))
			}))
			_, err := fetch(t, newSource(t, url+"/a", authorized(&keys{key: "k3y-0f-today-and-more"})), source.Env{})
			wantError(t, err, errdef.ErrUnauthorized, "403", "no")
			if strings.Contains(err.Error(), "k3y") || strings.Contains(err.Error(), "x-amz-secret") {
				t.Errorf("%v", err)
			}
			var a *httpsource.Answer
			if !errors.As(err, &a) || a.Status != http.StatusForbidden || a.Header.Get("Content-Type") != name {
				t.Errorf("answer %+v", a)
			}
		})
	}
}

func TestIfMatch(t *testing.T) {
	content := random(2<<20, 10)
	o := quick
	o.IfMatch = true
	f := testserver.NewFile(content, testserver.Options{})
	gone := false
	url := testserver.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tag := r.Header.Get("If-Match"); gone && tag != "" {
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		f.ServeHTTP(w, r)
	}))
	got, err := fetch(t, newSource(t, url+"/a", o), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, got, content)
	for i, r := range f.Requests() {
		if i > 0 && (r.Header.Get("If-Match") != `"first"` || r.Header.Get("If-Range") != "") {
			t.Errorf("request %d: %v", i, r.Header)
		}
	}
	gone = true
	_, err = fetch(t, newSource(t, url+"/a", o), source.Env{})
	wantError(t, err, errdef.ErrChanged)
}

func TestNameForPeople(t *testing.T) {
	o := quick
	o.Name = "s3://b/k"
	_, url := file(t, nil, testserver.Options{FailStatus: http.StatusNotFound})
	s := newSource(t, url, o)
	_, err := fetch(t, s, source.Env{})
	wantError(t, err, errdef.ErrNotFound, "s3://b/k")
	if s.String() != o.Name || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("%s: %v", s, err)
	}
}
