package qcow2

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/limits"
)

// WriteOptions of Write. The zero value is useful.
type WriteOptions struct {
	// Compression of clusters: "none" (the default), "zlib" or "zstd". A cluster that does not get shorter is left as it is.
	Compression string
	// ClusterSize is a power of two from 512 to 2 MiB. Default 64 KiB, as everywhere.
	ClusterSize int64
	// Workers read and compress. What is written does not depend on their number.
	Workers int
	// Ordered: w takes bytes in order and without gaps only. Then the image is read and compressed twice: the tables,
	// which come first, tell how long each cluster will be.
	Ordered bool
	Limits  limits.Limits
	// Done is told how much of the disk is done, from several goroutines at once. May be nil.
	Done func(n int64)
}

// Write writes img as a qcow2 of version 3 to w, which is new, and returns the length of what it wrote. In it the tables that
// a reader needs come before the data, and the refcounts after, so that it can be read as a stream, see [Learner]. The
// same disk in the same extents gives the same bytes.
func Write(ctx context.Context, w io.WriterAt, img image.Image, o WriteOptions) (int64, error) {
	o.Limits = o.Limits.WithDefaults()
	if o.ClusterSize == 0 {
		o.ClusterSize = 64 << 10
	}
	if o.Workers <= 0 {
		o.Workers = o.Limits.Workers
	}
	e, err := newEncoder(w, img, o)
	if err != nil {
		return 0, err
	}
	if o.Ordered {
		// Once for nothing but the tables.
		e.out = newOutput(nil, e.start)
		if err := e.data(ctx); err != nil {
			return 0, err
		}
		first := e.tables
		if err := e.again(); err != nil {
			return 0, err
		}
		e.out = newOutput(w, 0)
		if err := e.front(e.out, first); err != nil {
			return 0, err
		}
		e.want = first
	} else {
		e.out = newOutput(w, e.start)
	}
	if err := e.data(ctx); err != nil {
		return 0, err
	}
	end := e.out.pos
	if err := e.refcounts(); err != nil {
		return 0, err
	}
	if !o.Ordered {
		e.refs = layRefcounts(end, e.bits)
		front := newOutput(w, 0)
		if err := e.front(front, nil); err != nil {
			return 0, err
		}
		if err := front.flush(); err != nil {
			return 0, err
		}
	}
	return e.out.pos, e.out.flush()
}

// encoder is one Write under way.
type encoder struct {
	w       io.WriterAt
	img     image.Image
	o       WriteOptions
	bits    uint
	size    int64 // virtual, whole sectors
	l1      []int64
	start   int64 // of the data, behind the tables
	refs    refLayout
	out     *output
	tables  map[int][]uint64 // L2, by L1 index
	want    map[int][]uint64 // what tables must become
	flushed int              // tables with a lower index are written
	counts  []uint16         // refcounts from start on
	held    []rawCluster     // uncompressed clusters that wait for a boundary
}

const (
	l2EntryBits = 3
	maxVersion3 = 112 // header length
)

func newEncoder(w io.WriterAt, img image.Image, o WriteOptions) (*encoder, error) {
	if o.ClusterSize < 1<<minClusterBits || o.ClusterSize > 1<<maxClusterBits || o.ClusterSize&(o.ClusterSize-1) != 0 {
		return nil, fmt.Errorf("qcow2: cluster size %d is no power of two from 512 to 2097152: %w", o.ClusterSize, errdef.ErrUsage)
	}
	switch o.Compression {
	case "", "none", "zlib", "zstd":
	default:
		return nil, fmt.Errorf("qcow2: compression %q is neither none nor zlib nor zstd: %w", o.Compression, errdef.ErrUsage)
	}
	e := &encoder{w: w, img: img, o: o, bits: uint(bits.TrailingZeros64(uint64(o.ClusterSize))),
		size: (img.Size() + 511) &^ 511, tables: map[int][]uint64{}}
	entries := (e.size + e.reach() - 1) / e.reach()
	if entries*8 > maxL1Bytes {
		return nil, errdef.WithHint(fmt.Errorf("qcow2: a disk of %d bytes is too large for clusters of %d: %w", e.size, e.cluster(), errdef.ErrUsage),
			"take a larger --cluster-size")
	}
	e.l1 = make([]int64, entries)
	e.start = e.cluster() + e.whole(entries*8)
	n := int64(0)
	err := e.walk(func(off, end int64) error {
		for i := off / e.reach(); i <= (end-1)/e.reach(); i++ {
			if e.l1[i] == 0 {
				e.l1[i] = e.start
				e.start += e.cluster()
				n++
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if o.Ordered {
		err = o.Limits.CheckMetadata("L2 tables of a stream", n<<e.bits)
	}
	return e, err
}

func (e *encoder) cluster() int64      { return 1 << e.bits }
func (e *encoder) reach() int64        { return 1 << (2*e.bits - l2EntryBits) }
func (e *encoder) whole(n int64) int64 { return (n + e.cluster() - 1) &^ (e.cluster() - 1) }

// again forgets what was done, but for the length of the data.
func (e *encoder) again() error {
	e.refs = layRefcounts(e.out.pos, e.bits)
	e.tables, e.counts, e.flushed = map[int][]uint64{}, nil, 0
	return nil
}

// walk calls f for stretches of the disk that may hold data: whole clusters, in order.
func (e *encoder) walk(f func(off, end int64) error) error {
	size := e.img.Size()
	for off := int64(0); off < size; {
		x, err := image.Next(e.img, off, size-off)
		if err != nil {
			return err
		}
		end := x.End()
		if x.Kind.IsZero() {
			if next := min(e.whole(off+1), size); end < next {
				end = next // shares its cluster with data
			} else {
				if end < size {
					end &^= e.cluster() - 1
				}
				e.done(end - off)
				off = end
				continue
			}
		}
		end = min(e.whole(end), size)
		if err := f(off, end); err != nil {
			return err
		}
		off = end
	}
	return nil
}

func (e *encoder) done(n int64) {
	if e.o.Done != nil && e.out != nil && e.out.w != nil { // not while only tables are made
		e.o.Done(n)
	}
}

// front writes header and L1 table, and the L2 tables if they are given, else leaves their place.
func (e *encoder) front(out *output, l2 map[int][]uint64) error {
	be := binary.BigEndian
	h := make([]byte, e.cluster())
	copy(h, Magic)
	be.PutUint32(h[4:], 3)
	be.PutUint32(h[20:], uint32(e.bits))
	be.PutUint64(h[24:], uint64(e.size))
	be.PutUint32(h[36:], uint32(len(e.l1)))
	be.PutUint64(h[40:], uint64(e.cluster()))
	be.PutUint64(h[48:], uint64(e.refs.table))
	be.PutUint32(h[56:], uint32(e.refs.tables))
	be.PutUint32(h[96:], 4)
	be.PutUint32(h[100:], maxVersion3)
	if e.o.Compression == "zstd" {
		be.PutUint64(h[72:], bitCompression)
		h[104] = compressZstd
	}
	if err := out.write(h); err != nil {
		return err
	}
	var b [8]byte
	for _, at := range e.l1 {
		if at != 0 {
			at |= -1 << 63 // the copied bit
		}
		be.PutUint64(b[:], uint64(at))
		if err := out.write(b[:]); err != nil {
			return err
		}
	}
	if err := out.pad(e.cluster()); err != nil || l2 == nil {
		return err
	}
	for i, at := range e.l1 {
		if at == 0 {
			continue
		}
		t := l2[i]
		if t == nil {
			t = make([]uint64, e.cluster()>>l2EntryBits) // all zeros, as it turned out
		}
		if err := out.write(e.tableBytes(t)); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) tableBytes(t []uint64) []byte {
	b := make([]byte, e.cluster())
	for i, x := range t {
		binary.BigEndian.PutUint64(b[8*i:], x)
	}
	return b
}
