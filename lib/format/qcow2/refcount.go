package qcow2

import (
	"encoding/binary"
	"fmt"
)

func (g *grower) readRefcounts() error {
	n := int64(g.h.refClusters) << g.h.clusterBits
	if err := g.l.CheckMetadata("refcount table", 2*n); err != nil {
		return fmt.Errorf("qcow2: %w", err)
	}
	// What lay past the end would be where new tables are laid.
	if int64(g.h.refOffset) > g.stored-n {
		return corrupt("refcount table at %d (%d bytes) lies past the end of the stored file (%d bytes)", g.h.refOffset, n, g.stored)
	}
	b := make([]byte, n)
	if err := g.d.readFull(b, int64(g.h.refOffset), "refcount table"); err != nil {
		return err
	}
	g.table = make([]uint64, n/8)
	for i := range g.table {
		g.table[i] = binary.BigEndian.Uint64(b[8*i:])
		if g.table[i]&uint64(g.d.cluster()-1) != 0 || g.table[i] > uint64(g.stored-g.d.cluster()) {
			return corrupt("refcount table entry %d is %#x: no cluster of the stored file (%d bytes)", i, g.table[i], g.stored)
		}
	}
	return nil
}

// perBlock is the number of refcounts in a block.
func (g *grower) perBlock() int64 { return g.d.cluster() * 8 >> g.h.refcountOrder }

// refcount of a host cluster.
func (g *grower) refcount(c int64) (uint64, error) {
	i := c / g.perBlock()
	if i >= int64(len(g.table)) || g.table[i] == 0 {
		return 0, nil
	}
	b, at, err := g.word(c)
	if err != nil {
		return 0, err
	}
	return getRefcount(b, at, g.h.refcountOrder), nil
}

// setRefcount sets the refcount of a host cluster whose block there is.
func (g *grower) setRefcount(c int64, n uint64) error {
	b, at, err := g.word(c)
	if err != nil {
		return err
	}
	putRefcount(b, at, g.h.refcountOrder, n)
	_, err = g.f.WriteAt(b, g.wordAt(c))
	return err
}

// wordAt is where the 8 bytes with the refcount of c lie.
func (g *grower) wordAt(c int64) int64 {
	return int64(g.table[c/g.perBlock()]) + (c%g.perBlock()<<g.h.refcountOrder/8)&^7
}

// word reads them, and tells which of their refcounts is that of c.
func (g *grower) word(c int64) (b []byte, at int64, err error) {
	if i := c / g.perBlock(); i >= int64(len(g.table)) || g.table[i] == 0 {
		return nil, 0, corrupt("cluster %d is in use and has no refcount", c)
	}
	b = make([]byte, 8)
	return b, c % (64 >> g.h.refcountOrder), g.d.readFull(b, g.wordAt(c), "refcounts")
}

// checkBlocks checks that the refcount blocks which change are nothing else: those of the clusters [first, end), and those of
// the tables that are given back.
func (g *grower) checkBlocks(first, end int64) error {
	check := func(c int64) error {
		i := c / g.perBlock()
		if i >= int64(len(g.table)) || g.table[i] == 0 {
			return nil // made anew, or nothing to give back
		}
		switch n, err := g.refcount(int64(g.table[i]) >> g.h.clusterBits); {
		case err != nil:
			return err
		case n != 1:
			return corrupt("refcount block %d at %d has refcount %d itself", i, g.table[i], n)
		}
		return nil
	}
	var err error
	each := func(first, end int64) {
		for c := first; c < end && err == nil; c = (c/g.perBlock() + 1) * g.perBlock() {
			err = check(c)
		}
	}
	each(first, end)
	l1 := int64(g.h.l1Offset) >> g.h.clusterBits
	each(l1, l1+(int64(g.h.l1Size)*8+g.d.cluster()-1)>>g.h.clusterBits)
	table := int64(g.h.refOffset) >> g.h.clusterBits
	each(table, table+int64(g.h.refClusters))
	return err
}

// getRefcount returns refcount i of a block. Those of less than a byte fill it from its lowest bit on.
func getRefcount(b []byte, i int64, order uint32) (n uint64) {
	if order < 3 {
		per := int64(8 >> order)
		return uint64(b[i/per]>>(i%per<<order)) & (1<<(1<<order) - 1)
	}
	for _, c := range b[i<<order/8:][:1<<order/8] {
		n = n<<8 | uint64(c)
	}
	return n
}

func putRefcount(b []byte, i int64, order uint32, n uint64) {
	if order < 3 {
		per := int64(8 >> order)
		shift, mask := i%per<<order, byte(1<<(1<<order)-1)
		b[i/per] = b[i/per]&^(mask<<shift) | byte(n)<<shift
		return
	}
	p := b[i<<order/8:][:1<<order/8]
	for k := len(p) - 1; k >= 0; k-- {
		p[k] = byte(n)
		n >>= 8
	}
}
