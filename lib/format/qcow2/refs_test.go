package qcow2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cdictl/cdictl/lib/internal/blob"
	"github.com/cdictl/cdictl/lib/limits"
)

// A refFault is a cluster whose refcount is not the number of those that use it.
type refFault struct {
	cluster   int64
	has, used uint64
}

func (f refFault) String() string {
	return fmt.Sprintf("cluster %d has refcount %d and is used %d times", f.cluster, f.has, f.used)
}

// refFaults compares every refcount of a small image without snapshots with the tables, as qemu-img check does. leaks are
// clusters that fewer use, harm those that more use. ok is false if the image is not one that this can be told of.
func refFaults(t testing.TB, b []byte) (leaks, harm []refFault, ok bool) {
	t.Helper()
	ra, size := bytes.NewReader(b), int64(len(b))
	p, err := blob.Open(t.Context(), "qcow2", ra, size)
	if err != nil {
		return nil, nil, false
	}
	h, err := parseHeader(p)
	if err != nil || h.readable(false) != nil || h.checkTables(size) != nil || h.snapshots > 0 || h.bitmaps > 0 || h.refClusters == 0 ||
		h.l1Size > 0 && h.l1Offset > uint64(size) {
		return nil, nil, false
	}
	whole := (size + h.clusterSize() - 1) &^ (h.clusterSize() - 1)
	l := limits.Limits{Metadata: 4 << 20}.WithDefaults()
	d, err := newDisk(t.Context(), zeroBehind{ra, size}, whole, h, root{h.l1Offset, h.l1Size, h.size}, Options{Limits: l})
	if err != nil {
		return nil, nil, false
	}
	g := &grower{h: h, d: d, stored: whole, l: l}
	if g.readRefcounts() != nil {
		return nil, nil, false
	}
	used := make([]uint64, whole>>h.clusterBits)
	use := func(off, n int64) {
		for c := off >> h.clusterBits; n > 0 && c <= (off+n-1)>>h.clusterBits && c < int64(len(used)); c++ {
			used[c]++
		}
	}
	use(0, 1)
	use(int64(h.l1Offset), int64(h.l1Size)*8)
	use(int64(h.refOffset), int64(h.refClusters)<<h.clusterBits)
	for _, at := range g.table {
		if at != 0 {
			use(int64(at), h.clusterSize())
		}
	}
	entry := int64(8)
	if h.extended() {
		entry = 16
	}
	at := func(off int64) uint64 {
		if off+8 > size {
			return 0
		}
		return binary.BigEndian.Uint64(b[off:])
	}
	for i := range int64(h.l1Size) {
		l2 := int64(at(int64(h.l1Offset)+8*i) & offsetMask)
		if l2 == 0 {
			continue
		}
		use(l2, h.clusterSize())
		for k := int64(0); k < h.clusterSize(); k += entry {
			e := at(l2 + k)
			switch shift := 62 - (h.clusterBits - 8); {
			case e&compressedBit != 0:
				host, sectors := int64(e&(1<<shift-1)), int64(e&(1<<62-1)>>shift)
				use(host, (host&^511+512*(sectors+1))-host)
			case e&offsetMask != 0:
				use(int64(e&offsetMask), 1)
			}
		}
	}
	for c, n := range used {
		switch has, err := g.refcount(int64(c)); {
		case err != nil:
			return nil, nil, false
		case has < n:
			harm = append(harm, refFault{int64(c), has, n})
		case has > n:
			leaks = append(leaks, refFault{int64(c), has, n})
		}
	}
	return leaks, harm, true
}
