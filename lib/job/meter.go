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
	if n := len(m.samples); n > 0 {
		last := m.samples[n-1]
		switch {
		case last.phase != s.Phase || s.Virtual < last.virtual:
			m.samples = m.samples[:0] // another kind of work, with another speed
		case now.Sub(last.at) < spacing:
			return
		}
	}
	m.samples = append(m.samples, sample{now, s.Phase, s.Virtual})
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
	if d := now.Sub(first.at); d >= spacing {
		p.Rate = float64(s.Virtual-first.virtual) / d.Seconds()
	}
	switch {
	case s.Total <= 0:
	case s.Virtual >= s.Total:
		p.Remaining = 0
	case p.Rate > 0:
		p.Remaining = float64(s.Total-s.Virtual) / p.Rate
	}
	return p
}

// spooling is the importer's name for its first half where it needs a copy of the image.
const spooling = "spooling"

// Percent is how far the work is, 0 to 100, or -1 while that cannot be told. It never goes back within one run: an image
// that is copied first and then converted is half done in between.
func (p Progress) Percent() float64 {
	part := func(done, total int64) float64 {
		if total <= 0 {
			return -1
		}
		return 100 * float64(min(done, total)) / float64(total)
	}
	switch {
	case p.Phase == spooling:
		return max(part(p.Stored, p.StoredTotal), 0) / 2
	case p.Spooled > 0:
		return 50 + max(part(p.Virtual, p.Total), 0)/2
	case p.Total > 0:
		return part(p.Virtual, p.Total)
	}
	return part(p.Stored, p.StoredTotal)
}
