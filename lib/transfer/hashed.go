package transfer

import (
	"bytes"
	"context"
	"fmt"
	"hash"
	"sort"
	"sync/atomic"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/bufpool"
	"github.com/cdictl/cdictl/lib/sink"
)

// CopyHashed writes img to dst like CopyStored, but reads the whole file, once and in order, into h as well. What was
// placed is what was hashed: seen must be the Witness that img was opened through, and its bytes must come again.
// The caller compares h's sum before it commits. dst must not be Ordered.
func CopyHashed(ctx context.Context, dst sink.Sink, img image.Mapper, file File, seen *Witness, h hash.Hash, ho HashedOptions, o Options) (Stats, error) {
	o = o.withDefaults()
	o.Done = nil // what counts is how far the hash has come
	c := &hasher{writer: writer{dst: dst, o: o}, ho: ho, img: img, file: file, hash: h}
	// The whole index at once: a second filling would need a second pass over the file.
	batch := int(o.MaxIndex/entrySize) + 1
	full := false
	err := eachBatch(img, file.Size, batch, &c.writer, &c.index, func() error {
		if full || c.index.Len() >= batch {
			return errdef.WithHint(o.readError(fmt.Errorf("the image has more than %d separate runs, the index of which would pass the limit of %d bytes: %w", batch-1, o.MaxIndex, errdef.ErrLimit)),
				"raise --max-metadata, or verify the file first and import it without --checksum")
		}
		full = true
		c.index.sort()
		return nil
	})
	if err == nil {
		err = c.begin(ctx, seen.replay())
	}
	if err != nil {
		o.Abort()
	}
	return c.stats.stats(), err
}

// HashedOptions of CopyHashed, beside Options. The zero value is useful.
type HashedOptions struct {
	// From is where h stands: an earlier run has placed and hashed what lies before. Tables is what Save was told with it.
	From   int64
	Tables []byte
	// Due is asked now and then whether to Save, which is told how far the file is placed and hashed, how much behind that
	// was read already, and the sum of the tables by which it was. Nil: never.
	Due  func() bool
	Save func(off, ahead int64, tables []byte) error
}

// hasher reads the file in pieces of o.Fetch bytes. The goroutine that read a piece places the entries that lie in it;
// those that cross into the next piece are placed by the one goroutine that sees the pieces in order, for the hash.
type hasher struct {
	writer
	ho    HashedOptions
	img   image.Mapper
	file  File
	hash  hash.Hash
	index index
	pool  *bufpool.Pool
	read  atomic.Int64 // bytes of pieces that are here
}

type piece struct {
	off  int64
	data []byte
	err  error
	// ready is closed when data or err is set; placed when the entries inside are written.
	ready, placed chan struct{}
}

// begin starts at ho.From, if the tables are those that were compared with what was hashed before it.
func (c *hasher) begin(ctx context.Context, seen *replay) error {
	from := c.ho.From
	if from > 0 {
		if !bytes.Equal(seen.tables, c.ho.Tables) || !seen.skip(from) {
			return c.o.readError(fmt.Errorf("the tables are not those of the import that was interrupted: %w", errdef.ErrChanged))
		}
		for i := range c.index.Len() {
			e := c.index.at(i)
			if e.storedEnd() <= from {
				c.kept(int64(e.length))
			} else if e.packed == 0 && e.stored < from {
				c.kept(from - e.stored)
			}
		}
	}
	return c.run(ctx, seen)
}

func (c *hasher) run(ctx context.Context, seen *replay) error {
	o := c.o
	// A packed run must not cross more than one border.
	size := max(o.Fetch, c.index.maxPacked)
	workers := max(o.InFlight, o.Workers)
	c.pool = bufpool.New(int(size), workers+1)

	group, gctx := o.group(ctx)
	tasks := make(chan *piece)
	order := make(chan *piece, workers)
	group.Go(func() error {
		defer close(tasks)
		defer close(order)
		for off := c.ho.From; off < c.file.Size; off += size {
			buf, err := c.pool.Get(gctx)
			if err != nil {
				return err
			}
			p := &piece{off: off, data: buf[:min(size, c.file.Size-off)], ready: make(chan struct{}), placed: make(chan struct{})}
			for _, ch := range []chan *piece{order, tasks} {
				select {
				case ch <- p:
				case <-gctx.Done():
					return gctx.Err()
				}
			}
		}
		return nil
	})
	for lane := range workers {
		group.Go(func() error {
			l := newPlacer(&c.writer, c.img, c.index.maxUnpacked, lane)
			for p := range tasks {
				if err := c.piece(p, l); err != nil {
					return err
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		return c.inOrder(gctx, order, seen, newPlacer(&c.writer, c.img, c.index.maxUnpacked, workers))
	})
	return group.Wait()
}

// piece reads p and places the entries that end in it.
func (c *hasher) piece(p *piece, l *placer) error {
	end := c.o.Trace.Span("fetch", "range", l.lane, p.off, int64(len(p.data)))
	err := readFull(c.file, p.data, p.off)
	end()
	if err != nil {
		p.err = c.o.readError(err)
	}
	c.read.Add(int64(len(p.data)))
	close(p.ready)
	if p.err != nil {
		return p.err
	}
	for i, stop := c.first(p.off), p.off+int64(len(p.data)); i < c.index.Len(); i++ {
		e := *c.index.at(i)
		if e.stored >= stop {
			break
		}
		e, ok := e.within(p.off, stop)
		if !ok {
			continue
		}
		if err := l.place(e, p.data[e.stored-p.off:][:e.storedLength()]); err != nil {
			return err
		}
	}
	if err := l.flush(); err != nil {
		return err
	}
	close(p.placed)
	return nil
}

// first is the index of the first entry that may reach past off.
func (c *hasher) first(off int64) int {
	reach := max(c.index.maxPacked, c.index.maxPlain)
	return sort.Search(c.index.Len(), func(i int) bool { return c.index.at(i).stored+reach > off })
}

// within cuts a plain entry to [off, end); a packed one is in it whole or not at all.
func (e entry) within(off, end int64) (entry, bool) {
	if e.packed != 0 {
		return e, e.stored >= off && e.storedEnd() <= end
	}
	if k := off - e.stored; k > 0 {
		if k >= int64(e.length) {
			return e, false
		}
		e.guest, e.stored, e.length = e.guest+k, off, e.length-uint32(k)
	}
	if e.storedEnd() > end {
		e.length = uint32(end - e.stored)
	}
	return e, e.length > 0
}

// save tells, if it is time, that all before at is placed and hashed. A table that lies on both sides is compared first.
func (c *hasher) save(at int64, seen *replay) error {
	if c.ho.Due == nil || at == 0 || at >= c.file.Size || len(seen.active) > 0 || !c.ho.Due() {
		return nil
	}
	return c.o.writeError(c.ho.Save(at, c.ho.From+c.read.Load()-at, seen.tables))
}

// await waits for ready. What is written meanwhile is saved, too.
func (c *hasher) await(ctx context.Context, ready <-chan struct{}, at int64, seen *replay) error {
	tick := time.NewTicker(waiting)
	defer tick.Stop()
	for {
		select {
		case <-ready:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := c.save(at, seen); err != nil {
				return err
			}
		}
	}
}

// inOrder hashes the pieces and places the packed entries that cross from one into the next.
func (c *hasher) inOrder(ctx context.Context, order <-chan *piece, seen *replay, l *placer) error {
	var tail []byte // the end of the piece before: what entries that cross need of it
	next := 0       // first entry that may cross the border ahead
	if n := min(c.ho.From, c.index.maxPacked); n > 0 {
		tail = make([]byte, n)
		if err := readFull(c.file, tail, c.ho.From-n); err != nil {
			return c.o.readError(err)
		}
	}
	at := c.ho.From // all before it is placed and hashed
	for p := range order {
		if err := c.await(ctx, p.ready, at, seen); err != nil {
			return err
		}
		if p.err != nil {
			return p.err
		}
		for ; next < c.index.Len() && c.index.at(next).stored < p.off; next++ {
			e := *c.index.at(next)
			if e.packed == 0 || e.storedEnd() <= p.off {
				continue
			}
			from := int64(len(tail)) - (p.off - e.stored)
			stitched := append(tail[from:len(tail):len(tail)], p.data[:e.storedEnd()-p.off]...)
			if err := l.place(e, stitched); err != nil {
				return err
			}
		}
		if err := l.flush(); err != nil {
			return err
		}
		end := c.o.Trace.Span("hash", "hash", l.lane, p.off, int64(len(p.data)))
		c.hash.Write(p.data)
		end()
		if err := seen.pass(p.data); err != nil {
			return c.o.readError(err)
		}
		keep := min(int64(len(p.data)), c.index.maxPacked)
		tail = append(tail[:0], p.data[int64(len(p.data))-keep:]...)
		select {
		case <-p.placed:
		case <-ctx.Done():
			return ctx.Err()
		}
		at = p.off + int64(len(p.data))
		c.pool.Put(p.data)
		if err := c.save(at, seen); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.o.readError(seen.done())
}
