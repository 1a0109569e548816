package qcow2

import (
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/bufpool"
)

// outputChunk is the length of a write.
const outputChunk = 1 << 20

// An output is written from one place on, in large pieces that are aligned in the file.
type output struct {
	w    io.WriterAt // nil: only count
	pos  int64
	buf  []byte
	fill int
}

func newOutput(w io.WriterAt, pos int64) *output {
	o := &output{w: w, pos: pos}
	if w != nil {
		o.buf = bufpool.Make(outputChunk)
	}
	return o
}

func (o *output) write(p []byte) error {
	if o.w == nil {
		o.pos += int64(len(p))
		return nil
	}
	for len(p) > 0 {
		room := outputChunk - int((o.pos-int64(o.fill))%outputChunk) - o.fill
		n := copy(o.buf[o.fill:o.fill+room], p)
		o.fill, o.pos, p = o.fill+n, o.pos+int64(n), p[n:]
		if n == room {
			if err := o.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *output) flush() error {
	if o.fill == 0 {
		return nil
	}
	_, err := o.w.WriteAt(o.buf[:o.fill], o.pos-int64(o.fill))
	o.fill = 0
	return err
}

var zeroes [4096]byte

// pad writes zeros up to a multiple of n.
func (o *output) pad(n int64) error {
	for left := (n - o.pos%n) % n; left > 0; {
		k := min(left, int64(len(zeroes)))
		if err := o.write(zeroes[:k]); err != nil {
			return err
		}
		left -= k
	}
	return nil
}

// A rawCluster is an uncompressed cluster that waits.
type rawCluster struct {
	guest int64
	data  []byte
}

// maxHeldBytes is how much of uncompressed clusters may wait for compressed ones to fill theirs: what is then lost at a
// boundary, half a compressed cluster on average, is little beside it.
const maxHeldBytes = 2 << 20

// packed places a compressed cluster: behind the last one, also across the border of a host cluster.
func (e *encoder) packed(guest int64, p []byte) error {
	in := e.out.pos & (e.cluster() - 1)
	if in+int64(len(p)) > e.cluster() && 2*e.heldBytes() >= maxHeldBytes {
		if err := e.release(); err != nil {
			return err
		}
	}
	at := e.out.pos
	if at+int64(len(p)) > 1<<(62-(e.bits-8)) {
		return fmt.Errorf("qcow2: more than %d bytes of compressed clusters: %w", at, errdef.ErrLimit)
	}
	sectors := uint64(at+int64(len(p))-1)>>9 - uint64(at)>>9
	if err := e.set(guest, compressedBit|uint64(at)|sectors<<(62-(e.bits-8))); err != nil {
		return err
	}
	end := (at + int64(len(p)) + 511) &^ 511
	for c := at >> e.bits; c <= (end-1)>>e.bits; c++ {
		if err := e.count(c); err != nil {
			return err
		}
	}
	if err := e.out.write(p); err != nil {
		return err
	}
	if e.out.pos&(e.cluster()-1) == 0 {
		return e.release()
	}
	return nil
}

// plain places an uncompressed cluster, or lets it wait for the end of a host cluster. p is copied.
func (e *encoder) plain(guest int64, p []byte) error {
	if e.out.pos&(e.cluster()-1) == 0 {
		return e.store(guest, p)
	}
	if e.heldBytes()+e.cluster() > maxHeldBytes {
		if err := e.release(); err != nil {
			return err
		}
		return e.store(guest, p)
	}
	e.held = append(e.held, rawCluster{guest, slices.Clone(p)})
	return nil
}

func (e *encoder) heldBytes() int64 { return int64(len(e.held)) << e.bits }

// release stores what waits.
func (e *encoder) release() error {
	if err := e.out.pad(e.cluster()); err != nil {
		return err
	}
	for _, r := range e.held {
		if err := e.store(r.guest, r.data); err != nil {
			return err
		}
	}
	clear(e.held)
	e.held = e.held[:0]
	return nil
}

func (e *encoder) store(guest int64, p []byte) error {
	if err := e.set(guest, copiedBit|uint64(e.out.pos)); err != nil {
		return err
	}
	if err := e.count(e.out.pos >> e.bits); err != nil {
		return err
	}
	if err := e.out.write(p); err != nil {
		return err
	}
	return e.out.pad(e.cluster()) // the last of a disk may be short
}

// set sets the L2 entry of a guest cluster.
func (e *encoder) set(guest int64, entry uint64) error {
	i, k := int(guest/e.reach()), guest%e.reach()>>e.bits
	t := e.tables[i]
	if t == nil {
		t = make([]uint64, e.cluster()>>l2EntryBits)
		e.tables[i] = t
	}
	t[k] = entry
	if e.want != nil && (e.want[i] == nil || e.want[i][k] != entry) {
		return fmt.Errorf("qcow2: the disk has other data at %d when it is read again: %w", guest, errdef.ErrChanged)
	}
	return nil
}

// count adds one to the refcount of a host cluster.
func (e *encoder) count(c int64) error {
	i := c - e.start>>e.bits
	for int64(len(e.counts)) <= i {
		if len(e.counts)%(1<<16) == 0 {
			if err := e.o.Limits.CheckMetadata("refcounts", int64(len(e.counts))*2); err != nil {
				return errdef.WithHint(fmt.Errorf("qcow2: %w", err), "take a larger --cluster-size, or raise --max-metadata")
			}
		}
		e.counts = append(e.counts, 0)
	}
	if e.counts[i] == math.MaxUint16 {
		return fmt.Errorf("qcow2: more than %d compressed clusters in one host cluster: %w", math.MaxUint16, errdef.ErrLimit)
	}
	e.counts[i]++
	return nil
}

// settle writes the L2 tables of the disk before pos, of which nothing waits any more. In order they were written before.
func (e *encoder) settle(pos int64) error {
	for _, r := range e.held {
		pos = min(pos, r.guest)
	}
	for ; e.flushed < len(e.l1) && int64(e.flushed+1)*e.reach() <= pos; e.flushed++ {
		if e.o.Ordered {
			if e.want != nil {
				delete(e.want, e.flushed)
				delete(e.tables, e.flushed)
			}
			continue
		}
		if t := e.tables[e.flushed]; t != nil {
			if _, err := e.w.WriteAt(e.tableBytes(t), e.l1[e.flushed]); err != nil {
				return err
			}
			delete(e.tables, e.flushed)
		}
	}
	return nil
}
