package httpsource_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/httprange"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/google/go-cmp/cmp"
)

func TestInfo(t *testing.T) {
	for _, tt := range []struct {
		name   string
		o      testserver.Options
		want   source.Info
		ranged bool
	}{
		{"etag", testserver.Options{}, source.Info{Size: 100_000, Identity: `etag="first" size=100000`, Strong: true}, true},
		{"date", testserver.Options{LastModifiedOnly: true},
			source.Info{Size: 100_000, Identity: "last-modified=Sun, 17 May 2020 01:02:03 GMT size=100000", Strong: true}, true},
		{"fresh date", testserver.Options{LastModifiedOnly: true, ModTime: time.Now().Add(time.Hour).Truncate(time.Second)}, source.Info{Size: 100_000}, false},
		{"weak", testserver.Options{WeakETag: true}, source.Info{Size: 100_000, Identity: `etag=W/"first" size=100000`}, false},
		{"none", testserver.Options{NoValidator: true}, source.Info{Size: 100_000}, false},
		{"no ranges", testserver.Options{NoRanges: true}, source.Info{Size: 100_000, Identity: `etag="first" size=100000`, Strong: true}, false},
		{"no length", testserver.Options{NoRanges: true, NoContentLength: true}, source.Info{Size: -1, Identity: `etag="first"`, Strong: true}, false},
		{"unknown total", testserver.Options{UnknownTotal: true}, source.Info{Size: 100_000, Identity: `etag="first" size=100000`, Strong: true}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, url := file(t, random(100_000, 1), tt.o)
			tt.want.Name, tt.want.Reopenable = "disk.img", true
			if tt.name == "fresh date" {
				tt.want.Identity = "last-modified=" + tt.o.ModTime.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") + " size=100000"
			}
			s := newSource(t, url, quick)
			b := open(t, s, source.Env{})
			if d := cmp.Diff(tt.want, b.Info()); d != "" {
				t.Error(d)
			}
			if _, ok := b.(io.ReaderAt); ok != tt.ranged {
				t.Errorf("is a ReaderAt: %v, want %v", ok, tt.ranged)
			}
			i, err := s.Stat(t.Context(), source.Env{})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, i); d != "" {
				t.Errorf("Stat: %s", d)
			}
		})
	}
	noLeak(t)
}

func TestHeadCostsOneRequest(t *testing.T) {
	content := random(8<<20, 2)
	f, url := file(t, content, testserver.Options{NoHead: true})
	tr := new(progress.Tracker)
	b := open(t, newSource(t, url, quick), source.Env{Tracker: tr})
	p := make([]byte, 64<<10)
	if _, err := b.(io.ReaderAt).ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(b, p); err != nil {
		t.Fatal(err)
	}
	if n := len(f.Requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
	if n := tr.Snapshot().Stored; n != 64<<10 {
		t.Errorf("%d bytes counted", n)
	}
	// One byte more starts the window, which is small yet.
	if _, err := io.ReadFull(b, p[:1]); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if n := f.BytesSent(); n > 1<<20 {
		t.Errorf("%d bytes were fetched", n)
	}
	noLeak(t)
}

func TestReadIsParallelAndBounded(t *testing.T) {
	content := random(40<<20, 3)
	f, url := file(t, content, testserver.Options{})
	tr := new(progress.Tracker)
	got, err := fetch(t, newSource(t, url, quick), source.Env{Tracker: tr})
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, got, content)
	if n := f.MaxConcurrent(); n < 2 || n > 4 {
		t.Errorf("%d ranges were in flight at most", n)
	}
	if n := tr.Snapshot().Stored; n != int64(len(content)) {
		t.Errorf("%d bytes counted for %d", n, len(content))
	}
	for _, r := range f.Requests() {
		if r.Sent > 4<<20 {
			t.Errorf("a range of %d bytes", r.Sent)
		}
		if r.Method != http.MethodGet || r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("%s with Accept-Encoding %q", r.Method, r.Header.Get("Accept-Encoding"))
		}
	}
	noLeak(t)
}

func TestReadAtSharesTheBound(t *testing.T) {
	content := random(4<<20, 4)
	f, url := file(t, content, testserver.Options{WriteSize: 16 << 10, Pause: time.Millisecond})
	o := quick
	o.Connections = 2
	b := open(t, newSource(t, url, o), source.Env{})
	var wg sync.WaitGroup
	for i := range int64(8) {
		wg.Go(func() {
			p := make([]byte, 200_000)
			off := 100_000 + i*400_000
			if _, err := b.(io.ReaderAt).ReadAt(p, off); err != nil {
				t.Error(err)
			}
			wantContent(t, p, content[off:off+200_000])
		})
	}
	wg.Wait()
	if n := f.MaxConcurrent(); n != 2 {
		t.Errorf("%d ranges were in flight at most, want 2", n)
	}
}

func TestRandomDrops(t *testing.T) {
	content := random(6<<20+123, 5)
	for _, o := range []testserver.Options{{}, {NoContentLength: true}, {LastModifiedOnly: true}} {
		for seed := range uint64(4) {
			o.DropSeed, o.DropMax = seed+1, 700_000
			_, url := file(t, content, o)
			r := &retries{}
			got, err := fetch(t, newSource(t, url, quick), r.env())
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, content)
			if r.count() == 0 {
				t.Error("nobody was told of a retry")
			}
		}
	}
	noLeak(t)
}

func TestDropsWithoutProgressEnd(t *testing.T) {
	content := random(1<<20, 6)
	// From the second request on the server is broken for good.
	_, url := file(t, content, testserver.Options{WrongContentRange: func(c httprange.ContentRange) string {
		if c.First > 0 {
			c.First, c.Last = c.First+1, c.Last+1
		}
		return c.String()
	}})
	r := &retries{}
	b := open(t, newSource(t, url, quick), r.env())
	_, err := b.(io.ReaderAt).ReadAt(make([]byte, 10), 500_000)
	wantError(t, err, errdef.ErrUnavailable, "gave up after 6 tries", "500001-500010/1048576 for a range at 500000")
	if r.count() != 5 || r.all[4].Attempt != 5 || r.all[4].Offset != 500_000 {
		t.Errorf("notices: %+v", r.all)
	}
}

func TestWrongContentRangeOnce(t *testing.T) {
	content := random(3<<20, 7)
	for name, f := range map[string]func(c httprange.ContentRange) string{
		"shifted": func(c httprange.ContentRange) string {
			return fmt.Sprintf("bytes %d-%d/%d", c.First+5, c.Last+5, c.Total+5)
		},
		"garbage": func(httprange.ContentRange) string { return "bytes all of them" },
		"missing": func(httprange.ContentRange) string { return "" },
		"huge":    func(c httprange.ContentRange) string { return "bytes 0-9223372036854775806/9223372036854775807" },
	} {
		t.Run(name, func(t *testing.T) {
			// The first answer: ranges are not trusted, the plain stream is.
			_, url := file(t, content, testserver.Options{WrongContentRange: f, WrongTimes: 1})
			got, err := fetch(t, newSource(t, url, quick), source.Env{})
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, content)
		})
	}
	t.Run("long body", func(t *testing.T) {
		_, url := file(t, content, testserver.Options{LongBody: 10, NoContentLength: true})
		b := open(t, newSource(t, url, quick), source.Env{})
		_, err := b.(io.ReaderAt).ReadAt(make([]byte, 10), 500_000)
		wantError(t, err, errdef.ErrUnavailable, "more bytes than its Content-Range")
	})
}

func TestChangeIsNeverAMixture(t *testing.T) {
	before, after := random(12<<20, 8), random(12<<20, 9)
	for name, o := range map[string]testserver.Options{
		"after requests":          {ChangeAfterRequests: 3, NewContent: after},
		"after bytes":             {ChangeAfterBytes: 2 << 20, NewContent: after},
		"at once":                 {ChangeAfterRequests: 1, NewContent: after},
		"shorter":                 {ChangeAfterRequests: 2, NewContent: after[:3<<20]},
		"If-Range ignored":        {ChangeAfterRequests: 2, NewContent: after, IgnoreIfRange: true},
		"by date":                 {ChangeAfterRequests: 2, NewContent: after, LastModifiedOnly: true},
		"by date, ignored":        {ChangeAfterRequests: 2, NewContent: after, LastModifiedOnly: true, IgnoreIfRange: true},
		"stream":                  {ChangeAfterRequests: 1, NewContent: after, NoRanges: true, DropAfter: 1 << 20},
		"stream, then ranges too": {ChangeAfterRequests: 1, NewContent: after, NoRanges: true, DropAfter: 1 << 20, NoContentLength: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, url := file(t, before, o)
			got, err := fetch(t, newSource(t, url, quick), source.Env{})
			wantError(t, err, errdef.ErrChanged)
			wantContent(t, got, before[:len(got)])
		})
	}
	t.Run("ReadAt", func(t *testing.T) {
		_, url := file(t, before, testserver.Options{ChangeAfterRequests: 1, NewContent: after})
		b := open(t, newSource(t, url, quick), source.Env{})
		_, err := b.(io.ReaderAt).ReadAt(make([]byte, 10), 5<<20)
		wantError(t, err, errdef.ErrChanged, `etag="second"`)
	})
	noLeak(t)
}

func TestRangesGetLost(t *testing.T) {
	content := random(12<<20, 10)
	t.Run("Read goes on as a stream", func(t *testing.T) {
		for _, k := range []int{2, 5} {
			f, url := file(t, content, testserver.Options{IgnoreRangeAfter: k})
			got, err := fetch(t, newSource(t, url, quick), source.Env{})
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, content)
			if s := statuses(f); slices.Contains(s, 416) {
				t.Errorf("statuses %v", s)
			}
		}
	})
	t.Run("ReadAt skips near", func(t *testing.T) {
		_, url := file(t, content, testserver.Options{IgnoreRangeAfter: 2})
		b := open(t, newSource(t, url, quick), source.Env{})
		p := make([]byte, 5000)
		if _, err := b.(io.ReaderAt).ReadAt(p, 2<<20); err != nil {
			t.Fatal(err)
		}
		wantContent(t, p, content[2<<20:2<<20+5000])
		_, err := b.(io.ReaderAt).ReadAt(p, 9<<20)
		wantError(t, err, errdef.ErrUnavailable, "ranges")
	})
	noLeak(t)
}

func TestCloseEndsEverything(t *testing.T) {
	content := random(32<<20, 11)
	for name, o := range map[string]testserver.Options{
		"ranged": {StallAfter: 100_000}, "stream": {StallAfter: 100_000, NoRanges: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, url := file(t, content, o)
			b, err := newSource(t, url, quick).Open(t.Context(), source.Env{})
			if err != nil {
				t.Fatal(err)
			}
			read := make(chan error, 1)
			go func() {
				_, err := io.Copy(io.Discard, b)
				read <- err
			}()
			time.Sleep(50 * time.Millisecond)
			start := time.Now()
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-read; !errors.Is(err, fs.ErrClosed) {
				t.Errorf("Read: %v", err)
			}
			if d := time.Since(start); d > time.Minute {
				t.Errorf("Close took %v", d)
			}
			if ra, ok := b.(io.ReaderAt); ok {
				if _, err := ra.ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrClosed) {
					t.Errorf("ReadAt after Close: %v", err)
				}
			}
			noLeak(t)
		})
	}
}
