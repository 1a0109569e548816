package transfer

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

// advance does what the bytes that have passed allow. It is called for each piece of the stream and, with end, behind the last.
func (c *converter) advance(ctx context.Context, end bool) error {
	all := end
	for again := true; again; {
		if err := c.place(ctx, end); err != nil {
			return err
		}
		var err error
		if again, err = c.learn(all); err != nil {
			return err
		}
	}
	if c.complete {
		// Nothing unnamed is content any more; but what is open has not been named yet.
		keep := c.hold.pos
		for _, e := range c.open {
			keep = min(keep, e.stored)
		}
		c.hold.drop(keep)
	}
	if end && c.ahead.n > 0 {
		e := c.ahead.first()
		return c.o.readError(fmt.Errorf("data of guest offset %d, stored at %d (%d bytes), lies past the end of the stored file (%d bytes): %w",
			e.guest, e.stored, e.storedLength(), c.stored, errdef.ErrCorrupt))
	}
	if err := c.send(ctx); err != nil {
		return err
	}
	c.settle()
	c.hold.measure(c.flying)
	return nil
}

// settle names what workers have unpacked.
func (c *converter) settle() {
	for _, u := range c.ledger.take() {
		c.hold.name(u.off, u.off+int64(u.used))
		c.flying -= int64(u.most)
	}
}

// learn gives the learner the ranges that are there: those that end in the last piece, or with all any. It reports whether
// there may be more to do.
func (c *converter) learn(all bool) (again bool, err error) {
	if c.complete {
		return false, nil
	}
	h := &c.hold
	at := int64(0)
	if !all {
		at = max(0, h.pos-int64(c.pool.Size())-image.MaxWant)
	}
	for {
		r, ok := c.learner.Next(at)
		if !ok || r.Start >= h.pos {
			break
		}
		p, missing := c.gather(r.Start, r.Length)
		if missing >= 0 {
			// No range that begins before what is missing can be had, but one that has only to wait may hide others.
			at = r.Start + 1
			if missing == r.Start {
				if c.co.Again == nil {
					return false, c.o.readError(c.gone(missing))
				}
				at = max(at, c.available(missing))
			}
			continue
		}
		h.name(r.Start, r.End())
		if c.runs, err = c.learner.Learn(r, p, c.runs[:0]); err != nil {
			return false, c.o.readError(err)
		}
		c.progress++
		again = true
		c.remember(r.Start, p)
		if err := c.know(); err != nil {
			return false, err
		}
		if err := c.wait(c.runs); err != nil {
			return false, err
		}
		if len(c.runs) == 0 && !all {
			// It may have led to other tables, which may lie anywhere.
			all, at = true, 0
			continue
		}
		at = r.Start
	}
	if _, more := c.learner.Next(0); !more {
		c.complete = true
	}
	return again, nil
}

// available is the first offset from off on that is at hand.
func (c *converter) available(off int64) int64 {
	return c.spill.next(off, c.hold.next(off))
}

// gather returns n bytes at off, if they are at hand; else the first that is not. They are valid until the next call.
func (c *converter) gather(off, n int64) (p []byte, missing int64) {
	if off+n > c.hold.pos {
		return nil, c.hold.pos
	}
	if _, p := c.hold.at(off); int64(len(p)) >= n {
		return p[:n:n], -1
	}
	for at := off; at < off+n; {
		if k := c.have(at); k > 0 {
			at += k
			continue
		}
		return nil, at
	}
	if int64(cap(c.meta)) < n {
		c.meta = make([]byte, n)
	}
	p = c.meta[:n]
	if err := c.copy(p, off); err != nil {
		return nil, off
	}
	return p, -1
}

// have tells how many bytes from off on are at hand in one place.
func (c *converter) have(off int64) int64 {
	if _, p := c.hold.at(off); p != nil {
		return int64(len(p))
	}
	return c.spill.at(off)
}

// copy fills p with what was at off, all of which is at hand.
func (c *converter) copy(p []byte, off int64) error {
	for len(p) > 0 {
		var n int
		if _, q := c.hold.at(off); q != nil {
			n = copy(p, q)
		} else {
			n = int(min(int64(len(p)), c.spill.at(off)))
			if err := c.spill.read(p[:n], off); err != nil {
				return err
			}
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// know asks for the virtual size as soon as it is known.
func (c *converter) know() error {
	if c.size >= 0 || c.learner.Size() < 0 {
		return nil
	}
	c.size = c.learner.Size()
	if c.co.Size == nil {
		return nil
	}
	return c.co.Size(c.size)
}

// wait puts runs to those whose bytes come, even if they have passed.
func (c *converter) wait(runs []image.Run) error {
	stored := c.stored
	if stored < 0 {
		stored = math.MaxInt64 / 2
	}
	for _, r := range runs {
		if r.Packed && r.StoredLength > c.co.Hold*3/4 {
			return c.o.readError(fmt.Errorf("packed run at guest offset %d is stored in %d bytes, more than can be held: %w", r.Guest, r.StoredLength, errdef.ErrUnsupported))
		}
		n := c.ahead.n
		if err := c.o.left(r, c.size, func(r image.Run) error { return c.ahead.add(r, c.size, stored) }, c.kept); err != nil {
			return c.o.readError(err)
		}
		for ; n < c.ahead.n; n++ {
			c.ahead.up(n)
		}
	}
	return c.bounded()
}

// bounded checks how many runs wait.
func (c *converter) bounded() error {
	n := int64(c.ahead.n + c.missed.n + len(c.open))
	if n*entrySize <= c.o.MaxIndex {
		return nil
	}
	return errdef.WithHint(c.o.readError(fmt.Errorf("%d runs of data wait for their bytes, above the limit of %d bytes: %w", n, c.o.MaxIndex, errdef.ErrLimit)),
		"raise --max-metadata, or fetch the image to a file first")
}

// place sends the runs whose bytes have passed to the workers.
func (c *converter) place(ctx context.Context, end bool) error {
	c.open = slices.DeleteFunc(c.open, func(e entry) bool { // they are few
		if !end && e.storedEnd() > c.hold.pos {
			return false
		}
		c.ahead.enqueue(e)
		return true
	})
	for e := c.ahead.first(); e != nil && e.stored < c.hold.pos; e = c.ahead.first() {
		e := c.ahead.dequeue()
		var err error
		if e.packed != 0 {
			err = c.packed(ctx, e, end)
		} else {
			err = c.plain(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// plain places what of e is at hand; the rest waits.
func (c *converter) plain(ctx context.Context, e entry) error {
	part := func(off, n int64) entry {
		return entry{guest: e.guest + off - e.stored, stored: off, length: uint32(n)}
	}
	end := min(e.storedEnd(), c.hold.pos)
	for off := e.stored; off < end; {
		b, p := c.hold.at(off)
		n := int64(len(p))
		if p == nil {
			n = c.spill.at(off)
		}
		if n == 0 {
			n = min(c.available(off), end) - off
			if err := c.miss(part(off, n)); err != nil {
				return err
			}
			off += n
			continue
		}
		n = min(n, end-off)
		if p != nil {
			p = p[:n]
		}
		if err := c.give(ctx, b, item{part(off, n), p}); err != nil {
			return err
		}
		off += n
	}
	c.hold.name(e.stored, end)
	if end < e.storedEnd() {
		c.ahead.enqueue(part(end, e.storedEnd()-end))
	}
	return nil
}

// packed places e if all of it is at hand.
func (c *converter) packed(ctx context.Context, e entry, end bool) error {
	if e.storedEnd() > c.hold.pos {
		if !end {
			c.open = append(c.open, e)
			return nil
		}
		e.packed = uint32(c.hold.pos - e.stored) // an upper bound that passes the end
	}
	n := e.storedLength()
	b, p := c.hold.at(e.stored)
	switch {
	case int64(len(p)) >= n:
		p = p[:n]
	case p == nil && c.spill.at(e.stored) >= n:
	default:
		for at := e.stored; at < e.storedEnd(); {
			k := c.have(at)
			if k == 0 {
				return c.miss(e)
			}
			at += k
		}
		b, p = nil, make([]byte, n)
		if err := c.copy(p, e.stored); err != nil {
			return err
		}
	}
	// It is named when it is known how many of these bytes it has: what only rounds them up may be the next run's.
	c.flying += n
	return c.give(ctx, b, item{e, p})
}

// miss leaves e for another pass.
func (c *converter) miss(e entry) error {
	if c.co.Again == nil {
		return c.o.readError(c.gone(e.stored))
	}
	c.missed.push(e)
	return c.bounded()
}
