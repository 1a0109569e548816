package transfer

import (
	"context"

	"github.com/cdictl/cdictl/lib/image"
)

// A task is runs whose bytes are at hand: in one slab of the hold, in memory of their own, or in the spool.
type task struct {
	slab  *slab // may be nil
	items []item
	bytes int64 // that are not in slab
}

// An item is a run and its stored bytes; nil: they are in the spool.
type item struct {
	entry
	p []byte
}

const (
	// taskItems and taskBytes bound what a task has beside its slab.
	taskItems = 4096
	taskBytes = 1 << 20
)

// give adds a run, whose bytes are in b if that is not nil, to the task that is put together.
func (c *converter) give(ctx context.Context, b *slab, it item) error {
	c.progress++
	t := c.task
	if t != nil && (len(t.items) >= taskItems || t.bytes >= taskBytes || b != nil && t.slab != nil && t.slab != b) {
		if err := c.send(ctx); err != nil {
			return err
		}
		t = nil
	}
	if t == nil {
		t = new(task)
		c.task = t
	}
	if b == nil {
		t.bytes += it.storedLength()
	} else if t.slab == nil {
		t.slab = b
		b.refs.Add(1)
	}
	t.items = append(t.items, it)
	return nil
}

// send hands the task that is put together to a worker.
func (c *converter) send(ctx context.Context) error {
	t := c.task
	if t == nil {
		return nil
	}
	c.task = nil
	c.ledger.begin()
	select {
	case c.tasks <- t:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sized is a learner as one worker sees it: its size is known and may be asked for while another goroutine learns, and
// what it unpacked last is measured.
type sized struct {
	image.Learner
	measurer image.Measurer // nil: StoredLength is no upper bound
	size     int64
	used     int
}

func (c *converter) sized() *sized {
	m, _ := c.learner.(image.Measurer)
	return &sized{c.learner, m, c.size, 0}
}

func (s *sized) Size() int64 { return s.size }

func (s *sized) Unpack(dst, stored []byte) (err error) {
	if s.used = len(stored); s.measurer == nil {
		return s.Learner.Unpack(dst, stored)
	}
	s.used, err = s.measurer.UnpackMeasured(dst, stored)
	return err
}

// work places the runs of tasks.
func (c *converter) work(ctx context.Context, lane int) error {
	w := worker{c: c}
	for t := range c.tasks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if w.placer == nil { // the size is known now
			w.learner = c.sized()
			w.placer = newPlacer(&c.writer, w.learner, 0, lane)
		}
		for _, it := range t.items {
			if err := w.item(it); err != nil {
				return err
			}
		}
		if err := w.flush(); err != nil {
			return err
		}
		if t.slab != nil {
			c.hold.release(t.slab)
		}
		c.ledger.end(w.done)
		w.done = w.done[:0]
	}
	return nil
}

type worker struct {
	*placer
	c       *converter
	learner *sized
	buf     []byte // from the spool
	done    []unpacked
}

func (w *worker) item(it item) error {
	if it.packed == 0 {
		if it.p == nil {
			return w.unspool(it.entry)
		}
		return w.place(it.entry, it.p)
	}
	if err := w.fit(int64(it.length)); err != nil {
		return err
	}
	p := it.p
	if p == nil {
		var err error
		if p, err = w.spooled(it.stored, it.storedLength()); err != nil {
			return err
		}
	}
	if err := w.place(it.entry, p); err != nil {
		return err
	}
	w.done = append(w.done, unpacked{it.stored, uint32(w.learner.used), it.packed})
	return nil
}

// spooled reads n bytes at off from the spool. They are valid until the next call.
func (w *worker) spooled(off, n int64) ([]byte, error) {
	if int64(len(w.buf)) < n {
		w.buf = make([]byte, max(n, maxPiece))
	}
	p := w.buf[:n]
	return p, w.c.spill.read(p, off)
}

// unspool places a plain run from the spool.
func (w *worker) unspool(e entry) error {
	for e.length > 0 {
		part := e
		part.length = min(e.length, maxPiece)
		p, err := w.spooled(part.stored, part.storedLength())
		if err != nil {
			return err
		}
		if err := w.place(part, p); err != nil {
			return err
		}
		n := int64(part.length)
		e.guest, e.stored, e.length = e.guest+n, e.stored+n, e.length-part.length
	}
	return nil
}
