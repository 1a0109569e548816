package transfer

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/sink"
)

const (
	saveBytes = 16 << 20
	// aheadBytes is by how much what is written may be ahead of the last note, flushes under way included, for a Step of
	// saveBytes: with 20 MiB in flight, a process that is killed loses less than 64 MiB, however slow a flush is. (Between two
	// flushes what is in flight may be written; then the same amount may be read.)
	aheadBytes = 32 << 20
	// saveAfter is how long something that was written waits for that.
	saveAfter = 2500 * time.Millisecond
	// saveShare keeps records small beside what they are about: a record of n bytes comes after n*saveShare of data.
	saveShare = 4
)

// Durable is a Sink that notes in a journal what of the disk is durable. What is written is noted when a flush that began
// after it has ended, never before.
type Durable struct {
	sink.Keeper
	o    DurableOptions
	save func(rec *journal.Record) error // flush, then note
	buf  []byte                          // of the record, for the one note that there is at a time

	mu      sync.Mutex
	idle    sync.Cond // saving became false
	record  journal.Record
	fresh   int64 // bytes written that neither the last record nor the flush under way covers
	pending int64 // bytes that the flush under way will make durable
	begun   time.Time
	timer   *time.Timer
	saving  bool
	stopped bool  // no more flushes
	saved   bool  // there is a record
	mute    bool  // records cannot be stored: the last one stays true
	size    int   // of the last record
	err     error // of a flush: what was written is lost
}

// DurableOptions of NewDurable.
type DurableOptions struct {
	Journal sink.Journal
	// Record is what an earlier run noted, or a new one with its binding.
	Record journal.Record
	// Resumed: Record was loaded.
	Resumed bool
	// Auto flushes whenever it is time, with the point that it returns for what was written by then, nil if there is none.
	// Without it, Checkpoint does.
	Auto func(done *journal.Extents) *journal.Point
	// Step is how much is written between two flushes, and half of how far writes may be ahead of the last note. 0 means
	// 16 MiB, of which a flush takes some 10 ms where writes are direct.
	Step int64
	// CountZeros: zeros are content that had to be fetched.
	CountZeros bool
}

// NewDurable writes to k. Flushes end with ctx.
func NewDurable(ctx context.Context, k sink.Keeper, o DurableOptions) *Durable {
	if o.Step <= 0 {
		o.Step = saveBytes
	}
	d := &Durable{Keeper: k, o: o, record: o.Record, saved: o.Resumed, begun: time.Now()}
	d.record.Done = o.Record.Done.Clone()
	d.idle.L = &d.mu
	d.save = func(rec *journal.Record) error { return d.note(ctx, rec) }
	return d
}

// WriteAt writes, and waits if it is too far ahead of what is durable.
func (d *Durable) WriteAt(p []byte, off int64) (int, error) {
	n, err := d.Keeper.WriteAt(p, off)
	if err != nil {
		return n, err
	}
	return n, d.wrote(off, int64(n), int64(n))
}

// Zero zeroes.
func (d *Durable) Zero(off, n int64) error {
	if err := d.Keeper.Zero(off, n); err != nil {
		return err
	}
	count := int64(0)
	if d.o.CountZeros {
		count = n
	}
	return d.wrote(off, n, count)
}

// Clone shares storage where the sink below can.
func (d *Durable) Clone(f *os.File, off, n int64) (int64, error) {
	c, ok := d.Keeper.(sink.Cloner)
	if !ok {
		return 0, nil
	}
	k, err := c.Clone(f, off, n)
	if err != nil || k == 0 {
		return k, err
	}
	return k, d.wrote(off, k, 0) // nothing that had to be fetched
}

func (d *Durable) wrote(off, n, count int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.record.Done.Add(off, n)
	d.fresh += count
	if d.o.Auto != nil && d.fresh >= d.step() {
		d.begin()
	}
	if d.o.Auto != nil && d.timer == nil && d.fresh > 0 && !d.stopped {
		d.timer = time.AfterFunc(saveAfter, d.late)
	}
	for d.saving && d.pending+d.fresh >= d.step()*aheadBytes/saveBytes {
		d.idle.Wait()
	}
	return d.err
}

func (d *Durable) step() int64 { return max(d.o.Step, saveShare*int64(d.size)) }

func (d *Durable) late() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer = nil
	if d.fresh > 0 {
		d.begin()
	}
}

// begin starts a flush beside the writers, unless one is under way.
func (d *Durable) begin() {
	if d.saving || d.stopped || d.mute || d.err != nil {
		return
	}
	rec := d.snapshot(nil, 0)
	go func() { _ = d.save(rec) }() // who writes next is told
}

// snapshot is what has been written, to be saved. Of that, so many bytes lie beyond p.
func (d *Durable) snapshot(p *journal.Point, beyond int64) *journal.Record {
	rec := &journal.Record{Bind: d.record.Bind, Done: d.record.Done.Clone(), Point: p}
	if p == nil && d.o.Auto != nil {
		if rec.Point = d.o.Auto(&rec.Done); rec.Point != nil {
			beyond = rec.Done.Prefix() - rec.Point.Pos
		}
	}
	all := d.pending + d.fresh
	d.fresh = min(max(beyond, 0), all)
	d.pending, d.begun, d.saving = all-d.fresh, time.Now(), true
	return rec
}

// note makes durable what was written before rec was made, and then rec.
func (d *Durable) note(ctx context.Context, rec *journal.Record) error {
	err := d.Sync(ctx)
	size, mute, saved := 0, false, false
	if err == nil {
		b, serr := rec.EncodeIn(d.buf)
		if serr == nil {
			d.buf = b
			serr = d.o.Journal.Save(b)
		}
		// A record that cannot be stored is no reason to end: the one before it stays true.
		size, mute, saved = len(b), serr != nil, serr == nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if saved {
		d.saved, d.size, d.pending = true, size, 0
	}
	d.saving, d.mute = false, d.mute || mute
	if err != nil && ctx.Err() == nil && d.err == nil {
		d.err = err
	}
	d.idle.Broadcast()
	return err
}

// Due reports whether it is time for a Checkpoint.
func (d *Durable) Due() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.saving && !d.stopped && !d.mute && d.fresh > 0 && (d.fresh >= d.step() || time.Since(d.begun) >= saveAfter)
}

// Checkpoint notes p, at which the caller could go on with what was written by now but for some beyond bytes, when that is
// durable. With wait it returns then, else at once.
func (d *Durable) Checkpoint(p *journal.Point, beyond int64, wait bool) error {
	d.mu.Lock()
	if d.saving || d.stopped || d.mute || d.err != nil {
		defer d.mu.Unlock()
		return d.err
	}
	rec := d.snapshot(p, beyond)
	d.mu.Unlock()
	if wait {
		return d.save(rec)
	}
	go func() { _ = d.save(rec) }()
	return nil
}

// Leave decides, after the last write, whether Close keeps the part, and reports it: it is kept if that is wanted and there is
// a record. If it can, it notes what was written last, as long as ctx allows.
func (d *Durable) Leave(ctx context.Context, wanted bool) bool {
	d.stop()
	d.mu.Lock()
	last := wanted && d.o.Auto != nil && d.err == nil && !d.mute && d.record.Done.Len() > 0
	var rec *journal.Record
	if last {
		rec = d.snapshot(nil, 0)
	}
	d.mu.Unlock()
	if last {
		_ = d.note(ctx, rec) // else the record before it counts
	}
	keep := wanted && d.saved
	d.Keep(keep)
	return keep
}

// stop waits for a flush under way, and lets no other begin.
func (d *Durable) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	if d.timer != nil {
		d.timer.Stop()
	}
	for d.saving {
		d.idle.Wait()
	}
}

// Commit commits; the record goes then.
func (d *Durable) Commit(ctx context.Context, size int64) error {
	d.stop()
	if d.err != nil {
		return d.err
	}
	return d.Keeper.Commit(ctx, size)
}

// Close closes.
func (d *Durable) Close() error {
	d.stop()
	return d.Keeper.Close()
}
