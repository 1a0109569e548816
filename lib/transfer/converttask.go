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
	select {
	case c.tasks <- t:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sized is a learner whose size is known: it may be asked for it while another goroutine learns.
type sized struct {
	image.Learner
	size int64
}

func (s sized) Size() int64 { return s.size }

// work places the runs of tasks.
func (c *converter) work(ctx context.Context, lane int) error {
	var l *placer
	var buf []byte
	for t := range c.tasks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if l == nil {
			l = newPlacer(&c.writer, sized{c.learner, c.size}, 0, lane)
		}
		for _, it := range t.items {
			if it.packed != 0 {
				if err := l.fit(int64(it.length)); err != nil {
					return err
				}
			}
			if it.p != nil {
				if err := l.place(it.entry, it.p); err != nil {
					return err
				}
				continue
			}
			if err := c.unspool(l, it.entry, &buf); err != nil {
				return err
			}
		}
		if err := l.flush(); err != nil {
			return err
		}
		if t.slab != nil {
			c.hold.release(t.slab)
		}
	}
	return nil
}

// unspool places a run from the spool, a plain one in pieces.
func (c *converter) unspool(l *placer, e entry, buf *[]byte) error {
	for n := e.storedLength(); n > 0; n = e.storedLength() {
		if e.packed == 0 {
			n = min(n, maxPiece)
		}
		if int64(len(*buf)) < n {
			*buf = make([]byte, max(n, maxPiece))
		}
		p := (*buf)[:n]
		if err := c.spill.read(p, e.stored); err != nil {
			return err
		}
		part := e
		if e.packed == 0 {
			part.length = uint32(n)
		}
		if err := l.place(part, p); err != nil {
			return err
		}
		if e.packed != 0 {
			return nil
		}
		e.guest, e.stored, e.length = e.guest+n, e.stored+n, e.length-uint32(n)
	}
	return nil
}
