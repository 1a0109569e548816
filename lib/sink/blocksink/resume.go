package blocksink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/sink"
)

// A Kept is a Target whose import can be gone on with when it was interrupted. It implements sink.Resumer. What is on the
// device is the part; what is known of it, and what is held back, lies in files of a folder.
type Kept struct{ *Target }

// In keeps records in folder, which is made, for this user alone, when there is something to keep.
func (t *Target) In(folder string) *Kept {
	return &Kept{&Target{path: t.path, o: t.o, notes: notesIn(folder, t.path)}}
}

// Journal is in the folder, and speaks of the device while the device has its token.
func (k *Kept) Journal() (sink.Journal, error) { return recorder{k.Target}, nil }

// recorder is the journal of one device.
type recorder struct{ t *Target }

// Load returns the record, or why it is of no use: the device is not the one it was made for, or not as it was left. Open
// looks again, and at more.
func (r recorder) Load() ([]byte, error) {
	s, content, err := noteOf(r.t.notes.record)
	if err != nil || content == nil {
		return nil, err
	}
	if d := r.t.notes.disk.Load(); d != nil { // ours already
		if d.stamp != s {
			return nil, errOther
		}
		return content, nil
	}
	if err := r.t.glance(s); err != nil {
		return nil, err
	}
	return content, nil
}

// Save takes what was made durable on the device before.
func (r recorder) Save(b []byte) error {
	d := r.t.notes.disk.Load()
	if d == nil {
		return r.t.fail("note", os.ErrClosed)
	}
	return d.save(b)
}

// Drop forgets it. The token on the device says nothing any more then.
func (r recorder) Drop() error { return r.t.notes.drop() }

var errOther = errors.New("the device is another one, or was written to since")

// check says whether the device of this size is the one that s speaks of.
func (s stamp) check(dev interface {
	ReadAt(p []byte, off int64) (int, error)
}, size, sector int64) error {
	off, ok := markAt(size, sector)
	if s.Device != size || s.Sector != sector || !ok {
		return errOther
	}
	b, err := read(dev, off, sector)
	if err != nil {
		return err
	}
	if !bytes.Equal(b, s.mark()) {
		return errOther
	}
	return nil
}

// resume goes on with what an earlier import left on dev: fs.ErrNotExist, with a reason, if that is not certain.
func (t *Target) resume(dev device, size, sector int64, o sink.Options) (*disk, error) {
	none := func(err error) error { return t.fail("resume", fmt.Errorf("%w: %w", err, fs.ErrNotExist)) }
	s, content, err := noteOf(t.notes.record)
	if err == nil && content == nil {
		err = errors.New("there is no record")
	}
	if err == nil && s.Disk != o.Size {
		err = fmt.Errorf("it was a disk of %d bytes, not %d", s.Disk, o.Size)
	}
	if err == nil {
		err = s.check(dev, size, sector)
	}
	var rec *journal.Record
	if err == nil {
		rec, err = journal.Decode(content)
	}
	if err == nil && rec.Done.End() > size {
		err = errors.New("its record passes the end of the device")
	}
	d := build(t, dev, size, sector, o)
	if err == nil {
		d.stamp, d.marked, d.kept = s, true, true // until the caller knows what it is
		err = d.loadEnds()
	}
	if err == nil {
		err = d.untouched()
	}
	if err != nil {
		return nil, none(err)
	}
	if err := d.claimDone(&rec.Done); err != nil {
		return nil, t.explain("resume", err)
	}
	if err := d.blank(); err != nil { // Commit may have begun to write it
		return nil, t.explain("resume", err)
	}
	return d, nil
}

// loadEnds takes what was held back from the notes.
func (d *disk) loadEnds() error {
	s, content, err := noteOf(d.t.notes.ends)
	if err != nil {
		return err
	}
	total := 0
	for _, r := range d.held {
		total += len(r.data)
	}
	if s != d.stamp || len(content) != total {
		return errors.New("what was held back is missing")
	}
	for _, r := range d.held {
		content = content[copy(r.data, content):]
	}
	return nil
}

// untouched says whether what is held back is still blank, sector by sector, or what Commit had begun to write. A new
// partition table or filesystem, which may well leave the token alone, begins there.
func (d *disk) untouched() error {
	mark, _ := markAt(d.size, d.sector)
	for _, r := range d.held {
		for off := r.off; off < r.end(); off += chunk {
			b, err := read(d.dev, off, min(chunk, r.end()-off))
			if err != nil {
				return err
			}
			for i := int64(0); i < int64(len(b)); i += d.sector {
				is, at := b[i:i+d.sector], off+i
				if at != mark && !blankSector(is) && !bytes.Equal(is, r.data[at-r.off:][:d.sector]) {
					return errOther
				}
			}
		}
	}
	return nil
}

func blankSector(b []byte) bool { return b[0] == 0 && bytes.Equal(b[:len(b)-1], b[1:]) }

// claimDone covers what is held back and what an earlier run has made durable, in the order of the device: when the cover
// zeroes the rest of a unit, all of the unit that is to stay is known.
func (d *disk) claimDone(done *journal.Extents) error {
	var spans [][2]int64
	for _, r := range d.held {
		spans = append(spans, [2]int64{r.off, r.end()})
	}
	for off, end := int64(0), done.End(); off < end; {
		in, n := done.At(off)
		if in {
			// Of a sector that was written in part, the rest is zeros, or has been written too.
			spans = append(spans, [2]int64{off / d.sector * d.sector, min(roundUp(off+n, d.sector), d.size)})
		}
		off += n
	}
	slices.SortFunc(spans, func(a, b [2]int64) int { return int(min(max(a[0]-b[0], -1), 1)) })
	for i := 0; i < len(spans); {
		from, to := spans[i][0], spans[i][1]
		for i++; i < len(spans) && spans[i][0] <= to; i++ {
			to = max(to, spans[i][1])
		}
		if _, err := d.cover.mark(from, to-from); err != nil {
			return err
		}
	}
	return nil
}

// forget takes the token off a device that has s, and what Commit may have begun to write before it was interrupted. What
// somebody else put there since stays.
func (t *Target) forget(dev device, s stamp) error {
	d := build(t, dev, s.Device, s.Sector, sink.Options{Size: s.Disk})
	d.stamp = s
	if d.loadEnds() == nil && d.untouched() == nil {
		return d.blank()
	}
	return d.setMark(nil)
}

// save notes record, of which all is durable on the device but what is held back. First the device gets its token, so that
// there is no record without one; then what is held back, so that there is no record that knows more than that.
func (d *disk) save(record []byte) error {
	d.saving.Lock()
	defer d.saving.Unlock()
	if d.closed.Load() {
		return d.t.fail("note", os.ErrClosed)
	}
	if d.exposed {
		return d.t.fail("note", fmt.Errorf("the disk is being completed: %w", errdef.ErrUsage))
	}
	if _, ok := markAt(d.size, d.sector); !ok {
		return d.t.fail("note", fmt.Errorf("the device is too small to be gone on with: %w", errdef.ErrUnsupported))
	}
	if !d.marked {
		if err := d.setMark(d.stamp.mark()); err != nil {
			return d.broken("note", err)
		}
		d.marked = true
	}
	if err := d.saveEnds(); err != nil {
		return err
	}
	b, err := d.stamp.seal(record)
	if err != nil {
		return err
	}
	return d.t.notes.record.Save(b)
}

// saveEnds notes what is held back, if it has changed.
func (d *disk) saveEnds() error {
	d.ends.Lock()
	seen := d.endsSeen.Load()
	if seen == d.endsSaved {
		d.ends.Unlock()
		return nil
	}
	content := make([][]byte, len(d.held))
	for i, r := range d.held {
		content[i] = r.data
	}
	b, err := d.stamp.seal(content...)
	d.ends.Unlock()
	if err == nil {
		err = d.t.notes.ends.Save(b)
	}
	if err == nil {
		d.endsSaved = seen
	}
	return err
}

// noteEnds notes them a last time before Commit writes them, where an earlier note would be gone on with: else what Commit has
// written would look like somebody else's. If that fails, it does look so.
func (d *disk) noteEnds() {
	d.saving.Lock()
	defer d.saving.Unlock()
	if d.marked {
		_ = d.saveEnds()
	}
}

// Sync makes what was written durable, but for what is held back: that is a matter of the journal.
func (d *disk) Sync(ctx context.Context) error {
	if err := d.check(0, 0); err != nil {
		return err
	}
	// A flush cannot be interrupted, so cancellation leaves it behind.
	done := make(chan error, 1)
	go func() { done <- d.dev.Sync() }()
	select {
	case err := <-done:
		return d.broken("flush", err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Keep says whether Close leaves what is on the device, and the record of it, to be gone on with.
func (d *disk) Keep(keep bool) {
	d.state.Lock()
	defer d.state.Unlock()
	d.kept = keep
}

// leave is Close's part: what was not committed is dropped or kept, and shows nothing either way.
func (d *disk) leave() error {
	d.saving.Lock() // an abandoned save ends first
	defer d.saving.Unlock()
	keep := d.kept && d.marked && d.t.notes != nil
	if keep && !d.exposed {
		return nil
	}
	var errs []error
	if !keep && d.t.notes != nil {
		errs = append(errs, d.t.notes.drop())
	}
	had := d.marked
	d.marked = false
	if d.exposed {
		errs = append(errs, d.blank())
	} else if had {
		errs = append(errs, d.setMark(make([]byte, d.sector)))
	}
	if keep && errors.Join(errs...) == nil {
		d.marked = true
		errs = append(errs, d.setMark(d.stamp.mark())) // Commit wrote over it
	}
	return errors.Join(errs...)
}
