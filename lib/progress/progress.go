// Package progress counts what a transfer has done. Whoever shows it polls Snapshot.
package progress

import "sync/atomic"

// A Tracker counts virtual bytes done and stored bytes read. All methods are safe for concurrent use and on nil.
type Tracker struct {
	total, virtual, stored, storedTotal, spooled atomic.Int64
	phase                                        atomic.Pointer[string]
}

// Snapshot is a Tracker at one moment.
type Snapshot struct {
	Phase       string `json:"phase,omitempty"`
	Total       int64  `json:"virtualTotal"` // virtual size, 0 while unknown
	Virtual     int64  `json:"virtualDone"`  // virtual bytes done, holes and zeros included
	StoredTotal int64  `json:"storedTotal"`  // stored size, 0 while unknown
	Stored      int64  `json:"bytesFetched"` // stored bytes read, metadata and repeated ranges included
	Spooled     int64  `json:"bytesSpooled"`
}

// SetTotal tells the virtual size.
func (t *Tracker) SetTotal(n int64) {
	if t != nil {
		t.total.Store(max(n, 0))
	}
}

// SetStoredTotal tells the stored size.
func (t *Tracker) SetStoredTotal(n int64) {
	if t != nil {
		t.storedTotal.Store(max(n, 0))
	}
}

// SetPhase names what is being done, for people ("reading", "converting", …).
func (t *Tracker) SetPhase(s string) {
	if t != nil {
		t.phase.Store(&s)
	}
}

// Restart begins another piece of work, whose total replaces that of the one before.
func (t *Tracker) Restart(phase string, total int64) {
	if t != nil {
		t.SetPhase(phase)
		t.virtual.Store(0)
		t.SetTotal(total)
	}
}

// AddVirtual counts n virtual bytes as done.
func (t *Tracker) AddVirtual(n int64) {
	if t != nil {
		t.virtual.Add(n)
	}
}

// AddStored counts n stored bytes as read.
func (t *Tracker) AddStored(n int64) {
	if t != nil {
		t.stored.Add(n)
	}
}

// AddSpooled counts n bytes as written to a spool.
func (t *Tracker) AddSpooled(n int64) {
	if t != nil {
		t.spooled.Add(n)
	}
}

// Snapshot reads the counters.
func (t *Tracker) Snapshot() Snapshot {
	if t == nil {
		return Snapshot{}
	}
	s := Snapshot{
		Total: t.total.Load(), Virtual: t.virtual.Load(),
		StoredTotal: t.storedTotal.Load(), Stored: t.stored.Load(), Spooled: t.spooled.Load(),
	}
	if p := t.phase.Load(); p != nil {
		s.Phase = *p
	}
	return s
}
