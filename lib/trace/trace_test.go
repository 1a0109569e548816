package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"sync"
	"testing"
)

func TestEvents(t *testing.T) {
	var out bytes.Buffer
	r := New(&out)
	var wg sync.WaitGroup
	for lane := range 4 {
		wg.Go(func() {
			for i := range int64(25) {
				r.Span("fetch", "range", lane, i*10, 10)()
			}
		})
	}
	wg.Wait()
	late := r.Span("write", "late", 0, 0, 1)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	late()
	if err := r.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	var events []event
	if err := json.Unmarshal(out.Bytes(), &events); err != nil {
		t.Fatalf("%v in %s", err, out.Bytes())
	}
	if len(events) != 100 {
		t.Fatalf("%d events, want 100", len(events))
	}
	lanes := map[int]int{}
	for _, e := range events {
		lanes[e.TID]++
		if e.Phase != "X" || e.Category != "fetch" || e.Name != "range" || e.Args["length"] != 10 || e.Start < 0 || e.Duration < 0 {
			t.Errorf("event %+v", e)
		}
	}
	if len(lanes) != 4 {
		t.Errorf("lanes %v", lanes)
	}
}

func TestEmpty(t *testing.T) {
	var out bytes.Buffer
	if err := New(&out).Close(); err != nil || out.String() != "[]\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	var none *Recorder
	none.Span("a", "b", 0, 0, 0)()
	if err := none.Close(); err != nil {
		t.Error(err)
	}
}

type full struct{ err error }

func (f full) Write([]byte) (int, error) { return 0, f.err }

func TestWriteErrorIsTold(t *testing.T) {
	want := errors.New("disk full")
	r := New(full{want})
	r.Span("a", "b", 0, 0, 0)()
	r.Span("a", "b", 0, 0, 0)()
	if err := r.Close(); !errors.Is(err, want) {
		t.Errorf("Close: %v", err)
	}
}
