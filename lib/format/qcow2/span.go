package qcow2

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/span"
)

// Bits of an L2 entry.
const (
	copiedBit     uint64 = 1 << 63 // says only that the refcount is one
	compressedBit uint64 = 1 << 62
	zeroBit       uint64 = 1 << 0 // reserved in version 2 and with extended entries
	l2Reserved    uint64 = 0x3f00_0000_0000_01fe
	maxHost       int64  = 1 << 56 // no entry can tell of more
)

// A cursor looks up spans and remembers the slice it looked at. It is for one goroutine.
type cursor struct {
	d    *disk
	no   int64 // of the slice + 1; 0 is none
	data []byte
}

// Span returns a span that begins at off and does not pass end: as long as one slice, or a run of empty L1 entries, can
// tell. 0 ≤ off < end ≤ size.
func (c *cursor) Span(off, end int64) (span.Span, error) {
	d := c.d
	no := off >> (d.bits + d.sliceBits)
	if c.no != no+1 {
		l1 := off / d.reach()
		if d.l1[l1] == 0 {
			last := (end - 1) / d.reach()
			for l1++; l1 <= last && d.l1[l1] == 0; l1++ {
			}
			if l1 <= last {
				end = l1 * d.reach()
			}
			return span.Span{Kind: span.Hole, Guest: off, N: end - off}, nil
		}
		data, err := d.l2.Get(no)
		if err != nil {
			return span.Span{}, fmt.Errorf("qcow2: guest offset %d: %w", off, err)
		}
		c.no, c.data = no+1, data
	}
	first := off >> d.bits & (1<<d.sliceBits - 1)
	// How many entries of this slice the query touches.
	n := min(1<<d.sliceBits-first, (end-1)>>d.bits-off>>d.bits+1)
	tab := c.data[first<<d.entryBits:][:n<<d.entryBits]
	s, err := d.decode(tab, off)
	s.N = min(s.N, end-off)
	return s, err
}

// decode reads the span that begins at off, in the cluster of the first entry of tab, a part of an L2 table.
func (d *disk) decode(tab []byte, off int64) (s span.Span, err error) {
	if d.ext {
		s, err = d.spanExtended(tab, off)
	} else {
		s, err = d.spanStandard(tab, off)
	}
	if err != nil {
		return span.Span{}, fmt.Errorf("qcow2: guest offset %d: %w", off&^(d.cluster()-1), err)
	}
	return s, nil
}

// spanStandard reads the run that begins at off, in the cluster of the first entry of tab.
func (d *disk) spanStandard(tab []byte, off int64) (span.Span, error) {
	be := binary.BigEndian
	e := be.Uint64(tab)
	in := off & (d.cluster() - 1)
	s := span.Span{Guest: off}
	n := 1
	switch {
	case e == 0:
		for t := tab[8:]; len(t) > 0 && be.Uint64(t) == 0; t = t[8:] {
			n++
		}
	case e&compressedBit != 0:
		return d.spanCompressed(e, off)
	case e&l2Reserved != 0:
		return s, fmt.Errorf("L2 entry %#x has reserved bits: %w", e, errdef.ErrCorrupt)
	case e&zeroBit != 0:
		s.Kind = span.Zero
		if err := d.checkZero(e); err != nil {
			return s, err
		}
		for t := tab[8:]; len(t) > 0; t = t[8:] {
			e := be.Uint64(t)
			if e&(compressedBit|l2Reserved|zeroBit) != zeroBit || d.checkZero(e) != nil {
				break
			}
			n++
		}
	default:
		s.Kind = span.Data
		host := int64(e & offsetMask)
		fit, err := d.checkData(host, off-in)
		if err != nil {
			return s, err
		}
		next := uint64(host)
		for t := tab[8:]; len(t) > 0 && n < fit; t = t[8:] {
			if next += uint64(d.cluster()); be.Uint64(t)&^copiedBit != next {
				break
			}
			n++
		}
		s.Host = host + in
	}
	s.N = int64(n)<<d.bits - in
	return s, d.checkRun(s)
}

// checkZero checks an entry with the zero bit, which may have a preallocated cluster.
func (d *disk) checkZero(e uint64) error {
	if d.version < 3 {
		return fmt.Errorf("L2 entry %#x has the zero bit in version 2: %w", e, errdef.ErrCorrupt)
	}
	if host := int64(e & offsetMask); host&(d.cluster()-1) != 0 {
		return fmt.Errorf("zero cluster at host offset %d is not aligned: %w", host, errdef.ErrCorrupt)
	}
	return nil
}

// checkData checks a data cluster at host, which stands for the guest cluster at guest, and returns how many whole
// clusters from host on lie in the stored file; 1 also for a last cluster that is stored as far as the disk reaches.
func (d *disk) checkData(host, guest int64) (int, error) {
	if host == 0 {
		return 0, fmt.Errorf("data cluster without a host offset: %w", errdef.ErrCorrupt)
	}
	if err := d.checkHost("data cluster", host, min(d.cluster(), d.size-guest), d.cluster()); err != nil {
		return 0, err
	}
	return int(max(1, min(d.stored-host, maxHost-host)>>d.bits)), nil
}

// checkRun checks that a run of data clusters does not run into a table.
func (d *disk) checkRun(s span.Span) error {
	if s.Kind != span.Data {
		return nil
	}
	for _, a := range d.areas {
		if s.Host < a.end && s.Host+s.N > a.start {
			return fmt.Errorf("data at host offset %d (%d bytes) overlaps %s: %w", s.Host, s.N, a.what, errdef.ErrCorrupt)
		}
	}
	return nil
}

// spanCompressed reads the descriptor of a compressed cluster.
func (d *disk) spanCompressed(e uint64, off int64) (span.Span, error) {
	e &^= copiedBit | compressedBit
	host := int64(e & (1<<d.packedShift - 1))
	packed := int64(e>>d.packedShift+1)*512 - host&511
	switch {
	case host >= maxHost:
		return span.Span{}, fmt.Errorf("compressed cluster at host offset %d has reserved bits: %w", host, errdef.ErrCorrupt)
	case host < d.cluster():
		return span.Span{}, fmt.Errorf("compressed cluster at host offset %d overlaps the header: %w", host, errdef.ErrCorrupt)
	case host >= d.stored:
		return span.Span{}, fmt.Errorf("compressed cluster at host offset %d lies past the end of the stored file (%d bytes): %w",
			host, d.stored, errdef.ErrCorrupt)
	}
	// The sector count is rounded up and may pass the end of the file; whether enough is left, decoding tells.
	first := off &^ (d.cluster() - 1)
	length := min(d.cluster(), d.size-first)
	return span.Span{
		Kind: span.Packed, Guest: off, N: first + length - off,
		Host: host, Packed: min(packed, d.stored-host), First: first, Length: length,
	}, nil
}

// An extEntry is a checked entry of an extended L2 table for a cluster that is not compressed.
type extEntry struct {
	host        int64 // 0: none
	alloc, zero uint32
}

func (d *disk) extEntry(e, bitmap uint64) (extEntry, error) {
	x := extEntry{int64(e & offsetMask), uint32(bitmap), uint32(bitmap >> 32)}
	switch {
	case e&(l2Reserved|zeroBit) != 0:
		return x, fmt.Errorf("L2 entry %#x has reserved bits: %w", e, errdef.ErrCorrupt)
	case x.alloc&x.zero != 0:
		return x, fmt.Errorf("subclusters %#x are allocated and zero: %w", x.alloc&x.zero, errdef.ErrCorrupt)
	case x.host == 0 && (x.alloc != 0 || e != 0):
		return x, fmt.Errorf("allocated subclusters %#x without a host offset: %w", x.alloc, errdef.ErrCorrupt)
	case x.host&(d.cluster()-1) != 0:
		return x, fmt.Errorf("data cluster at host offset %d is not aligned: %w", x.host, errdef.ErrCorrupt)
	}
	return x, nil
}

// spanExtended is spanStandard for extended entries, whose clusters have 32 subclusters.
func (d *disk) spanExtended(tab []byte, off int64) (span.Span, error) {
	be := binary.BigEndian
	e, bitmap := be.Uint64(tab), be.Uint64(tab[8:])
	if e&compressedBit != 0 {
		if bitmap != 0 {
			return span.Span{}, fmt.Errorf("compressed cluster has a subcluster bitmap %#x: %w", bitmap, errdef.ErrCorrupt)
		}
		return d.spanCompressed(e, off)
	}
	x, err := d.extEntry(e, bitmap)
	if err != nil {
		return span.Span{}, err
	}
	in := off & (d.cluster() - 1)
	subBits := d.bits - 5
	sub := in >> subBits
	s := span.Span{Guest: off}
	state := ^(x.alloc | x.zero)
	switch {
	case x.alloc>>sub&1 != 0:
		s.Kind, state = span.Data, x.alloc
	case x.zero>>sub&1 != 0:
		s.Kind, state = span.Zero, x.zero
	}
	run := int64(bits.TrailingZeros32(^(state >> sub)))
	s.N = (sub+run)<<subBits - in
	if s.Kind == span.Data {
		s.Host = x.host + in
		subHost := s.Host &^ (1<<subBits - 1)
		guest := off &^ (1<<subBits - 1)
		if err := d.checkHost("data", subHost, min(run<<subBits, d.size-guest), 1); err != nil {
			return s, err
		}
	}
	if sub+run < 32 {
		return s, nil
	}
	// The run reaches the end of the cluster: add whole clusters of the same.
	var want, wantBitmap uint64
	switch s.Kind {
	case span.Data:
		want, wantBitmap = uint64(x.host), 1<<32-1
	case span.Zero:
		return s, nil
	}
	for t := tab[16:]; len(t) > 0; t = t[16:] {
		if s.Kind == span.Data {
			want += uint64(d.cluster())
			if int64(want) > min(d.stored, maxHost)-d.cluster() {
				break
			}
		}
		if e := be.Uint64(t); (e != want && (e&^copiedBit != want || s.Kind != span.Data)) || be.Uint64(t[8:]) != wantBitmap {
			break
		}
		s.N += d.cluster()
	}
	return s, d.checkRun(s)
}
