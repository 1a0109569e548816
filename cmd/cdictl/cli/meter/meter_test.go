package meter

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/source"
)

// A screen is a terminal that keeps what it shows, with carriage returns and line breaks done.
type screen struct {
	mu    sync.Mutex
	lines []string // the last one has the cursor
	at    int
	wide  int // most columns that a line ever took
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lines) == 0 {
		s.lines = []string{""}
	}
	for _, r := range string(p) {
		switch r {
		case '\r':
			s.at = 0
		case '\n':
			s.lines, s.at = append(s.lines, ""), 0
		default:
			line := []rune(s.lines[len(s.lines)-1])
			if s.at < len(line) {
				line[s.at] = r
			} else {
				line = append(line, r)
			}
			s.at++
			s.wide = max(s.wide, s.at)
			s.lines[len(s.lines)-1] = string(line)
		}
	}
	return len(p), nil
}

// shown are the lines as they are read, without trailing spaces.
func (s *screen) shown() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, l := range s.lines {
		out = append(out, strings.TrimRight(l, " "))
	}
	return out
}

func (s *screen) String() string { return strings.Join(s.shown(), "\n") }

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never happened: %s", what)
}

func TestBarComesAndGoes(t *testing.T) {
	for _, cols := range []int{10, 20, 40, 66, 80, 120, 200} {
		s, track := &screen{}, &progress.Tracker{}
		m := Start(Options{Mode: Bar, Out: s, Tracker: track, Refresh: time.Millisecond, Columns: func() int { return cols }})
		track.SetTotal(30 << 30)
		track.SetStoredTotal(2 << 30)
		track.AddVirtual(20 << 30) // holes
		wait(t, "0%", func() bool { return strings.Contains(s.String(), "0%") })
		track.AddVirtual(5 << 30)
		track.AddStored(1 << 30)
		wait(t, "50%", func() bool { return strings.Contains(s.String(), "50%") })
		if cols >= 80 && !strings.Contains(s.String(), "fetched 1.0 GiB") {
			t.Errorf("%d columns: no bytes fetched in %q", cols, s)
		}
		if cols >= 80 && !strings.Contains(s.String(), "█") {
			t.Errorf("%d columns: no bar in %q", cols, s)
		}
		m.Retry(source.Retry{Attempt: 1, Delay: 2 * time.Second, Err: errors.New("connection reset")})
		track.AddVirtual(5 << 30)
		track.AddStored(1 << 30)
		wait(t, "100%", func() bool { return strings.Contains(s.String(), "100%") })
		m.Stop()
		m.Stop()
		if diff := cmp.Diff([]string{"retry 1 in 2s: connection reset", ""}, s.shown()); diff != "" {
			t.Errorf("%d columns: after the end (-want +got):\n%s", cols, diff)
		}
		if limit := max(cols-1, len("retry 1 in 2s: connection reset")); s.wide > limit {
			t.Errorf("%d columns: a line took %d", cols, s.wide)
		}
	}
}

func TestNothingToShow(t *testing.T) {
	for name, set := range map[string]func(*progress.Tracker){
		"nothing known": func(*progress.Tracker) {},
		"zero size":     func(p *progress.Tracker) { p.SetTotal(0); p.SetStoredTotal(0) },
	} {
		s, track := &screen{}, &progress.Tracker{}
		m := Start(Options{Mode: Bar, Out: s, Tracker: track, Refresh: time.Millisecond})
		set(track)
		time.Sleep(20 * time.Millisecond)
		m.Stop()
		if len(s.shown()) != 0 {
			t.Errorf("%s: shown %q", name, s)
		}
	}
	s := &screen{}
	m := Start(Options{Mode: Bar, Out: s, Tracker: nil})
	m.Stop() // at once
	if len(s.shown()) != 0 {
		t.Errorf("instant: shown %q", s)
	}
}

func TestRender(t *testing.T) {
	tests := []struct {
		name string
		in   progress.Snapshot
		cols int
		want []string // parts
		not  string
	}{
		{"virtual", progress.Snapshot{Total: 1 << 30, Virtual: 1 << 28, Stored: 7 << 20}, 80, []string{"25%", "fetched 7.0 MiB", "/1.0 GiB"}, ""},
		{"stored while the virtual size is unknown", progress.Snapshot{StoredTotal: 1 << 20, Stored: 1 << 19}, 80, []string{"50%", "512 KiB/1.0 MiB"}, "fetched"},
		{"of nobody knows how many", progress.Snapshot{Stored: 3 << 20}, 80, []string{"3.0 MiB"}, "%"},
		{"spooled", progress.Snapshot{Total: 1 << 30, Stored: 1, Spooled: 5 << 30}, 120, []string{"spooled 5.0 GiB"}, ""},
		{"more than all", progress.Snapshot{StoredTotal: 100, Stored: 200}, 80, []string{"100%"}, ""},
		{"done at the first look", progress.Snapshot{Total: 100, Virtual: 200}, 80, nil, "%"},
		{"narrow", progress.Snapshot{Total: 1 << 30, Virtual: 1 << 28, Stored: 1}, 30, []string{"25%"}, "█"},
		{"no columns", progress.Snapshot{Total: 1 << 30, Virtual: 1 << 28}, 0, nil, "2"},
		{"huge and slow", progress.Snapshot{Total: 1 << 62, Virtual: 1}, 80, []string{"0%"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bar
			first := tt.in
			if tt.in.Virtual < tt.in.Total {
				first.Virtual = 0
			}
			b.render(first, tt.cols)
			got := b.render(tt.in, tt.cols) // the second look has a rate
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("%q lacks %q", got, w)
				}
			}
			if tt.not != "" && strings.Contains(got, tt.not) {
				t.Errorf("%q has %q", got, tt.not)
			}
			if strings.ContainsAny(got, "\r\n\x1b") || columns(got) > max(tt.cols-1, 0) {
				t.Errorf("%q is not one line of %d columns", got, tt.cols)
			}
		})
	}
}

func TestUnitChanges(t *testing.T) {
	var b bar
	var lines []string
	for _, s := range []progress.Snapshot{
		{StoredTotal: 100, Stored: 90},
		{StoredTotal: 100, Stored: 90, Total: 1000, Virtual: 500},
		{StoredTotal: 100, Stored: 95, Total: 1000, Virtual: 550},
		{StoredTotal: 100, Stored: 99, Total: 1000, Virtual: 1000},
	} {
		lines = append(lines, strings.Fields(strings.TrimPrefix(b.render(s, 80), describe(s, b.unit, 80)))[0])
	}
	if diff := cmp.Diff([]string{"90%", "0%", "10%", "100%"}, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestJSON(t *testing.T) {
	s, track := &screen{}, &progress.Tracker{}
	m := Start(Options{Mode: JSON, Out: s, Tracker: track, Refresh: 5 * time.Millisecond, Clean: strings.ToUpper})
	track.SetTotal(100)
	track.AddVirtual(40)
	wait(t, "a line", func() bool { return strings.Contains(s.String(), `"virtualDone":40`) })
	m.Retry(source.Retry{Attempt: 2, Offset: 7, Delay: 1500 * time.Millisecond, Err: errors.New("gone")})
	track.AddVirtual(60)
	m.Stop()
	lines := s.shown()
	var last map[string]any
	retries := 0
	for _, l := range lines[:len(lines)-1] {
		last = nil
		if err := json.Unmarshal([]byte(l), &last); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		if last["retry"] != nil {
			retries++
			want := map[string]any{"retry": 2.0, "offset": 7.0, "delay": 1.5, "error": "GONE"}
			if diff := cmp.Diff(want, last); diff != "" {
				t.Errorf("retry (-want +got):\n%s", diff)
			}
		}
	}
	if retries != 1 || last["last"] != true || last["virtualDone"] != 100.0 {
		t.Errorf("%d retries, last line %v", retries, last)
	}
}

func TestQuietAndStopped(t *testing.T) {
	for _, o := range []Options{{Mode: None, Quiet: true}, {Mode: JSON, Quiet: true, Refresh: time.Hour}} {
		s := &screen{}
		o.Out = s
		m := Start(o)
		m.Retry(source.Retry{Attempt: 1, Err: errors.New("x")})
		if len(s.shown()) != 0 {
			t.Errorf("%v: shown %q", o.Mode, s)
		}
		m.Stop()
	}
	s := &screen{}
	m := Start(Options{Mode: None, Out: s})
	m.Retry(source.Retry{Attempt: 1, Delay: 1234 * time.Millisecond})
	m.Stop()
	m.Retry(source.Retry{Attempt: 2})
	if got, want := s.String(), "retry 1 in 1.2s: unknown\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 3 << 19: "1.5 MiB", 1<<40 - 1: "1.0 TiB",
		1023 << 20: "1.0 GiB", 999 << 20: "999.0 MiB", 1<<63 - 1: "8.0 EiB"} {
		if got := Size(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}
