package httpsource_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

func TestStreamGoesOn(t *testing.T) {
	content := random(4<<20, 20)
	for name, o := range map[string]testserver.Options{
		"from the beginning":            {NoRanges: true, DropAfter: 1 << 20, DropTimes: 3},
		"without length":                {NoRanges: true, NoContentLength: true, DropAfter: 1 << 20, DropTimes: 2},
		"by range":                      {UnknownTotal: true, DropAfter: 1 << 20},
		"by range, without length":      {UnknownTotal: true, NoContentLength: true, DropAfter: 1 << 20},
		"by range, cut":                 {UnknownTotal: true, MaxRange: 1_500_000, DropAfter: 1 << 20},
		"dropped before the first byte": {NoRanges: true, NoValidator: true, FailStatus: 503, FailTimes: 3},
	} {
		t.Run(name, func(t *testing.T) {
			_, url := file(t, content, o)
			got, err := fetch(t, newSource(t, url, quick), source.Env{})
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, content)
		})
	}
	noLeak(t)
}

func TestStreamRandomDrops(t *testing.T) {
	content := random(3<<20+7, 21)
	for _, o := range []testserver.Options{{NoRanges: true, DropMax: 6 << 20}, {UnknownTotal: true, DropMax: 1 << 20}} {
		for seed := range uint64(4) {
			o.DropSeed = seed + 1
			_, url := file(t, content, o)
			op := quick
			op.Retries = 50
			got, err := fetch(t, newSource(t, url, op), source.Env{})
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, content)
		}
	}
}

func TestStreamWithoutValidatorEnds(t *testing.T) {
	content := random(4<<20, 22)
	for name, o := range map[string]testserver.Options{
		"none":  {NoValidator: true, DropAfter: 1 << 20},
		"weak":  {WeakETag: true, DropAfter: 1 << 20},
		"short": {NoValidator: true, ShortBody: 100},
	} {
		t.Run(name, func(t *testing.T) {
			f, url := file(t, content, o)
			got, err := fetch(t, newSource(t, url, quick), source.Env{})
			wantError(t, err, errdef.ErrUnavailable, "the server gives no validator to go on with", "at byte")
			wantContent(t, got, content[:len(got)])
			if len(got) == 0 || len(got) == len(content) {
				t.Errorf("%d bytes came", len(got))
			}
			if n := len(f.Requests()); n != 2 { // the probe and the plain stream
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestStreamIsOneRequest(t *testing.T) {
	content := random(1<<20, 23)
	f, url := file(t, content, testserver.Options{NoRanges: true, NoHead: true})
	tr := new(progress.Tracker)
	got, err := fetch(t, newSource(t, url, quick), source.Env{Tracker: tr})
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, got, content)
	if r := f.Requests(); len(r) != 1 || tr.Snapshot().Stored != int64(len(content)) {
		t.Errorf("%d requests, %d bytes counted", len(r), tr.Snapshot().Stored)
	}
}

func TestSmallContentWithoutValidator(t *testing.T) {
	content := random(60_000, 24)
	f, url := file(t, content, testserver.Options{NoValidator: true})
	got, err := fetch(t, newSource(t, url, quick), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, got, content)
	if n := len(f.Requests()); n != 1 {
		t.Errorf("%d requests for what fits the first range", n)
	}
}

func TestStall(t *testing.T) {
	content := random(2<<20, 25)
	o := quick
	o.StallTimeout, o.Retries = 100*time.Millisecond, 100 // a busy machine adds some of its own
	for name, so := range map[string]testserver.Options{
		"range":  {StallAfter: 200_000, StallTimes: 3},
		"stream": {StallAfter: 200_000, StallTimes: 3, NoRanges: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, url := file(t, content, so)
			r := &retries{}
			got, err := fetch(t, newSource(t, url, o), r.env())
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, content)
			if r.count() < 3 {
				t.Errorf("%d retries", r.count())
			}
		})
	}
	t.Run("no answer", func(t *testing.T) {
		url := testserver.Start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		op := o
		op.Retries = 1
		_, err := fetch(t, newSource(t, url, op), source.Env{})
		wantError(t, err, errdef.ErrUnavailable, "sent nothing for 100ms")
	})
	// Where the machine stands still for longer than the server may be silent, the clock is right. Then all goes slower.
	unhurried := func(t *testing.T, once func(o httpsource.Options) (requests int)) {
		o, n := o, 0
		for ; n != 1 && o.StallTimeout < 10*time.Second; o.StallTimeout *= 4 {
			n = once(o)
		}
		if n != 1 {
			t.Errorf("%d requests", n)
		}
	}
	t.Run("slow is not stalled", func(t *testing.T) {
		unhurried(t, func(o httpsource.Options) int {
			small := content[:400_000]
			f, url := file(t, small, testserver.Options{NoRanges: true, WriteSize: 20_000, Pause: o.StallTimeout / 5})
			got, err := fetch(t, newSource(t, url, o), source.Env{})
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, small)
			return len(f.Requests())
		})
	})
	t.Run("a slow reader is not a stalled server", func(t *testing.T) {
		unhurried(t, func(o httpsource.Options) int {
			f, url := file(t, content, testserver.Options{NoRanges: true})
			b := open(t, newSource(t, url, o), source.Env{})
			if _, err := io.ReadFull(b, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * o.StallTimeout)
			got, err := io.ReadAll(b)
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, content[1000:])
			if s := statuses(f); s[0] != http.StatusOK {
				t.Errorf("statuses %v", s)
			}
			return len(f.Requests())
		})
	})
	noLeak(t)
}
