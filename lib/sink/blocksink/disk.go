package blocksink

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/bufpool"
	"github.com/cdictl/cdictl/lib/sink"
)

const (
	// chunk is the write that pays off, and the copy that is made of one whose memory is not aligned.
	chunk = 1 << 20
	// zeroStep is how much Commit zeroes between two looks at its context: a second of a slow disk.
	zeroStep = 128 << 20
	// pageBytes is what is written last. Labels, primary tables and the superblocks of most filesystems lie in it.
	pageBytes = 4096
)

// A device is what a disk is stored on. Offsets, lengths and memory are multiples of the sector's size; ranges at the
// same time are apart. What was written is durable after Sync.
type device interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	// Zero makes [off, off+n) read as zeros for certain. With keep the storage behind it is kept.
	Zero(off, n int64, keep bool) error
	Sync() error
	Close() error
}

// disk is the open sink. See sink.Sink for what is safe concurrently.
type disk struct {
	t            *Target
	dev          device
	size, sector int64 // of the device
	limit        int64 // end of what may be written
	keep         bool  // Preallocate

	held    held
	cover   *cover
	locks   [64]sync.Mutex // of sectors that are written in part
	chunks  *bufpool.Pool  // aligned memory
	sectors *bufpool.Pool

	failed atomic.Pointer[error] // what is on the device is not known after the first error of it

	state     sync.Mutex // serialises Commit and Close
	closed    atomic.Bool
	committed bool
	kept      bool // Close leaves what is there

	saving  sync.Mutex // serialises what is noted, and guards the next three
	stamp   stamp
	marked  bool // the device has the token
	exposed bool // Commit began to write what was held back

	ends      sync.RWMutex // of the bytes of held: many write, one notes them
	endsSeen  atomic.Int64 // changes of them
	endsSaved int64        // those that are noted; -1: none
}

// build is a disk of which nothing is on the device yet.
func build(t *Target, dev device, size, sector int64, o sink.Options) *disk {
	d := &disk{t: t, dev: dev, size: size, sector: sector, limit: o.Size, keep: o.Preallocate, endsSaved: -1,
		held: hold(size, o.Size, sector), chunks: bufpool.New(chunk, 2), sectors: bufpool.New(int(sector), 4)}
	if d.limit < 0 {
		d.limit = size
	}
	d.cover = newCover(size, sector, func(off, n int64) error { return d.dev.Zero(off, n, d.keep) })
	return d
}

// newDisk zeroes what is to be held back: from then on the device holds nothing that anybody recognises.
func newDisk(t *Target, dev device, size, sector int64, o sink.Options) (*disk, error) {
	d := build(t, dev, size, sector, o)
	d.stamp = newStamp(size, sector, o.Size)
	for _, r := range d.held {
		if _, err := d.cover.mark(r.off, int64(len(r.data))); err != nil {
			return nil, d.explain("open", err)
		}
	}
	if err := d.blank(); err != nil {
		return nil, d.explain("open", err)
	}
	return d, nil
}

var zeros = sync.OnceValue(func() []byte { return bufpool.Make(chunk) })

// blank zeroes, by writing, what of the device is held back, but for its token.
func (d *disk) blank() error {
	mark, _ := markAt(d.size, d.sector)
	for _, r := range d.held {
		for off := r.off; off < r.end(); {
			end := min(off+chunk, r.end())
			if d.marked && off == mark {
				off += d.sector
				continue
			}
			if d.marked && off < mark {
				end = min(end, mark)
			}
			if _, err := d.dev.WriteAt(zeros()[:end-off], off); err != nil {
				return err
			}
			off = end
		}
	}
	return d.dev.Sync()
}

// setMark writes the sector that may have the token.
func (d *disk) setMark(b []byte) error {
	off, _ := markAt(d.size, d.sector)
	p := bufpool.Make(int(d.sector)) // aligned
	copy(p, b)
	if _, err := d.dev.WriteAt(p, off); err != nil {
		return err
	}
	return d.dev.Sync()
}

// Caps asks for aligned writes of a mebibyte.
func (d *disk) Caps() sink.Caps { return sink.Caps{Align: int(max(pageBytes, d.sector)), Chunk: chunk} }

func (d *disk) explain(op string, err error) error { return d.t.explain(op, err) }

// broken remembers the first error of the device.
func (d *disk) broken(op string, err error) error {
	if err == nil {
		return nil
	}
	err = d.explain(op, err)
	d.failed.CompareAndSwap(nil, &err)
	return err
}

func (d *disk) check(off, n int64) error {
	switch {
	case d.closed.Load():
		return d.t.fail("write", os.ErrClosed)
	case off < 0 || n < 0 || n > math.MaxInt64-off:
		return d.t.fail("write", fmt.Errorf("range [%d,+%d): %w", off, n, errdef.ErrUsage))
	case n > 0 && off+n > d.limit && d.limit == d.size:
		return d.t.fail("write", tooSmall(d.size, off+n))
	case n > 0 && off+n > d.limit:
		return d.t.fail("write", fmt.Errorf("range [%d,+%d) passes the end of the disk at %d: %w", off, n, d.limit, errdef.ErrTooSmall))
	}
	if err := d.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// WriteAt writes p at off.
func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	if err := d.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	n := 0
	for n < len(p) {
		at := off + int64(n)
		r, k := d.held.at(at, int64(len(p)-n))
		q := p[n : n+int(k)]
		if r != nil {
			d.hold(r, at, k, q)
		} else if err := d.store(q, at); err != nil {
			return n, d.broken("write", err)
		}
		n += int(k)
	}
	return n, nil
}

// Zero zeroes the device at once: with Preallocate by zeros that take storage, else in whatever way is quickest. It
// takes as long as the device needs for that, so a caller who wants to be cancelled calls it in steps.
func (d *disk) Zero(off, n int64) error {
	if err := d.check(off, n); err != nil {
		return err
	}
	return d.broken("zero", d.zero(off, n))
}

func (d *disk) zero(off, n int64) error {
	for n > 0 {
		r, k := d.held.at(off, n)
		if r != nil {
			d.hold(r, off, k, nil)
		} else if err := d.erase(off, k); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// hold puts p, or without it zeros, into n bytes of what is held back.
func (d *disk) hold(r *region, off, n int64, p []byte) {
	d.ends.RLock()
	defer d.ends.RUnlock()
	to := r.data[off-r.off:][:n]
	if p == nil {
		clear(to)
	} else {
		copy(to, p)
	}
	d.endsSeen.Add(1)
}

// store writes p, none of which is held back: whole sectors as they are, parts of sectors by way of the whole.
func (d *disk) store(p []byte, off int64) error {
	for len(p) > 0 {
		k, whole := d.piece(off, int64(len(p)))
		var err error
		if !whole {
			err = d.change(p[:k], off)
		} else if _, err = d.cover.mark(off, k); err == nil {
			err = d.write(p[:k], off)
		}
		if err != nil {
			return err
		}
		p, off = p[k:], off+k
	}
	return nil
}

// erase zeroes a range of which nothing is held back.
func (d *disk) erase(off, n int64) error {
	for n > 0 {
		k, whole := d.piece(off, n)
		var err error
		if !whole {
			err = d.change(make([]byte, k), off)
		} else if _, err = d.cover.mark(off, k); err == nil {
			err = d.dev.Zero(off, k, d.keep)
		}
		if err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// piece tells the length of the part of a sector, or of the whole sectors, that [off, off+n) begins with.
func (d *disk) piece(off, n int64) (k int64, whole bool) {
	if in := off % d.sector; in != 0 || n < d.sector {
		return min(d.sector-in, n), false
	}
	return n / d.sector * d.sector, true
}

// change writes p into one sector. Others may do so at the same time. Of a sector that nobody wrote before, the rest
// becomes zeros.
func (d *disk) change(p []byte, off int64) error {
	start := off / d.sector * d.sector
	lock := &d.locks[start/d.sector%int64(len(d.locks))]
	lock.Lock()
	defer lock.Unlock()
	was, err := d.cover.mark(start, d.sector)
	if err != nil {
		return err
	}
	buf := d.sectors.TryGet()
	if buf == nil {
		buf = bufpool.Make(int(d.sector))
	} else {
		defer d.sectors.Put(buf)
	}
	if !was {
		clear(buf)
	} else if _, err := d.dev.ReadAt(buf, start); err != nil {
		return err
	}
	copy(buf[off-start:], p)
	_, err = d.dev.WriteAt(buf, start)
	return err
}

// write writes whole sectors, by way of aligned memory.
func (d *disk) write(p []byte, off int64) error {
	if bufpool.Aligned(p) {
		_, err := d.dev.WriteAt(p, off)
		return err
	}
	buf := d.chunks.TryGet()
	if buf == nil {
		buf = bufpool.Make(int(min(int64(len(p)), max(64<<10, d.sector))))
	} else {
		defer d.chunks.Put(buf)
	}
	for len(p) > 0 {
		n := copy(buf, p)
		if _, err := d.dev.WriteAt(buf[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// Commit zeroes what is left of the device, makes all of it durable and then writes what was held back. Until that
// begins it can be cancelled and tried again. After an error of the device it only repeats that.
func (d *disk) Commit(ctx context.Context, size int64) error {
	d.state.Lock()
	defer d.state.Unlock()
	switch {
	case d.closed.Load() || d.committed:
		return d.t.fail("commit", os.ErrClosed)
	case size < 0:
		return d.t.fail("commit", fmt.Errorf("size %d: %w", size, errdef.ErrUsage))
	}
	if err := tooSmall(d.size, size); err != nil {
		return d.t.fail("commit", err)
	}
	if err := d.failed.Load(); err != nil {
		return *err
	}
	err := d.fill(ctx, size)
	if cerr := ctx.Err(); cerr != nil {
		return d.t.fail("commit", cerr)
	}
	if err == nil {
		err = d.dev.Sync()
	}
	if err == nil {
		d.noteEnds()
		err = d.expose()
	}
	if err != nil {
		return d.broken("commit", err)
	}
	d.committed = true
	if d.t.notes != nil {
		_ = d.t.notes.drop() // without the token, which is written over, they say nothing
	}
	return nil
}

// fill zeroes what is behind size and what was never written.
func (d *disk) fill(ctx context.Context, size int64) error {
	// Behind the size, up to whole units, as from then on the cover speaks of these.
	edge := min(roundUp(size, d.cover.unit), d.size)
	if err := d.zero(size, edge-size); err != nil {
		return err
	}
	d.ends.Lock()
	d.held.cut(size)
	d.endsSeen.Add(1)
	d.ends.Unlock()
	if err := d.cover.settle(); err != nil {
		return err
	}
	d.cover.clearFrom(edge)
	for off := int64(0); ; {
		from, to := d.cover.next(off)
		if from == to {
			return nil
		}
		for from < to {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(max(zeroStep, d.cover.unit), to-from)
			if err := d.dev.Zero(from, n, d.keep); err != nil {
				return err
			}
			// Whole units, or up to the end: nothing becomes partial.
			if _, err := d.cover.mark(from, n); err != nil {
				return err
			}
			from += n
		}
		off = to
	}
}

// expose writes what was held back, from the last region to the first, and of that what is behind the first MiB, the MiB,
// and its first page at the very end, each durable before the next: whatever is recognised on the device is whole.
func (d *disk) expose() error {
	d.saving.Lock()
	d.exposed = true
	d.saving.Unlock()
	for i := len(d.held) - 1; i >= 0; i-- {
		r := d.held[i]
		head, page := 0, 0
		if i == 0 {
			head, page = min(heldBytes, len(r.data)), min(int(max(pageBytes, d.sector)), len(r.data))
		}
		for _, span := range [][2]int{{head, len(r.data)}, {page, head}, {0, page}} {
			if span[0] >= span[1] {
				continue
			}
			if _, err := d.dev.WriteAt(r.data[span[0]:span[1]], r.off+int64(span[0])); err != nil {
				return err
			}
			if err := d.dev.Sync(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close lets go of the device. Without a Commit nothing is recognised on it, and what else is there is for Open with Resume if
// it is to be kept, and else for nobody.
func (d *disk) Close() error {
	d.state.Lock()
	defer d.state.Unlock()
	if d.closed.Swap(true) {
		return nil
	}
	var errs []error
	if !d.committed {
		errs = append(errs, d.leave())
	}
	if d.t.notes != nil {
		d.t.notes.disk.CompareAndSwap(d, nil)
	}
	errs = append(errs, d.dev.Close())
	if err := errors.Join(errs...); err != nil {
		return d.explain("close", err)
	}
	return nil
}
