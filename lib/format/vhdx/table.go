package vhdx

import (
	"encoding/binary"

	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/bat"
)

// Block states in the BAT (§2.5.1.1). Reads of what is undefined or unmapped may give anything that was there; zeros are
// what qemu gives.
const (
	notPresent       = 0
	undefined        = 1
	zero             = 2
	unmapped         = 3
	unmappedOld      = 5 // of version 0.95 of the specification
	fullyPresent     = 6
	partiallyPresent = 7
)

// layout is where blocks are and where not.
func (p *parser) layout() bat.Layout {
	areas := []bat.Area{{Start: 0, End: sectionSize, What: "the header section"}}
	for _, r := range p.regions {
		what := "region " + r.id.String()
		switch r.id {
		case guid{}:
			what = "the log"
		case guidBAT:
			what = "the BAT"
		case guidMetadata:
			what = "the metadata"
		}
		areas = append(areas, bat.Area{Start: r.offset, End: r.end(), What: what})
	}
	// The log is for tables only; what it writes elsewhere belongs to no block.
	for _, o := range p.overlay {
		areas = append(areas, bat.Area{Start: o.Start, End: o.End(), What: "what the log writes"})
	}
	return bat.Layout{Format: "vhdx", Size: p.meta.size, Block: p.meta.block, Unit: mib, Stored: p.stored, Areas: areas}
}

// learnBAT reads the entries of a piece.
func (p *parser) learnBAT(off int64, b []byte, runs []image.Run) ([]image.Run, error) {
	n, chunk := p.table.Blocks(), p.meta.chunk()
	at := off / 8
	first := at - at/(chunk+1) // the block of the piece's first entry, or of the one behind it
	i := first
	for ; len(b) >= 8 && i < n; at, b = at+1, b[8:] {
		if at%(chunk+1) == chunk {
			continue // a bitmap's
		}
		e, err := p.entry(i, binary.LittleEndian.Uint64(b))
		if err != nil {
			return runs, err
		}
		if err := p.table.Set(i, e); err != nil {
			return runs, err
		}
		i++
	}
	return p.table.Append(runs, first, i-first), nil
}

// entry is what a BAT entry says of block i.
func (p *parser) entry(i int64, e uint64) (uint32, error) {
	switch state := e & 7; state {
	case notPresent, undefined, unmapped, unmappedOld:
		return bat.Hole, nil
	case zero:
		return bat.Zero, nil
	case fullyPresent:
		at := e >> 20
		if e>>3&0x1ffff != 0 {
			return 0, corrupt("guest offset %d: BAT entry %#x has reserved bits", i*p.meta.block, e)
		}
		if at >= uint64(bat.Zero) {
			return 0, corrupt("guest offset %d: BAT entry %#x leads past the end of any file", i*p.meta.block, e)
		}
		return uint32(at), nil
	case partiallyPresent:
		return 0, corrupt("guest offset %d: block is partially present, but the disk has no parent", i*p.meta.block)
	default:
		return 0, corrupt("guest offset %d: block state %d does not exist", i*p.meta.block, state)
	}
}

// check is for when a piece of the BAT, or the metadata, were learnt.
func (p *parser) check() error {
	if !p.pieces.Done() {
		return nil
	}
	return p.table.Check(p.lim)
}
