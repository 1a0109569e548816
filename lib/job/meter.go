package job

import (
	"sync"
	"time"

	"github.com/cdictl/cdictl/lib/progress"
)

// A Meter finds rate and time left from a Tracker's counters over the last seconds. Whoever has one calls Tick now and
// then, every second or so, and Progress as often as somebody asks. Safe for concurrent use.
type Meter struct {
	tracker *progress.Tracker
	uid     string

	mu      sync.Mutex
	samples []sample // oldest first
	retry   string
	retries int
}

type sample struct {
	at      time.Time
	phase   string
	virtual int64
	done    float64 // as Percent
}

const (
	// window is what the rate is the mean of: long enough to be steady where ranges of 16 MiB end together, short
	// enough to show that a server has become slow.
	window = 10 * time.Second
	// spacing of samples at least, so that many questions do not push the window's start forward.
	spacing = 500 * time.Millisecond
)

// NewMeter looks at t for the order uid.
func NewMeter(t *progress.Tracker, uid string) *Meter { return &Meter{tracker: t, uid: uid} }

// Tick notes where the counters are at this time.
func (m *Meter) Tick(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tick(now, m.tracker.Snapshot())
}

func (m *Meter) tick(now time.Time, s progress.Snapshot) {
	done := Progress{Snapshot: s}.Percent()
	if n := len(m.samples); n > 0 {
		last := m.samples[n-1]
		switch {
		case last.phase != s.Phase || s.Virtual < last.virtual || done < last.done || last.done < 0 && done >= 0:
			m.samples = m.samples[:0] // another kind of work, with another speed
		case now.Sub(last.at) < spacing:
			return
		}
	}
	m.samples = append(m.samples, sample{now, s.Phase, s.Virtual, done})
	// One sample older than the window is its start.
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) >= window {
		m.samples = m.samples[1:]
	}
}

// Repeat notes that a source tries again, and why.
func (m *Meter) Repeat(cause string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retries++
	m.retry = oneLine(cause)
	if len(m.retry) > maxCause {
		m.retry = shorten(m.retry, len(m.retry)-maxCause)
	}
}

const maxCause = 1024

// Progress is what there is to tell at this time.
func (m *Meter) Progress(now time.Time) Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.tracker.Snapshot()
	m.tick(now, s)
	p := Progress{Version: Version, UID: m.uid, Snapshot: s, Remaining: -1, LastRetry: m.retry, Retries: m.retries}
	first := m.samples[0]
	age := now.Sub(first.at).Seconds()
	if age < spacing.Seconds() {
		return p
	}
	p.Rate = float64(s.Virtual-first.virtual) / age
	switch done := p.Percent(); {
	case s.Total > 0 && s.Virtual >= s.Total:
		p.Remaining = 0
	case first.done >= 0 && done > first.done:
		p.Remaining = max(100-done, 0) / (done - first.done) * age
	}
	return p
}

// The importer's names for the first half of its work where it needs a copy of the image, and for the end.
const (
	spooling   = "spooling"
	committing = "committing"
)

// most is the last percentage before the end, which only a Result tells.
const most = 99

// Percent is how far the work is, 0 to 99, or -1 while that cannot be told. It counts what is read, because that takes the
// time: of a sparse disk nearly all is done at once, as holes are known from the tables. It never goes back within one
// run: an image that is copied first and then converted is half done in between.
func (p Progress) Percent() float64 {
	part := func(done, total int64) float64 {
		if total <= 0 {
			return -1
		}
		return min(100*float64(done)/float64(total), most)
	}
	switch {
	case p.Phase == committing:
		return most
	case p.Phase == spooling:
		return max(part(p.Stored, p.StoredTotal), 0) / 2
	case p.Spooled > 0:
		return min(50+max(part(p.Virtual, p.Total), 0)/2, most)
	case p.StoredTotal > 0 && p.Stored > 0: // an empty disk has nothing to read
		return part(p.Stored, p.StoredTotal)
	}
	return part(p.Virtual, p.Total)
}
