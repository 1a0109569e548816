package qcow2

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/blob"
	"github.com/cdictl/cdictl/lib/internal/span"
	"github.com/cdictl/cdictl/lib/internal/tables"
	"github.com/cdictl/cdictl/lib/limits"
)

// Bits of an L1 entry.
const (
	offsetMask uint64 = 0x00ff_ffff_ffff_fe00
	l1Reserved uint64 = 0x7f00_0000_0000_01ff
)

// maxSliceBytes is how much of an L2 table is read and held as one: all of it up to clusters of 64 KiB.
const maxSliceBytes = 64 << 10

// A disk is one root of an image, open for reading. It is safe for concurrent use.
type disk struct {
	*span.Disk
	ra      io.ReaderAt
	stored  int64 // size of ra
	size    int64 // virtual size
	version uint32
	ext     bool

	bits      uint // of the cluster size
	l2Bits    uint // of the number of entries in an L2 table
	sliceBits uint // of the number of entries in a slice
	entryBits uint // of the bytes of an entry

	packedShift uint // where the sector count of a compressed entry begins

	l1    []uint64      // offsets of L2 tables, checked; 0 is a hole
	l2    *tables.Cache // slices of L2 tables, by their number in guest order
	areas []area

	unpacker unpacker
}

// An area of the stored file can hold no data.
type area struct {
	start, end int64
	what       string
}

func newDisk(ctx context.Context, ra io.ReaderAt, stored int64, h *header, r root, o Options) (*disk, error) {
	d := layout(stored, h, r)
	d.ra = ra
	gap := max(o.Gap, 0)
	d.Disk = span.NewDisk(span.Options{
		Format: "qcow2", Size: d.size, Unit: d.cluster(), Gap: gap,
		Find:   func() span.Finder { return &cursor{d: d} },
		Read:   func(_ int, p []byte, off int64, what string) error { return d.readFull(p, off, what) },
		Unpack: func(dst, stored []byte, _ span.Span) error { return d.unpacker.unpack(dst, stored) },
	})
	if err := d.readL1(ctx, r, o.Limits); err != nil {
		return nil, err
	}
	d.setAreas(h, r)
	if err := d.checkL1(o.Limits); err != nil {
		return nil, err
	}
	d.l2 = tables.New(tables.Options{
		Format: "qcow2", What: "L2 table", Largest: d.sliceBytes(), Metadata: o.Limits.Metadata, Gap: gap, Find: d.findSlice,
	})
	return d, nil
}

// layout is the disk at r in an image of stored bytes as the header tells it: enough to decode table entries.
func layout(stored int64, h *header, r root) *disk {
	d := &disk{
		stored: stored, size: r.size, version: h.version, ext: h.extended(),
		bits: h.clusterBits, entryBits: 3, packedShift: 62 - (h.clusterBits - 8),
	}
	if d.ext {
		d.entryBits = 4
	}
	d.l2Bits = d.bits - d.entryBits
	d.sliceBits = d.l2Bits
	for maxSliceBytes>>d.entryBits < 1<<d.sliceBits {
		d.sliceBits--
	}
	d.unpacker.init(h.compression, d.cluster())
	return d
}

// setAreas says where no data can be, once the length of the L1 table is known.
func (d *disk) setAreas(h *header, r root) {
	l1 := area{int64(r.offset), int64(r.offset) + 8*int64(len(d.l1)), "the L1 table"}
	refs := area{int64(h.refOffset), int64(h.refOffset) + int64(h.refClusters)<<h.clusterBits, "the refcount table"}
	d.areas = []area{{0, d.cluster(), "the header"}, l1, refs}
}

func (d *disk) cluster() int64 { return 1 << d.bits }

// reach is how many guest bytes an L1 entry stands for.
func (d *disk) reach() int64 { return 1 << (d.bits + d.l2Bits) }

// sliceBytes is the size of a slice.
func (d *disk) sliceBytes() int64 { return 1 << (d.sliceBits + d.entryBits) }

// findSlice tells where slice i of the L2 tables is stored, see [tables.Options].
func (d *disk) findSlice(i int64) (p tables.Place, next int64) {
	perTable := d.l2Bits - d.sliceBits
	next = i + 1
	if l2 := d.l1[i>>perTable]; l2 == 0 {
		next = (i | (1<<perTable - 1)) + 1
	} else {
		p = tables.Place{File: d.ra, At: int64(l2) + (i&(1<<perTable-1))*d.sliceBytes(), Size: d.sliceBytes()}
	}
	if next >= int64(len(d.l1))<<perTable {
		next = -1
	}
	return p, next
}

// l1Need is how many entries of the L1 table at r the virtual size needs; behind them there is only VM state.
func (d *disk) l1Need(r root, l limits.Limits) (int64, error) {
	need := d.size / d.reach()
	if d.size%d.reach() != 0 {
		need++
	}
	switch {
	case int64(r.entries)*8 > maxL1Bytes:
		return 0, corrupt("L1 table of %d entries is too large", r.entries)
	case int64(r.entries) < need:
		return 0, corrupt("L1 table of %d entries is too small for a virtual size of %d, %d are needed", r.entries, d.size, need)
	case need == 0:
		return 0, nil
	case r.offset&uint64(d.cluster()-1) != 0 || r.offset == 0:
		return 0, corrupt("L1 table offset %d is not a cluster's", r.offset)
	case r.offset > uint64(d.stored) || d.stored-int64(r.offset) < need*8:
		return 0, corrupt("L1 table at %d (%d bytes) lies past the end of the stored file (%d bytes)", r.offset, need*8, d.stored)
	}
	if err := l.CheckMetadata("L1 table", need*8); err != nil {
		return 0, fmt.Errorf("qcow2: %w", err)
	}
	return need, nil
}

// readL1 reads the part of the L1 table that is needed.
func (d *disk) readL1(ctx context.Context, r root, l limits.Limits) error {
	need, err := d.l1Need(r, l)
	if err != nil || need == 0 {
		return err
	}
	d.l1 = make([]uint64, need)
	buf := make([]byte, min(need*8, 256<<10))
	for at := int64(0); at < need; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:min(int64(len(buf)), (need-at)*8)]
		off := int64(r.offset) + at*8
		if err := d.readFull(b, off, "L1 table"); err != nil {
			return err
		}
		for ; len(b) > 0; b, at = b[8:], at+1 {
			d.l1[at] = binary.BigEndian.Uint64(b)
		}
	}
	return nil
}

// checkL1 checks every entry and leaves only offsets.
func (d *disk) checkL1(l limits.Limits) error {
	last, ascending, used := uint64(0), true, 0
	for i, e := range d.l1 {
		host := e & offsetMask
		if e&l1Reserved != 0 {
			return corrupt("guest offset %d: L1 entry %#x has reserved bits", int64(i)*d.reach(), e)
		}
		d.l1[i] = host
		if host == 0 {
			continue
		}
		if err := d.checkHost("L2 table", int64(host), d.cluster(), d.cluster()); err != nil {
			return fmt.Errorf("qcow2: guest offset %d: %w", int64(i)*d.reach(), err)
		}
		used++
		ascending = ascending && host > last
		last = host
	}
	if ascending {
		return nil
	}
	// Two entries with one table would make a small file into a large disk full of data; no tool writes that.
	if err := l.CheckMetadata("L1 table out of order", int64(len(d.l1)+used)*8); err != nil {
		return fmt.Errorf("qcow2: %w", err)
	}
	hosts := make([]uint64, 0, used)
	for _, host := range d.l1 {
		if host != 0 {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	for i := 1; i < len(hosts); i++ {
		if hosts[i] == hosts[i-1] {
			return corrupt("L2 table at %d is used by two L1 entries", hosts[i])
		}
	}
	return nil
}

// checkHost checks that n bytes at host, a multiple of align, can be what is said: they lie in the stored file and in
// none of the tables that stand at fixed places.
func (d *disk) checkHost(what string, host, n, align int64) error {
	if host&(align-1) != 0 {
		return fmt.Errorf("%s at host offset %d is not aligned: %w", what, host, errdef.ErrCorrupt)
	}
	if host > d.stored || n > d.stored-host {
		return fmt.Errorf("%s at host offset %d (%d bytes) lies past the end of the stored file (%d bytes): %w", what, host, n, d.stored, errdef.ErrCorrupt)
	}
	for _, a := range d.areas {
		if host < a.end && host+n > a.start {
			return fmt.Errorf("%s at host offset %d (%d bytes) overlaps %s: %w", what, host, n, a.what, errdef.ErrCorrupt)
		}
	}
	return nil
}

// readFull fills b from the stored file at off.
func (d *disk) readFull(b []byte, off int64, what string) error {
	return blob.ReadFull("qcow2", d.ra, b, off, what)
}
