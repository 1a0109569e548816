package httpsource_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
	"github.com/cdictl/cdictl/lib/source/sourcetest"
)

// quick has no long delays.
var quick = httpsource.Options{Backoff: time.Millisecond}

func newSource(t testing.TB, url string, o httpsource.Options) *httpsource.Source {
	t.Helper()
	s, err := httpsource.New(url, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func requireTools() bool { return os.Getenv("CDICTL_REQUIRE_TOOLS") == "1" }

func TestConformance(t *testing.T) {
	for _, tt := range []struct {
		name     string
		server   testserver.Options
		readerAt bool
		unknown  bool
	}{
		{name: "ranges", readerAt: true},
		{name: "ranges by date", server: testserver.Options{LastModifiedOnly: true}, readerAt: true},
		{name: "short ranges", server: testserver.Options{MaxRange: 300_000}, readerAt: true},
		{name: "chunked ranges", server: testserver.Options{NoContentLength: true}, readerAt: true},
		{name: "random drops", server: testserver.Options{DropSeed: 42, DropMax: 900_000}, readerAt: true},
		{name: "no ranges", server: testserver.Options{NoRanges: true}},
		{name: "no ranges, random drops", server: testserver.Options{NoRanges: true, DropSeed: 43, DropMax: 8 << 20}},
		{name: "no validator", server: testserver.Options{NoValidator: true}},
		{name: "weak validator", server: testserver.Options{WeakETag: true}},
		{name: "no ranges, no length", server: testserver.Options{NoRanges: true, NoContentLength: true}, unknown: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := quick
			o.Retries = 50
			o.Username, o.Password = "ada", "l0ve-lace"
			server := tt.server
			server.Username, server.Password = o.Username, o.Password
			sourcetest.Run(t, sourcetest.Case{
				New: func(t *testing.T, content []byte) source.Source {
					return newSource(t, testserver.Start(t, testserver.NewFile(content, server))+"/dir/disk.img?sig=s1gnature", o)
				},
				Stalled: func(t *testing.T) source.Source {
					server := server
					server.StallAfter = 100_000
					return newSource(t, testserver.Start(t, testserver.NewFile(sourcetest.Content(1<<20), server))+"/disk.img", o)
				},
				Broken: func(t *testing.T) source.Source {
					server := server
					server.FailStatus, server.FailBody = http.StatusForbidden, "no: l0ve-lace s1gnature"
					return newSource(t, testserver.Start(t, testserver.NewFile(nil, server))+"/disk.img?sig=s1gnature", o)
				},
				ReaderAt: tt.readerAt, UnknownSize: tt.unknown,
				Secrets: []string{"l0ve-lace", "s1gnature", "YWRhOmwwdmUtbGFjZQ"},
				Sizes:   []int{0, 1, 511, 4096, 65536, 65537, 1_000_000, 3<<20 + 7},
			})
		})
	}
}

func TestConformanceNginx(t *testing.T) {
	ca := testserver.NewCA(t, "nginx test authority")
	dir := t.TempDir()
	caFile := ca.WriteFile(t, dir, "ca.pem")
	cert, key := testserver.WritePair(t, dir, ca.Server(t))
	for _, tt := range []struct {
		name     string
		nginx    testserver.Nginx
		readerAt bool
	}{
		{"http", testserver.Nginx{}, true},
		{"http, no ranges", testserver.Nginx{Location: "max_ranges 0;"}, false},
		{"http, no etag", testserver.Nginx{Location: "etag off;"}, true},
		{"tls", testserver.Nginx{CertKey: [2]string{cert, key}}, true},
		{"tls, no ranges", testserver.Nginx{CertKey: [2]string{cert, key}, Location: "max_ranges 0;"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			tt.nginx.Root, tt.nginx.Require = root, requireTools()
			url := tt.nginx.Start(t)
			o := quick
			o.CAFile = caFile
			sourcetest.Run(t, sourcetest.Case{
				New: func(t *testing.T, content []byte) source.Source {
					path := filepath.Join(root, "disk.img")
					if err := os.WriteFile(path, content, 0o644); err != nil {
						t.Fatal(err)
					}
					old := time.Now().Add(-time.Hour) // so that its date is a strong validator
					if err := os.Chtimes(path, old, old); err != nil {
						t.Fatal(err)
					}
					return newSource(t, url+"/disk.img", o)
				},
				Broken:   func(t *testing.T) source.Source { return newSource(t, url+"/absent.img", o) },
				ReaderAt: tt.readerAt,
			})
		})
	}
}
