package transfer

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/bufpool"
	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/sink"
)

const (
	// MaxPasses is how often Convert reads a stream at most. Tables that each lead to others before them, and then to data
	// before those, as a qcow2 with a snapshot at its worst, take four.
	MaxPasses = 4
	// DefaultHold is how much of a stream Convert holds in memory.
	DefaultHold = 16 << 20

	maxPiece = 1 << 20
	minPiece = 4 << 10
	holdLen  = 16 // slabs
)

// ConvertOptions of Convert, beside Options.
type ConvertOptions struct {
	// Hold is how many stored bytes are held in memory while no table has named them. Default DefaultHold.
	Hold int64
	// Again begins another pass over the same bytes. Nil: they come only once.
	Again func(ctx context.Context) (io.Reader, error)
	// Spool makes the file for what was held too long, when it is first needed; it is asked for only if Again is nil. It is
	// told how many bytes that may become, -1 if Stored is not known. Nil: there is none.
	Spool func(most int64) (SpoolFile, error)
	// Stored is the length of the stream; 0 or less: only its end tells.
	Stored int64
	// Size is told the virtual size once, before anything is written. May be nil.
	Size func(size int64) error
	// Max is the longest stream, 0: no bound. A longer one ends in TooLarge.
	Max      int64
	TooLarge error
	// From, if not nil, is what Save was told in an earlier run, and checked with Check: the first stream begins at From.Pos,
	// and Options.Done has what was written by then.
	From *journal.Point
	// Due is asked now and then whether to Save, with what it takes to go on from where the stream is. Nil: never.
	Due  func() bool
	Save func(*journal.Point) error
}

// Converted tells what Convert did.
type Converted struct {
	Stats
	Size    int64 // of the disk
	Stored  int64 // length of the stream
	Passes  int
	HeldMax int64 // most bytes that were held in memory at a time
	Spooled int64
}

// Convert writes the disk whose stored file comes as the stream r to dst: a run is written when its bytes pass, if l has
// learnt of it by then. Other bytes are held in memory; if more than ConvertOptions.Hold wait, the oldest are left for
// another pass or written to a spool. r is read to its end in each pass, from one goroutine, and each pass must bring the
// same bytes. What no run names is not written: dst must be new, so that it reads as zeros, and not Ordered.
func Convert(ctx context.Context, dst sink.Sink, r io.Reader, l image.Learner, co ConvertOptions, o Options) (Converted, error) {
	o = o.withDefaults()
	if co.Hold <= 0 {
		co.Hold = DefaultHold
	}
	piece := min(max(co.Hold/holdLen&^(minPiece-1), minPiece), maxPiece)
	most := max(int(co.Hold/piece), 2)
	tasks := o.Workers // in the channel
	c := &converter{
		writer: writer{dst: dst, o: o}, co: co, learner: l, size: -1, stored: -1,
		// Beside what is held: two with the reader, one for moving together, and those of tasks under way.
		pool:  bufpool.New(int(piece), most+3+o.Workers+tasks+1),
		tasks: make(chan *task, tasks),
		seed:  maphash.MakeSeed(),
		spill: spill{most: int(o.MaxIndex / entrySize)},
	}
	c.ledger.init()
	c.hold = hold{pool: c.pool, most: most, evict: c.evict}
	c.saves = co.Due != nil
	group, gctx := o.group(ctx)
	c.spawn = group.Go
	group.Go(func() error {
		defer close(c.tasks)
		return c.run(gctx, r)
	})
	for lane := range o.Workers {
		group.Go(func() error { return c.work(gctx, lane) })
	}
	err := group.Wait()
	if err == nil && c.size >= 0 {
		rest := c.size - c.stats.data.Load() - c.stats.zero.Load() - c.stats.kept.Load()
		c.stats.zero.Add(rest)
		o.Tracker.AddVirtual(rest)
	}
	return Converted{Stats: c.stats.stats(), Size: c.size, Stored: c.stored, Passes: c.passes, HeldMax: c.hold.max, Spooled: c.spill.bytes}, err
}

// converter is one Convert under way. All but work is one goroutine's.
type converter struct {
	writer
	co      ConvertOptions
	learner image.Learner
	size    int64
	pool    *bufpool.Pool
	tasks   chan *task
	spawn   func(func() error)

	hold     hold
	spill    spill
	lost     bool  // something that no run had named is gone
	complete bool  // the map of the disk is
	ahead    index // runs whose bytes come, a heap
	open     []entry
	missed   index // runs whose bytes are gone, for another pass
	flying   int64 // stored bytes of packed runs that were sent to workers
	ledger   ledger
	task     *task // being put together
	progress int   // ranges learnt and runs placed in this pass
	meta     []byte
	runs     []image.Run

	passes int
	stored int64 // length of the stream, -1 before its first end
	seed   maphash.Seed
	sum    uint64 // of the first pass, from where it began

	saves   bool // it can be gone on with
	learnt  []journal.Bytes
	learned int64          // bytes of those
	point   *journal.Point // that was saved last
}

// run makes the passes.
func (c *converter) run(ctx context.Context, r io.Reader) error {
	if err := c.resume(); err != nil {
		return err
	}
	for {
		c.passes++
		if err := c.pass(ctx, r); err != nil {
			return err
		}
		want, incomplete := c.learner.Next(0)
		if !incomplete && c.missed.n == 0 {
			if err := c.know(); err != nil {
				return err
			}
			return c.o.readError(c.learner.Finish(c.stored))
		}
		switch {
		case incomplete && want.End() > c.stored:
			return c.o.readError(fmt.Errorf("metadata at %d (%d bytes) lies past the end of the stored file (%d bytes): %w",
				want.Start, want.Length, c.stored, errdef.ErrCorrupt))
		case c.co.Again == nil:
			return c.o.readError(c.gone(want.Start))
		case c.passes == MaxPasses || c.progress == 0 && (c.co.From == nil || c.passes > 1): // what was left of the first may have had nothing
			return c.o.readError(errdef.WithHint(fmt.Errorf("what tells where the data lies comes too late in the stream, also after %d passes: %w", c.passes, errdef.ErrUnsupported),
				"fetch the image to a file first"))
		}
		c.ahead, c.missed = c.missed, index{}
		c.ahead.sort()
		c.hold.drop(c.hold.pos)
		c.hold.pos = 0
		var err error
		if r, err = c.co.Again(ctx); err != nil {
			return c.o.readError(err)
		}
	}
}

// gone says that the bytes at off would be needed once more.
func (c *converter) gone(off int64) error {
	if !c.lost {
		return errdef.WithHint(fmt.Errorf("the stored bytes at %d belong to two places of the disk, too far apart in the stream: %w", off, errdef.ErrUnsupported),
			"fetch the image to a file first")
	}
	return errdef.WithHint(fmt.Errorf("what tells that the stored bytes at %d are data came more than %d bytes later, and the stream comes only once: %w", off, c.co.Hold, errdef.ErrScratchNeeded),
		"name a folder with room for the image as stored: --scratch DIR")
}

// pass lets the stream pass once.
func (c *converter) pass(ctx context.Context, r io.Reader) error {
	c.progress = 0
	_, more := c.learner.Next(0)
	c.complete = !more
	p := &passing{r: r, off: c.hold.pos, pieces: make(chan chunk, 1)}
	c.spawn(func() error {
		defer close(p.pieces)
		p.sum, p.err = c.read(ctx, p)
		return nil // pass returns it: whoever is first tells the cause
	})
	for k := range c.each(ctx, p.pieces) {
		if k.buf == nil { // nothing came for a while
			if err := c.save(ctx); err != nil {
				return err
			}
			continue
		}
		if err := c.makeRoom(ctx); err != nil {
			return err
		}
		c.hold.add(k.buf, k.n)
		if err := c.advance(ctx, false); err != nil {
			return err
		}
		if err := c.save(ctx); err != nil {
			return err
		}
	}
	if p.err != nil {
		return p.err
	}
	if c.stored < 0 {
		c.stored, c.sum = c.hold.pos, p.sum
	} else if c.stored != c.hold.pos || c.sum != p.sum {
		return c.o.readError(fmt.Errorf("the stream of pass %d is not that of the first (%d bytes, %d): %w", c.passes, c.hold.pos, c.stored, errdef.ErrChanged))
	}
	return c.advance(ctx, true)
}

// passing is a pass, as its reader sees it.
type passing struct {
	r      io.Reader
	off    int64 // where r begins
	pieces chan chunk
	sum    uint64 // of all bytes; valid, as is err, once pieces is closed
	err    error
}

type chunk struct {
	buf []byte
	n   int
}

func (c *converter) read(ctx context.Context, p *passing) (uint64, error) {
	var h maphash.Hash
	h.SetSeed(c.seed)
	for off := p.off; ; {
		buf, err := c.pool.Get(ctx)
		if err != nil {
			return 0, err
		}
		end := c.o.Trace.Span("fetch", "stream", 0, off, int64(len(buf)))
		n, err := fill(p.r, buf)
		end()
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return 0, c.o.readError(err)
		}
		if off += int64(n); c.co.Max > 0 && off > c.co.Max {
			return 0, c.o.readError(c.co.TooLarge)
		}
		if c.co.Again != nil {
			// Of what an earlier run has read, the source's identity is all that is known.
			h.Write(buf[min(max(c.began()-(off-int64(n)), 0), int64(n)):n])
		}
		if n == 0 {
			c.pool.Put(buf)
		} else {
			select {
			case p.pieces <- chunk{buf, n}:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		if last {
			return h.Sum64(), nil
		}
	}
}
