// Package meter shows a progress.Tracker on stderr: as a bar, as JSON lines, or not at all.
package meter

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/source"
)

// Mode says how progress is shown.
type Mode string

// The modes.
const (
	None Mode = "none"
	Bar  Mode = "bar"
	JSON Mode = "json"
)

// Options of Start.
type Options struct {
	Mode    Mode
	Out     io.Writer
	Tracker *progress.Tracker
	// Columns tells the width of the terminal at this moment; nil means 80.
	Columns func() int
	// Quiet leaves out the lines about retries.
	Quiet bool
	// Clean makes an error's text fit to print; nil: as it is.
	Clean func(string) string

	// Refresh is the time between two looks at the tracker; 0 means 100 ms for the bar (more flickers and costs, less
	// looks stuck) and 1 s for JSON (a log that a person can still read).
	Refresh time.Duration
}

// A Meter shows progress until Stop. Its methods are safe for concurrent use.
type Meter struct {
	o     Options
	start time.Time
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once

	mu      sync.Mutex // guards what is on the screen
	bar     bar
	width   int // columns that the bar takes on the screen now, 0: none
	stopped bool
}

// Start begins to show. The caller must Stop.
func Start(o Options) *Meter {
	if o.Columns == nil {
		o.Columns = func() int { return 80 }
	}
	if o.Clean == nil {
		o.Clean = func(s string) string { return s }
	}
	if o.Refresh == 0 {
		o.Refresh = 100 * time.Millisecond
		if o.Mode == JSON {
			o.Refresh = time.Second
		}
	}
	m := &Meter{o: o, start: time.Now(), stop: make(chan struct{}), done: make(chan struct{})}
	go m.run()
	return m
}

func (m *Meter) run() {
	defer close(m.done)
	if m.o.Mode != Bar && m.o.Mode != JSON {
		return
	}
	tick := time.NewTicker(m.o.Refresh)
	defer tick.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-tick.C:
			m.mu.Lock()
			m.show(false)
			m.mu.Unlock()
		}
	}
}

// Stop ends the showing: the bar goes away, JSON gets its last line. More calls do nothing.
func (m *Meter) Stop() {
	m.once.Do(func() {
		close(m.stop)
		<-m.done
		m.mu.Lock()
		defer m.mu.Unlock()
		m.stopped = true
		switch m.o.Mode {
		case JSON:
			m.show(true)
		case Bar:
			m.erase()
		}
	})
}

// line is one line of JSON progress.
type line struct {
	progress.Snapshot
	Seconds float64 `json:"seconds"`
	Last    bool    `json:"last,omitempty"`
}

func (m *Meter) show(last bool) {
	s := m.o.Tracker.Snapshot()
	if m.o.Mode == JSON {
		m.json(line{s, seconds(time.Since(m.start)), last})
		return
	}
	text := m.bar.render(s, m.o.Columns())
	if text == "" {
		return
	}
	// Spaces erase what a longer line left; unlike escape sequences every terminal knows them.
	n := columns(text)
	m.print("\r" + text + strings.Repeat(" ", max(0, m.width-n)))
	m.width = max(n, m.width)
}

// erase takes the bar off the screen.
func (m *Meter) erase() {
	if m.width > 0 {
		m.print("\r" + strings.Repeat(" ", m.width) + "\r")
		m.width = 0
	}
}

// retryLine is what JSON progress says of a retry.
type retryLine struct {
	Retry   int     `json:"retry"`
	Offset  int64   `json:"offset"`
	Delay   float64 `json:"delay"` // seconds
	Message string  `json:"error"`
}

// Retry tells of a failed try, on a line of its own.
func (m *Meter) Retry(r source.Retry) {
	if m.o.Quiet {
		return
	}
	msg := "unknown"
	if r.Err != nil {
		msg = m.o.Clean(r.Err.Error())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return
	}
	if m.o.Mode == JSON {
		m.json(retryLine{r.Attempt, r.Offset, seconds(r.Delay), msg})
		return
	}
	m.erase()
	m.print(fmt.Sprintf("retry %d in %s: %s\n", r.Attempt, delay(r.Delay), msg))
}

// noteLine is what JSON progress says beside numbers.
type noteLine struct {
	Note string `json:"note"`
}

// Say tells something on a line of its own.
func (m *Meter) Say(text string) {
	if m.o.Quiet {
		return
	}
	text = m.o.Clean(text)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.stopped:
	case m.o.Mode == JSON:
		m.json(noteLine{text})
	default:
		m.erase()
		m.print(text + "\n")
	}
}

// delay rounds to what a person wants to read.
func delay(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// print writes to stderr; that nobody listens there is no reason to end an import.
func (m *Meter) print(s string) { _, _ = io.WriteString(m.o.Out, s) }

func (m *Meter) json(v any) {
	if b, err := json.Marshal(v); err == nil {
		m.print(string(b) + "\n")
	}
}
