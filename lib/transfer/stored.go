package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/bufpool"
	"github.com/cdictl/cdictl/lib/sink"
)

// A File is a stored image: what the runs of a Mapper point into.
type File struct {
	io.ReaderAt
	Size int64
}

// maxGap is what is read and dropped between two runs rather than begin another request: at 1 Gbit/s a round trip of
// 20 ms is worth 2.5 MB, but what is dropped costs the server, too.
const maxGap = 256 << 10

// CopyStored writes img to dst, reading file in its stored order: neighbouring runs together in large reads, several
// in flight, allocated data only. It suits remote files. dst must not be Ordered.
func CopyStored(ctx context.Context, dst sink.Sink, img image.Mapper, file File, o Options) (Stats, error) {
	o = o.withDefaults()
	w := &writer{dst: dst, o: o}
	var x index
	batch := int(o.MaxIndex / entrySize)
	err := eachBatch(img, file.Size, batch, w, &x, func() error {
		x.sort()
		return w.fetchIndex(ctx, img, file, &x)
	})
	if err != nil {
		o.Abort()
	}
	return w.stats.stats(), err
}

// eachBatch fills x with up to batch runs at a time, in guest order, zeroes the stretches between them, and calls do for
// each filling.
func eachBatch(img image.Mapper, fileSize int64, batch int, w *writer, x *index, do func() error) error {
	size := img.Size()
	done := int64(0) // guest bytes before it are zeroed or have a run
	for r, err := range img.Runs(0, size) {
		if err != nil {
			return w.o.readError(err)
		}
		if r.Guest < done {
			return w.o.readError(fmt.Errorf("run at %d begins before %d: %w", r.Guest, done, errdef.ErrCorrupt))
		}
		if err := w.o.left(r, size, func(r image.Run) error { return x.add(r, size, fileSize) }, w.kept); err != nil {
			return w.o.readError(err)
		}
		if err := w.zero(done, r.Guest-done); err != nil {
			return err
		}
		done = min(r.Guest+r.Length, size)
		if x.Len() >= batch {
			if err := do(); err != nil {
				return err
			}
			x.reset()
		}
	}
	if err := w.zero(done, size-done); err != nil {
		return err
	}
	if x.Len() == 0 {
		return nil
	}
	return do()
}

// left calls add for what of r, of an image of size bytes, is not done, and kept for the lengths that are. A packed run is done
// as a whole or not at all.
func (o Options) left(r image.Run, size int64, add func(image.Run) error, kept func(int64)) error {
	if o.Done == nil || r.Guest < 0 || r.Length <= 0 { // what cannot be is for add to say
		return add(r)
	}
	if r.Packed || r.StoredLength != r.Length {
		if n := min(r.Length, size-r.Guest); n > 0 && o.has(r.Guest, n) {
			kept(n)
			return nil
		}
		return add(r)
	}
	for r.Length > 0 {
		part := r
		in, n := o.Done.At(r.Guest)
		part.Length = min(n, r.Length)
		part.StoredLength = part.Length
		if in {
			kept(part.Length)
		} else if err := add(part); err != nil {
			return err
		}
		r.Guest, r.Stored, r.Length = r.Guest+part.Length, r.Stored+part.Length, r.Length-part.Length
		r.StoredLength = r.Length
	}
	return nil
}

// A fetch is one read of the file and the entries whose bytes it brings.
type fetch struct {
	off, n  int64
	entries []entry
}

// fetchIndex reads and places the entries of the sorted index.
func (w *writer) fetchIndex(ctx context.Context, img image.Mapper, file File, x *index) error {
	group, gctx := w.o.group(ctx)
	workers := max(w.o.InFlight, w.o.Workers)
	fetches := make(chan fetch)
	pool := bufpool.New(int(max(w.o.Fetch, x.maxPacked)), workers)

	group.Go(func() error {
		defer close(fetches)
		return x.fetches(int64(pool.Size()), func(f fetch) error {
			select {
			case fetches <- f:
				return nil
			case <-gctx.Done():
				return gctx.Err()
			}
		})
	})
	for lane := range workers {
		group.Go(func() error {
			l := (*placer)(nil)
			for f := range fetches {
				if l == nil {
					l = newPlacer(w, img, x.maxUnpacked, lane)
				}
				buf, err := pool.Get(gctx)
				if err != nil {
					return err
				}
				if err := l.fetch(file, f, buf); err != nil {
					return err
				}
				pool.Put(buf)
			}
			return nil
		})
	}
	return group.Wait()
}

// fetches groups the sorted entries into reads of at most limit bytes. A plain entry may be cut, a packed one not.
func (x *index) fetches(limit int64, emit func(fetch) error) error {
	var f fetch
	flush := func() error {
		if f.n == 0 {
			return nil
		}
		err := emit(f)
		f = fetch{}
		return err
	}
	for i := range x.Len() {
		e := *x.at(i)
		for {
			end := max(f.off+f.n, e.storedEnd())
			if f.n > 0 && (e.stored-(f.off+f.n) > maxGap || e.packed != 0 && end-f.off > limit || e.stored-f.off >= limit) {
				if err := flush(); err != nil {
					return err
				}
			}
			if f.n == 0 {
				f = fetch{off: e.stored}
				end = e.storedEnd()
			}
			if end-f.off <= limit {
				f.n = end - f.off
				f.entries = append(f.entries, e)
				break
			}
			// Plain and too long: take what fits.
			head := e
			k := f.off + limit - e.stored
			head.length = uint32(k)
			f.n = limit
			f.entries = append(f.entries, head)
			e.guest, e.stored, e.length = e.guest+k, e.stored+k, e.length-uint32(k)
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

func (l *placer) fetch(file File, f fetch, buf []byte) error {
	p := buf[:f.n]
	end := l.o.Trace.Span("fetch", "range", l.lane, f.off, f.n)
	err := readFull(file, p, f.off)
	end()
	if err != nil {
		return l.o.readError(err)
	}
	for _, e := range f.entries {
		if err := l.place(e, p[e.stored-f.off:][:e.storedLength()]); err != nil {
			return err
		}
	}
	return l.flush()
}

// readFull reads all of p. The caller knows that the file has these bytes, so an end before is a change.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("file ends at %d, before %d: %w", off+int64(n), off+int64(len(p)), errdef.ErrChanged)
	}
	return err
}
