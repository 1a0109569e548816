package gcssource_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/gcssource"
	"github.com/cdictl/cdictl/lib/source/sourcetest"
)

func (b bucket) options() gcssource.Options {
	o := quick()
	o.Endpoint = b.url
	return o
}

func TestConformance(t *testing.T) {
	b := start(t)
	tokens := &tokenServer{}
	path, secret := serviceAccount(t, testserver.Start(t, tokens))
	n := 0
	sourcetest.Run(t, sourcetest.Case{
		New: func(t *testing.T, content []byte) source.Source {
			n++
			name := fmt.Sprintf("dir/disk %d+&é.img", n)
			b.put(t, name, content, "")
			o := b.options()
			o.Credentials = gcssource.File(path)
			return newSource(t, "gs://images/"+name, o)
		},
		Stalled: func(t *testing.T) source.Source {
			b.put(t, "stalled", sourcetest.Content(1<<20), "")
			front := &testserver.Front{Before: func(n int, _ http.ResponseWriter, r *http.Request) bool {
				if n > 1 {
					<-r.Context().Done()
				}
				return n > 1
			}}
			o := quick()
			o.Endpoint = front.Start(t, b.url)
			return newSource(t, "gs://images/stalled", o)
		},
		Broken: func(t *testing.T) source.Source {
			o := b.options()
			o.Credentials = gcssource.File(path)
			return newSource(t, "gs://images/absent", o)
		},
		ReaderAt: true,
		Secrets:  []string{"t0ken", secret},
		Sizes:    []int{0, 1, 4096, 65537, 1_000_000, 3<<20 + 7},
	})
}

func TestDrops(t *testing.T) {
	b := start(t)
	content := random(24<<20, 1)
	b.put(t, "disk", content, "")
	for seed := range uint64(3) {
		front := &testserver.Front{}
		r := rand.New(rand.NewPCG(seed, 1))
		for range 10 {
			front.Drops = append(front.Drops, r.Int64N(int64(len(content))))
		}
		slices.Sort(front.Drops)
		o := quick()
		o.Endpoint = front.Start(t, b.url)
		got, err := fetch(t.Context(), newSource(t, "gs://images/disk", o))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, content) {
			t.Error("the content is another")
		}
		over := front.Sent() - int64(len(content))
		t.Logf("%d bytes in %d requests, %.1f%% twice", front.Sent(), len(front.Requests()), 100*float64(over)/float64(len(content)))
		if len(front.Drops) > 0 || over > int64(len(content))*15/100 {
			t.Errorf("%d drops are left, %d bytes were sent for %d", len(front.Drops), front.Sent(), len(content))
		}
	}
}

// This server ignores conditions, which real ones need not: each answer is compared.
func TestReplaced(t *testing.T) {
	b := start(t)
	content := random(12<<20, 2)
	for _, size := range []int{len(content), 1 << 20} {
		t.Run(fmt.Sprintf("size=%d", size), func(t *testing.T) {
			b.put(t, "disk", content, "")
			front := &testserver.Front{Before: func(n int, _ http.ResponseWriter, _ *http.Request) bool {
				if n == 3 {
					b.put(t, "disk", random(size, 3), "")
				}
				return false
			}}
			o := quick()
			o.Endpoint = front.Start(t, b.url)
			if _, err := fetch(t.Context(), newSource(t, "gs://images/disk", o)); !errors.Is(err, errdef.ErrChanged) {
				t.Errorf("%v", err)
			}
			if r := front.Requests(); r[1].Header.Get("If-Match") == "" {
				t.Error("a range was asked for without a condition")
			}
		})
	}
}

func TestGeneration(t *testing.T) {
	b := start(t)
	content := random(300_000, 4)
	g := b.put(t, "disk", content, "")
	if got, err := fetch(t.Context(), newSource(t, "gs://images/disk#"+g, b.options())); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	b.put(t, "disk", random(200_000, 5), "")
	if _, err := fetch(t.Context(), newSource(t, "gs://images/disk#"+g, b.options())); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("a generation that is gone: %v", err)
	}
}

// What was stored with a Content-Encoding is read as it is stored, and so in ranges.
func TestStoredEncoding(t *testing.T) {
	b := start(t)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(random(3<<20, 6))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b.put(t, "disk.gz", packed.Bytes(), "&contentEncoding=gzip")
	if got, err := fetch(t.Context(), newSource(t, "gs://images/disk.gz", b.options())); err != nil || !bytes.Equal(got, packed.Bytes()) {
		t.Errorf("%d bytes of %d, %v", len(got), packed.Len(), err)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"gs://images/a b#c":                                    "gs://images/a b#c",
		"GS://images/a#12":                                     "gs://images/a#12",
		"https://storage.googleapis.com/images/a%20b":          "gs://images/a b",
		"https://storage.googleapis.com/images/a?generation=7": "gs://images/a#7",
		"https://storage.cloud.google.com/images/a":            "gs://images/a",
		"https://images.storage.googleapis.com/a/b":            "gs://images/a/b",
		"gs://": "", "gs://images": "", "gs://images/": "", "gs://images/a/": "", "gs://IMAGES/a": "", "gs://../a": "", "gs://images/a#-1": "",
		"gs://images/" + strings.Repeat("a", 1025): "", "gs://images/\xff": "", "gs://images/a\nb": "",
		"https://secret:secret@storage.googleapis.com/images/a": "", "https://h.example/images/a": "",
		"https://storage.googleapis.com/images/a?X-Goog-Signature=secret": "", "s3://images/a": "",
	} {
		s, err := gcssource.New(name, gcssource.Options{})
		switch {
		case want == "" && (!errors.Is(err, errdef.ErrUsage) || strings.Contains(err.Error(), "secret")):
			t.Errorf("New(%q) = %v, %v", name, s, err)
		case want != "" && (err != nil || s.String() != want):
			t.Errorf("New(%q) = %v, %v; want %s", name, s, err, want)
		}
	}
	s := newSource(t, "gs://images/vm/a.vmdk#5", gcssource.Options{})
	if o, err := s.Sibling("b c.vmdk"); err != nil || o.String() != "gs://images/vm/b c.vmdk" {
		t.Errorf("%v, %v", o, err)
	}
	for _, bad := range []string{"", ".", "..", "../b", "b/c", `b\c`, strings.Repeat("k", 1024)} {
		if o, err := s.Sibling(bad); !errors.Is(err, errdef.ErrRefused) {
			t.Errorf("%q: %v, %v", bad, o, err)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
