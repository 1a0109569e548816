package httprange_test

import (
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/internal/httprange"
	"github.com/google/go-cmp/cmp"
)

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		off, n int64
		want   string
	}{
		{0, 65536, "bytes=0-65535"},
		{7, 1, "bytes=7-7"},
		{1 << 40, -1, "bytes=1099511627776-"},
	} {
		if got := httprange.Format(tt.off, tt.n); got != tt.want {
			t.Errorf("Format(%d, %d) = %q, want %q", tt.off, tt.n, got, tt.want)
		}
	}
}

func TestParseContentRange(t *testing.T) {
	type cr = httprange.ContentRange
	for _, tt := range []struct {
		in   string
		want cr
		ok   bool
	}{
		{"bytes 0-65535/1000000", cr{0, 65535, 1000000}, true},
		{"Bytes 0-0/1", cr{0, 0, 1}, true},
		{"bytes 5-9/*", cr{5, 9, -1}, true},
		{"bytes */0", cr{-1, -1, 0}, true},
		{"bytes */*", cr{}, false},
		{"", cr{}, false},
		{"bytes", cr{}, false},
		{"bytes 0-65535", cr{}, false},
		{"items 0-1/2", cr{}, false},
		{"bytes 9-5/10", cr{}, false},
		{"bytes 0-10/10", cr{}, false},
		{"bytes -5/10", cr{}, false},
		{"bytes 5-/10", cr{}, false},
		{"bytes +1-2/10", cr{}, false},
		{"bytes 0-1/-1", cr{}, false},
		{"bytes 0-9223372036854775807/*", cr{}, false},
		{"bytes 0-9223372036854775806/*", cr{0, math.MaxInt64 - 1, -1}, true},
		{"bytes 0-99999999999999999999/*", cr{}, false},
	} {
		got, err := httprange.ParseContentRange(tt.in)
		if (err == nil) != tt.ok || got != tt.want {
			t.Errorf("ParseContentRange(%q) = %+v, %v", tt.in, got, err)
		}
	}
	if _, err := httprange.ParseContentRange(strings.Repeat("x", 10000)); len(err.Error()) > 300 {
		t.Errorf("error of %d bytes", len(err.Error()))
	}
}

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-1/2", "bytes */5", "bytes 3-4/*", "bytes 0-9223372036854775806/*", "bytes 1-0/0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := httprange.ParseContentRange(s)
		if err != nil {
			return
		}
		if c.First >= 0 && (c.Len() <= 0 || c.Total >= 0 && c.Last >= c.Total) {
			t.Fatalf("%q: accepted %+v", s, c)
		}
		again, err := httprange.ParseContentRange(c.String())
		if err != nil || again != c {
			t.Fatalf("%q: %+v, written %q, read %+v, %v", s, c, c, again, err)
		}
	})
}

func TestParseValidator(t *testing.T) {
	const (
		old = "Mon, 02 Jan 2006 15:04:05 GMT"
		now = "Mon, 02 Jan 2006 15:04:06 GMT"
	)
	type v = httprange.Validator
	for _, tt := range []struct {
		name                 string
		etag, modified, date string
		want                 v
		str                  string
	}{
		{"none", "", "", now, v{}, ""},
		{"strong", `"a"`, old, now, v{`"a"`, old, `"a"`}, `etag="a"`},
		{"weak", `W/"a"`, "", now, v{ETag: `W/"a"`}, `etag=W/"a"`},
		{"weak with date", `W/"a"`, old, now, v{`W/"a"`, old, old}, "last-modified=" + old},
		{"date", "", old, now, v{"", old, old}, "last-modified=" + old},
		{"same second", "", now, now, v{"", now, ""}, "last-modified=" + now},
		{"future", "", now, old, v{"", now, ""}, "last-modified=" + now},
		{"no date", "", old, "", v{"", old, ""}, "last-modified=" + old},
		{"unquoted", `abc`, "", now, v{}, ""},
		{"lonely quote", `"`, "", now, v{}, ""},
		{"quote inside", `"a"b"`, "", now, v{}, ""},
		{"huge", `"` + strings.Repeat("a", 5000) + `"`, "", now, v{}, ""},
		{"not a date", "", "yesterday", now, v{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			for k, val := range map[string]string{"Etag": tt.etag, "Last-Modified": tt.modified, "Date": tt.date} {
				if val != "" {
					h.Set(k, val)
				}
			}
			got := httprange.ParseValidator(h)
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
			if got.String() != tt.str {
				t.Errorf("String = %q, want %q", got, tt.str)
			}
			if got.Same(h, false) != (got.Strong != "") {
				t.Errorf("Same to itself = %v", got.Same(h, false))
			}
			if got.Same(http.Header{"Etag": {`"b"`}, "Last-Modified": {"Tue, 03 Jan 2006 15:04:05 GMT"}}, true) {
				t.Error("Same to another")
			}
		})
	}
	lm := v{LastModified: old, Strong: old}
	if !lm.Same(http.Header{}, true) || lm.Same(http.Header{}, false) {
		t.Error("Last-Modified may be missing only in a partial answer to If-Range")
	}
}
