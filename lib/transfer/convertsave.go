package transfer

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/journal"
)

// maxSaved bounds what a record has of a stream: tables that were learnt, and what is held. Beyond it the last record stays.
// Each MiB of it takes some five of memory, by copies and until they are collected; 6 MiB are the tables of 48 GiB of data in
// clusters of 64 KiB.
const maxSaved = 6 << 20

// remember keeps what the learner was given, so that another can be given it again.
func (c *converter) remember(off int64, p []byte) {
	if !c.saves {
		return
	}
	if c.learned += int64(len(p)); c.learned > maxSaved {
		c.saves, c.learnt = false, nil // the record that there is stays true
		return
	}
	c.learnt = append(c.learnt, journal.Bytes{Off: off, Data: bytes.Clone(p)})
}

// save tells how to go on from here. Nothing may be under way then: what was read and is neither written nor held would be
// lost.
func (c *converter) save(ctx context.Context) error {
	if !c.saves || !c.co.Due() {
		return nil
	}
	if err := c.send(ctx); err != nil {
		return err
	}
	c.ledger.wait(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	c.settle()
	if c.passes > 1 {
		// Where the first pass was is where the next run begins; what is written meanwhile it need not write again.
		if c.point != nil {
			return c.o.writeError(c.co.Save(c.point))
		}
		return nil
	}
	if c.learned+c.hold.live > maxSaved {
		return nil
	}
	c.point = &journal.Point{Pos: c.hold.pos, Learnt: slices.Clone(c.learnt), Held: c.hold.copy()}
	return c.o.writeError(c.co.Save(c.point))
}

// waiting is how often somebody who waits for bytes asks whether to save.
const waiting = time.Second

// each yields pieces, and where the import is saved now and then an empty one while none comes.
func (c *converter) each(ctx context.Context, pieces <-chan chunk) iter.Seq[chunk] {
	return func(yield func(chunk) bool) {
		var tick <-chan time.Time
		if c.saves {
			t := time.NewTicker(waiting)
			defer t.Stop()
			tick = t.C
		}
		for {
			select {
			case k, ok := <-pieces:
				if !ok || !yield(k) {
					return
				}
			case <-tick:
				if ctx.Err() == nil && !yield(chunk{}) {
					return
				}
			}
		}
	}
}

// copy is what is live.
func (h *hold) copy() (list []journal.Bytes) {
	for _, b := range h.slabs {
		for _, s := range b.live {
			for off := s.off; off < s.end(); {
				p := b.bytes(off)
				p = p[:min(int64(len(p)), s.end()-off)]
				list = append(list, journal.Bytes{Off: off, Data: bytes.Clone(p)})
				off += int64(len(p))
			}
		}
	}
	return list
}

// Check says whether p can be gone on with: whether l, which is used up by it, would have asked for what it was given.
func Check(l image.Learner, p *journal.Point) error {
	if _, err := relearn(l, p, nil); err != nil {
		return err
	}
	at := int64(0)
	for _, x := range p.Held {
		if x.Off < at || len(x.Data) == 0 || int64(len(x.Data)) > p.Pos-x.Off {
			return fmt.Errorf("what was held of the stream at %d is out of place: %w", x.Off, errdef.ErrCorrupt)
		}
		at = x.Off + int64(len(x.Data))
	}
	return nil
}

func relearn(l image.Learner, p *journal.Point, runs []image.Run) (_ []image.Run, err error) {
	for _, x := range p.Learnt {
		r, ok := l.Next(x.Off)
		if !ok || r.Start != x.Off || r.Length != int64(len(x.Data)) {
			return nil, fmt.Errorf("nobody would have asked for %d bytes at %d of the stream: %w", len(x.Data), x.Off, errdef.ErrCorrupt)
		}
		if runs, err = l.Learn(r, x.Data, runs); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// began is where the first pass began.
func (c *converter) began() int64 {
	if c.co.From == nil {
		return 0
	}
	return c.co.From.Pos
}

// resume makes the converter what it was when co.From was saved.
func (c *converter) resume() error {
	p := c.co.From
	if p == nil {
		return nil
	}
	for _, x := range p.Learnt {
		runs, err := relearn(c.learner, &journal.Point{Learnt: []journal.Bytes{x}}, c.runs[:0])
		if err != nil {
			return c.o.readError(err)
		}
		c.runs = runs
		c.remember(x.Off, x.Data)
		if err := c.know(); err != nil {
			return err
		}
		if err := c.wait(runs); err != nil {
			return err
		}
	}
	c.hold.restore(p)
	c.lost = true // so much of the stream as is not held
	return nil
}

// restore takes what was live; what there is no room for is gone, as if it had waited too long.
func (h *hold) restore(p *journal.Point) {
	h.pos = p.Pos
	var b *slab
	used := 0
	for _, x := range p.Held {
		for off, data := x.Off, x.Data; len(data) > 0; {
			if b == nil || used == len(b.buf) {
				var buf []byte
				if len(h.slabs) < h.most-1 {
					buf = h.pool.TryGet()
				}
				if buf == nil {
					return
				}
				b, used = &slab{buf: buf}, 0
				b.refs.Store(1)
				h.slabs = append(h.slabs, b)
			}
			n := copy(b.buf[used:], data)
			b.has = append(b.has, held{off, used, n})
			b.live = append(b.live, span{off, int64(n)})
			h.live += int64(n)
			used, off, data = used+n, off+int64(n), data[n:]
		}
	}
}
