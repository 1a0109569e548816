package httpsource_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
)

// random content has no two equal places, so that a wrong offset shows.
func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

// file starts a server of content.
func file(t *testing.T, content []byte, o testserver.Options) (*testserver.File, string) {
	t.Helper()
	f := testserver.NewFile(content, o)
	return f, testserver.Start(t, f) + "/disk.img"
}

func open(t *testing.T, s source.Source, env source.Env) source.Blob {
	t.Helper()
	b, err := s.Open(t.Context(), env)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// fetch opens and reads everything.
func fetch(t *testing.T, s source.Source, env source.Env) ([]byte, error) {
	t.Helper()
	b, err := s.Open(t.Context(), env)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(b)
}

func wantContent(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		n := 0
		for n < min(len(got), len(want)) && got[n] == want[n] {
			n++
		}
		t.Errorf("%d bytes, want %d; they differ at %d", len(got), len(want), n)
	}
}

// wantError checks class, side and that the text has each of parts.
func wantError(t *testing.T, err, class error, parts ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("error %v, want %v", err, class)
	}
	if errdef.ExitCode(err) != errdef.ExitCode(class) {
		t.Errorf("exit code %d, want %d", errdef.ExitCode(err), errdef.ExitCode(class))
	}
	var e *errdef.Error
	if !errors.As(err, &e) || e.Side != errdef.Source || e.Name == "" {
		t.Errorf("%#v does not tell the side and the name", err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not have %q", err, p)
		}
	}
	t.Log(err, "| hint:", errdef.Hint(err))
}

// retries collects notices.
type retries struct {
	mu  sync.Mutex
	all []source.Retry
	at  []time.Time
}

func (r *retries) env() source.Env {
	return source.Env{OnRetry: func(n source.Retry) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all, r.at = append(r.all, n), append(r.at, time.Now())
	}}
}

func (r *retries) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

func statuses(f *testserver.File) []int {
	var s []int
	for _, r := range f.Requests() {
		s = append(s, r.Status)
	}
	return s
}

// noLeak checks that no goroutine of a client is left, which takes a moment after Close.
func noLeak(t *testing.T) {
	t.Helper()
	var left string
	for range 6000 {
		buf := make([]byte, 1<<20)
		left = ""
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "http.(*persistConn)") || strings.Contains(g, "http2clientConn") ||
				strings.Contains(g, "http2.(*ClientConn)") || strings.Contains(g, "http.(*http2ClientConn)") ||
				strings.Contains(g, "httpsource.(*") && !strings.Contains(g, "_test.") {
				left = g
			}
		}
		if left == "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("a goroutine is left:\n%s", left)
}
