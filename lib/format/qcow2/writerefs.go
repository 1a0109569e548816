package qcow2

import (
	"encoding/binary"
	"fmt"

	"github.com/cdictl/cdictl/lib/errdef"
)

// refLayout is where the refcounts lie: blocks first, the table behind them.
type refLayout struct{ blocks, table, tables int64 }

// layRefcounts lays refcounts of 16 bits behind an image of end bytes, themselves included.
func layRefcounts(end int64, bits uint) refLayout {
	clusters := end >> bits
	per, n, t := int64(1)<<(bits-1), int64(1), int64(1)
	for {
		all := clusters + n + t
		n2 := (all + per - 1) / per
		t2 := (n2*8 + 1<<bits - 1) >> bits
		if n2 == n && t2 == t {
			return refLayout{end, end + n<<bits, t}
		}
		n, t = n2, t2
	}
}

// refcounts writes the blocks and the table.
func (e *encoder) refcounts() error {
	l := layRefcounts(e.out.pos, e.bits)
	if e.o.Ordered && l != e.refs {
		return fmt.Errorf("qcow2: the disk was not the same when it was read again: %w", errdef.ErrChanged)
	}
	be := binary.BigEndian
	last := (l.table >> e.bits) + l.tables // clusters in all
	block := make([]byte, e.cluster())
	per := e.cluster() / 2
	first := e.start >> e.bits
	for c := int64(0); c < (l.table-l.blocks)>>e.bits*per; {
		clear(block)
		for i := range per {
			n := uint16(0)
			switch {
			case c >= last:
			case c >= first && c < first+int64(len(e.counts)):
				n = e.counts[c-first]
			default:
				n = 1 // header, tables, refcounts
			}
			be.PutUint16(block[2*i:], n)
			c++
		}
		if err := e.out.write(block); err != nil {
			return err
		}
	}
	var b [8]byte
	for at := l.blocks; at < l.table; at += e.cluster() {
		be.PutUint64(b[:], uint64(at))
		if err := e.out.write(b[:]); err != nil {
			return err
		}
	}
	return e.out.pad(e.cluster())
}
