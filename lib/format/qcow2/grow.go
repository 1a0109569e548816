package qcow2

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/blob"
	"github.com/cdictl/cdictl/lib/limits"
)

// A GrowFile is a stored image that Grow changes. Sync makes what was written before durable.
type GrowFile interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Grow makes the disk of the image in f, which has stored bytes, size bytes large. What is new reads as zeros.
//
// A larger L1 table is written behind the end of the file, with refcounts for its clusters, and made durable; then one write
// to the first sector of the header takes it into use, with the new size; then the old table is given back. Whatever
// moment the machine stops at, the image is the old one or the new one: at worst some clusters are leaked, which
// qemu-img check -r leaks mends.
func Grow(ctx context.Context, f GrowFile, stored, size int64, l limits.Limits) error {
	l = l.WithDefaults()
	g, err := newGrower(ctx, f, stored, size, l)
	if err != nil || g == nil {
		return err
	}
	// A last cluster that is stored only as far as the disk reached becomes whole.
	whole := func() error {
		if stored == g.stored {
			return nil
		}
		_, err := f.WriteAt(make([]byte, g.stored-stored), stored)
		return err
	}
	if need := (size + g.d.reach() - 1) / g.d.reach(); need > int64(g.h.l1Size) {
		err = g.moveL1(need, whole)
	} else {
		err = whole()
	}
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	// The header's fields that change lie in its first sector, which is written as a whole.
	if _, err := f.WriteAt(g.sector, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	for _, c := range g.freed {
		if err := g.setRefcount(c, 0); err != nil {
			return err
		}
	}
	if len(g.freed) > 0 {
		return f.Sync()
	}
	return nil
}

type grower struct {
	f      GrowFile
	h      *header
	d      *disk
	stored int64    // whole clusters
	sector []byte   // the header's first, as it shall be
	table  []uint64 // refcount table
	freed  []int64  // host clusters that nothing uses afterwards
	l      limits.Limits
}

// zeroBehind has zeros behind its end.
type zeroBehind struct {
	io.ReaderAt
	end int64
}

func (z zeroBehind) ReadAt(p []byte, off int64) (int, error) {
	n := max(0, min(int64(len(p)), z.end-off))
	if got, err := z.ReaderAt.ReadAt(p[:n], off); int64(got) < n {
		return got, err
	}
	clear(p[n:])
	return len(p), nil
}

// newGrower looks at everything that could be in the way; nil: the disk has that size already.
func newGrower(ctx context.Context, f GrowFile, stored, size int64, l limits.Limits) (*grower, error) {
	p, err := blob.Open(ctx, "qcow2", f, stored)
	if err != nil {
		return nil, err
	}
	h, err := parseHeader(p)
	if err != nil {
		return nil, err
	}
	if err := h.readable(false); err != nil {
		return nil, err
	}
	if err := h.checkTables(stored); err != nil {
		return nil, err
	}
	mend := "qemu-img check -r all mends it"
	switch {
	case size == h.size:
		return nil, nil
	case size < h.size:
		return nil, fmt.Errorf("qcow2: the disk has %d bytes, and is never shrunk to %d: %w", h.size, size, errdef.ErrUsage)
	case size%512 != 0:
		return nil, fmt.Errorf("qcow2: size %d is no multiple of 512: %w", size, errdef.ErrUsage)
	case h.incompat&(bitDirty|bitCorrupt) != 0:
		return nil, errdef.WithHint(unsupported("image is marked dirty or corrupt, its refcounts cannot be relied on"), mend)
	case h.bitmaps > 0:
		return nil, errdef.WithHint(unsupported("image has dirty bitmaps, which would have to grow, too"), "qemu-img bitmap --remove")
	case h.version == 2 && h.snapshots > 0:
		return nil, errdef.WithHint(unsupported("image of version 2 has snapshots, which do not know their size"), "qemu-img amend -o compat=1.1")
	}
	if err := l.CheckVirtualSize(size); err != nil {
		return nil, fmt.Errorf("qcow2: %w", err)
	}
	whole := (stored + h.clusterSize() - 1) &^ (h.clusterSize() - 1)
	g := &grower{f: f, h: h, stored: whole, sector: make([]byte, 512), l: l}
	copy(g.sector, p.Head)
	if g.d, err = newDisk(ctx, zeroBehind{f, stored}, whole, h, root{h.l1Offset, h.l1Size, h.size}, Options{Limits: l}); err != nil {
		return nil, err
	}
	// A reader needs as much of the L1 table as the disk takes, which may be nothing; it is moved as a whole.
	if n := uint64(h.l1Size) * 8; n > 0 && (h.l1Offset&uint64(h.clusterSize()-1) != 0 || h.l1Offset > uint64(whole) || n > uint64(whole)-h.l1Offset) {
		return nil, corrupt("L1 table at %d (%d bytes) is not aligned, or lies past the end of the stored file (%d bytes)", h.l1Offset, n, stored)
	}
	if need := (size + g.d.reach() - 1) / g.d.reach(); need*8 > maxL1Bytes {
		return nil, unsupported("a disk of %d bytes is too large for clusters of %d", size, g.d.cluster())
	}
	if err := g.nothingBehind(ctx); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	be.PutUint64(g.sector[24:], uint64(size))
	if h.version >= 3 {
		be.PutUint64(g.sector[88:], 0) // what others keep of the image by themselves is not kept up
	}
	return g, g.readRefcounts()
}

// nothingBehind checks that tables which reach behind the end of the disk have nothing there.
func (g *grower) nothingBehind(ctx context.Context) error {
	end := int64(g.h.l1Size) * g.d.reach()
	if g.h.l1Size == 0 || end/g.d.reach() != int64(g.h.l1Size) || end <= g.h.size {
		return nil
	}
	d, err := newDisk(ctx, g.d.ra, g.stored, g.h, root{g.h.l1Offset, g.h.l1Size, end}, Options{Limits: g.l})
	if err != nil {
		return err
	}
	var buf [64 << 10]byte
	for off := g.h.size; off < end; {
		x, err := d.NextExtent(off, end-off)
		if err != nil {
			return err
		}
		for x.Kind == image.Data && x.Length > 0 {
			b := buf[:min(int64(len(buf)), x.Length)]
			if n, err := d.ReadAt(b, x.Start); n < len(b) {
				return err
			}
			for _, c := range b {
				if c != 0 {
					return errdef.WithHint(unsupported("image has data behind the end of its disk, at %d", x.Start), "qemu-img resize")
				}
			}
			x.Start, x.Length = x.Start+int64(len(b)), x.Length-int64(len(b))
		}
		off = x.End()
	}
	return nil
}

// moveL1 lays what is new behind the end of the file: a larger refcount table if one is needed, refcount blocks, L1 table.
// begin is called when nothing is in the way, before anything is written.
func (g *grower) moveL1(entries int64, begin func() error) error {
	cluster, per := g.d.cluster(), g.perBlock()
	whole := func(n int64) int64 { return (n + cluster - 1) / cluster }
	first := whole(g.stored)
	l1 := whole(entries * 8)
	var blocks []int64 // numbers of new ones
	table := int64(0)  // clusters of a new refcount table
	for {
		last := first + table + int64(len(blocks)) + l1 - 1
		var b []int64
		for i := first / per; i <= last/per; i++ {
			if i >= int64(len(g.table)) || g.table[i] == 0 {
				b = append(b, i)
			}
		}
		t := int64(0)
		if last/per >= int64(len(g.table)) {
			t = whole((last/per + 1) * 8)
		}
		if len(b) == len(blocks) && t == table {
			break
		}
		blocks, table = b, max(t, table)
	}
	if table<<g.h.clusterBits > maxRefcountBytes {
		return unsupported("refcount table would have %d clusters", table)
	}
	atTable, atBlocks := first, first+table
	atL1 := atBlocks + int64(len(blocks))
	end := atL1 + l1
	if err := g.checkBlocks(first, end); err != nil {
		return err
	}
	// Nothing that is taken may be in use, as by clusters that were allocated and not written.
	for c := first; c < end; c++ {
		switch n, err := g.refcount(c); {
		case err != nil:
			return err
		case n != 0:
			return errdef.WithHint(unsupported("clusters behind the end of the file are in use"), "qemu-img resize")
		}
	}
	if err := begin(); err != nil {
		return err
	}
	entriesOf := append([]uint64(nil), g.table...)
	if table > 0 {
		entriesOf = append(entriesOf, make([]uint64, table*cluster/8-int64(len(entriesOf)))...)
	}
	for k, i := range blocks {
		at := (atBlocks + int64(k)) * cluster
		block := make([]byte, cluster)
		for c := max(first, i*per); c < min(end, (i+1)*per); c++ {
			putRefcount(block, c-i*per, g.h.refcountOrder, 1)
		}
		if _, err := g.f.WriteAt(block, at); err != nil {
			return err
		}
		entriesOf[i] = uint64(at)
	}
	if err := g.copyL1(atL1*cluster, l1*cluster); err != nil {
		return err
	}
	be := binary.BigEndian
	if table > 0 {
		b := make([]byte, table*cluster)
		for i, e := range entriesOf {
			be.PutUint64(b[8*i:], e)
		}
		if _, err := g.f.WriteAt(b, atTable*cluster); err != nil {
			return err
		}
	}
	if err := g.f.Sync(); err != nil {
		return err
	}
	// From here on what is new is counted. Until the header names it, it is leaked and does no harm.
	for c := first; c < end; c++ {
		if i := c / per; i < int64(len(g.table)) && g.table[i] != 0 {
			if err := g.setRefcount(c, 1); err != nil {
				return err
			}
		}
	}
	if table == 0 {
		for _, i := range blocks {
			var b [8]byte
			be.PutUint64(b[:], entriesOf[i])
			if _, err := g.f.WriteAt(b[:], int64(g.h.refOffset)+8*i); err != nil {
				return err
			}
		}
	} else {
		be.PutUint64(g.sector[48:], uint64(atTable*cluster))
		be.PutUint32(g.sector[56:], uint32(table))
		g.free(int64(g.h.refOffset), int64(g.h.refClusters)*cluster)
	}
	g.table = entriesOf
	be.PutUint32(g.sector[36:], uint32(entries))
	be.PutUint64(g.sector[40:], uint64(atL1*cluster))
	g.free(int64(g.h.l1Offset), int64(g.h.l1Size)*8)
	return nil
}

// copyL1 writes the L1 table, with its bits as they are, and zeros behind it.
func (g *grower) copyL1(at, n int64) error {
	b := make([]byte, n)
	if err := g.d.readFull(b[:int64(g.h.l1Size)*8], int64(g.h.l1Offset), "L1 table"); g.h.l1Size > 0 && err != nil {
		return err
	}
	_, err := g.f.WriteAt(b, at)
	return err
}

// free gives the clusters of [off, off+n) back, later.
func (g *grower) free(off, n int64) {
	for c := off / g.d.cluster(); n > 0 && c <= (off+n-1)/g.d.cluster(); c++ {
		g.freed = append(g.freed, c)
	}
}
