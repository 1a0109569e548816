package job

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/progress"
)

func TestMeter(t *testing.T) {
	const mib = 1 << 20
	track := new(progress.Tracker)
	m := NewMeter(track, "a")
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	step := func(d time.Duration, virtual, stored int64) Progress {
		at = at.Add(d)
		track.AddVirtual(virtual)
		track.AddStored(stored)
		return m.Progress(at)
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.01*math.Abs(want)+1e-3 {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	p := step(0, 0, 0)
	near("nothing known: rate", p.Rate, 0)
	near("nothing known: remaining", p.Remaining, -1)
	near("nothing known: percent", p.Percent(), -1)

	track.SetPhase("importing")
	track.SetTotal(1000 * mib)
	track.SetStoredTotal(200 * mib)
	p = step(time.Second, 800*mib, 1) // the holes
	near("start: percent", p.Percent(), 0)
	for range 15 {
		p = step(time.Second, 10*mib, 10*mib)
	}
	near("steady: rate", p.Rate, 10*mib)
	near("steady: percent", p.Percent(), 75)
	near("steady: remaining", p.Remaining, 5)
	for range 12 {
		p = step(time.Second, 0, 0)
	}
	near("stalled: rate", p.Rate, 0)
	near("stalled: remaining", p.Remaining, -1)
	if a, b := m.Progress(at), m.Progress(at); a != b {
		t.Errorf("asking changes the answer: %+v, %+v", a, b)
	}
	p = step(time.Second, 50*mib, 60*mib) // more than there is: tables were read twice
	near("done: percent", p.Percent(), 99)
	near("done: remaining", p.Remaining, 0)

	m.Repeat("one\ntwo " + strings.Repeat("x", 5000))
	m.Repeat("last")
	if p := m.Progress(at); p.Retries != 2 || p.LastRetry != "last" {
		t.Errorf("%+v", p)
	}
	if p := m.Progress(at); p.UID != "a" || p.Version != Version {
		t.Errorf("%+v", p)
	}
}

func TestPercentNeverGoesBack(t *testing.T) {
	last := -1.0
	for _, s := range []progress.Snapshot{
		{},
		{StoredTotal: 100},
		{Phase: spooling, StoredTotal: 100, Stored: 10, Total: 1000, Spooled: 5},
		{Phase: spooling, StoredTotal: 100, Stored: 100, Total: 1000, Spooled: 90},
		{Phase: "importing", StoredTotal: 100, Stored: 100, Total: 1000, Spooled: 90},
		{Phase: "importing", StoredTotal: 100, Stored: 100, Total: 1000, Virtual: 400, Spooled: 90},
		{Phase: "importing", StoredTotal: 100, Stored: 100, Total: 1000, Virtual: 1000, Spooled: 90},
		{Phase: committing, StoredTotal: 100, Stored: 100, Total: 1000, Virtual: 1000, Spooled: 90},
	} {
		if got := (Progress{Snapshot: s}).Percent(); got < last || got >= 100 {
			t.Errorf("%+v: %v after %v", s, got, last)
		} else {
			last = got
		}
	}
}
