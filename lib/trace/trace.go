// Package trace records a timeline of fetching, decoding and writing, in the Chrome trace event format
// (chrome://tracing, Perfetto).
package trace

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// A Recorder writes events as they end. All methods are safe for concurrent use and on nil.
type Recorder struct {
	mu    sync.Mutex
	w     io.Writer
	start time.Time
	n     int
	done  bool
	err   error
}

// New begins a timeline on w. The caller ends it with Close and closes w itself.
func New(w io.Writer) *Recorder { return &Recorder{w: w, start: time.Now()} }

type event struct {
	Name     string           `json:"name"`
	Category string           `json:"cat"`
	Phase    string           `json:"ph"`
	Start    int64            `json:"ts"`  // µs
	Duration int64            `json:"dur"` // µs
	PID      int              `json:"pid"`
	TID      int              `json:"tid"`
	Args     map[string]int64 `json:"args,omitempty"`
}

// Span begins an event; call the result when it ends. lane separates what runs at the same time (a worker's number).
func (r *Recorder) Span(category, name string, lane int, offset, length int64) func() {
	if r == nil {
		return func() {}
	}
	t := time.Now()
	return func() {
		r.write(event{Name: name, Category: category, Phase: "X", Start: t.Sub(r.start).Microseconds(),
			Duration: time.Since(t).Microseconds(), PID: 1, TID: lane, Args: map[string]int64{"offset": offset, "length": length}})
	}
}

func (r *Recorder) write(e event) {
	b, err := json.Marshal(e)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return
	}
	sep := ",\n"
	if r.n == 0 {
		sep = "[\n"
	}
	r.n++
	if err == nil && r.err == nil {
		_, err = r.w.Write(append([]byte(sep), b...))
	}
	if r.err == nil {
		r.err = err
	}
}

// Close ends the timeline and returns the first error of any write. What ends later is left out.
func (r *Recorder) Close() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && !r.done {
		end := "\n]\n"
		if r.n == 0 {
			end = "[]\n"
		}
		_, r.err = io.WriteString(r.w, end)
	}
	r.done = true
	return r.err
}
