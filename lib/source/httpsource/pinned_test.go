package httpsource_test

import (
	"errors"
	"io"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// TestPinned: what is named by its digest is read in ranges, and goes on, without a validator or with one that changes.
func TestPinned(t *testing.T) {
	content := random(5<<20+3, 77)
	for name, so := range map[string]testserver.Options{
		"no validator":           {NoValidator: true, DropSeed: 3, DropMax: 600_000},
		"another validator":      {ChangeAfterRequests: 1, DropSeed: 4, DropMax: 600_000},
		"no validator, a stream": {NoValidator: true, NoRanges: true, DropAfter: 1 << 20, DropTimes: 2},
	} {
		t.Run(name, func(t *testing.T) {
			_, url := file(t, content, so)
			o := quick
			o.Pinned, o.Retries = true, 50
			b := open(t, newSource(t, url, o), source.Env{})
			got, err := io.ReadAll(b)
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, content)
			if _, ok := b.(io.ReaderAt); ok == so.NoRanges {
				t.Errorf("random access: %v", ok)
			}
		})
	}
	_, url := file(t, content, testserver.Options{NoValidator: true, NoRanges: true, DropAfter: 1 << 20, DropTimes: 1})
	if _, err := fetch(t, newSource(t, url, quick), source.Env{}); !errors.Is(err, errdef.ErrUnavailable) {
		t.Errorf("not pinned: %v", err)
	}
}

// TestForeign: a URL that a server has chosen leads to no link-local address.
func TestForeign(t *testing.T) {
	for _, url := range []string{"http://169.254.169.254/token", "http://[fe80::1]/token"} {
		_, err := fetch(t, newSource(t, url, httpsource.Options{Foreign: true, Retries: -1}), source.Env{})
		wantError(t, err, errdef.ErrRefused, "link-local")
	}
	_, url := file(t, []byte("x"), testserver.Options{})
	if _, err := fetch(t, newSource(t, url, httpsource.Options{Foreign: true}), source.Env{}); err != nil {
		t.Error(err)
	}
}
