package httpsource_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
)

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		status   int
		want     error
		requests int
	}{
		{400, errdef.ErrUnavailable, 1},
		{401, errdef.ErrUnauthorized, 1},
		{403, errdef.ErrUnauthorized, 1},
		{404, errdef.ErrNotFound, 1},
		{405, errdef.ErrUnavailable, 1},
		{407, errdef.ErrUnauthorized, 1},
		{408, errdef.ErrUnavailable, 3},
		{410, errdef.ErrNotFound, 1},
		{429, errdef.ErrUnavailable, 3},
		{500, errdef.ErrUnavailable, 3},
		{501, errdef.ErrUnavailable, 1},
		{503, errdef.ErrUnavailable, 3},
		{204, errdef.ErrUnavailable, 1},
		{304, errdef.ErrUnavailable, 1},
	} {
		t.Run(http.StatusText(tt.status), func(t *testing.T) {
			f, url := file(t, nil, testserver.Options{FailStatus: tt.status})
			o := quick
			o.Retries = 2
			_, err := fetch(t, newSource(t, url, o), source.Env{})
			wantError(t, err, tt.want)
			if n := len(f.Requests()); n != tt.requests {
				t.Errorf("%d requests, want %d", n, tt.requests)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	content := random(200_000, 30)
	for _, status := range []int{429, 503} {
		for _, after := range []string{"1", "date"} {
			due := time.Now().Add(time.Hour)
			if after == "date" { // in whole seconds
				due = time.Now().Add(2 * time.Second)
				after = due.UTC().Format(http.TimeFormat)
			}
			_, url := file(t, content, testserver.Options{FailStatus: status, FailTimes: 1, RetryAfter: after})
			r := &retries{}
			start := time.Now()
			got, err := fetch(t, newSource(t, url, quick), r.env())
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, content)
			if r.count() == 1 && r.all[0].Delay < 100*time.Millisecond && r.at[0].After(due.Add(-1100*time.Millisecond)) {
				continue // the answer came so late that there was nothing to wait for
			}
			if d := time.Since(start); r.count() != 1 || r.all[0].Delay < 100*time.Millisecond || d < r.all[0].Delay {
				t.Errorf("%d, Retry-After %s: %v, notices %+v", status, after, d, r.all)
			}
		}
	}
}

func TestThrottledServerGetsFewerRanges(t *testing.T) {
	content := random(8<<20, 31)
	f := testserver.NewFile(content, testserver.Options{})
	busy := make(chan struct{}, 1)
	url := testserver.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case busy <- struct{}{}:
			defer func() { <-busy }()
			f.ServeHTTP(w, r)
		default:
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	o := quick
	o.Retries = 20
	got, err := fetch(t, newSource(t, url, o), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, got, content)
	noLeak(t)
}

func TestErrorBodyIsBoundedAndClean(t *testing.T) {
	body := "sig=t0ps3cret&x \x1b[31mred\r\nnext line " + strings.Repeat("long ", 1000)
	_, url := file(t, nil, testserver.Options{FailStatus: 400, FailBody: body})
	o := quick
	o.SecretHeader = http.Header{"X-Thing": {"hush-hush-value"}}
	_, err := fetch(t, newSource(t, url+"?sig=t0ps3cret&a=b", o), source.Env{})
	wantError(t, err, errdef.ErrUnavailable, "400 Bad Request", "next line", "/disk.img?sig=…&a=…")
	if s := err.Error(); len(s) > 1000 || strings.ContainsAny(s, "\r\n\x1b") || strings.Contains(s, "t0ps3cret") {
		t.Errorf("%d bytes: %q", len(s), s)
	}
}

func TestUnreachable(t *testing.T) {
	o := quick
	o.Retries = 2
	r := &retries{}
	_, err := fetch(t, newSource(t, "http://127.0.0.1:1/disk.img", o), r.env())
	wantError(t, err, errdef.ErrUnavailable, "refused")
	if r.count() != 2 {
		t.Errorf("%d retries", r.count())
	}
	r = &retries{}
	_, err = fetch(t, newSource(t, "http://no-such-host.invalid/disk.img", o), r.env())
	if !errors.Is(err, errdef.ErrUnavailable) {
		t.Errorf("unknown host: %v", err)
	}
}
