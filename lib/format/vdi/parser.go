package vdi

import (
	"encoding/binary"
	"fmt"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/bat"
	"github.com/cdictl/cdictl/lib/limits"
)

// Entries of the block map that are no place.
const (
	unallocated = 0xffffffff // never allocated
	discarded   = 0xfffffffe // allocated once, zeros since
)

// A parser reads the metadata as an image.Learner does: the header, then the block map.
type parser struct {
	lim    limits.Limits
	stored int64 // -1: not known
	brief  bool  // stop at the header

	header *header
	table  *bat.Table
	pieces *bat.Pieces
}

func (p *parser) Next(from int64) (image.Range, bool) {
	switch {
	case p.header == nil:
		return bat.Lowest(from, image.Range{Start: 0, Length: headerSize})
	case p.brief:
		return image.Range{}, false
	}
	return p.pieces.Next(from)
}

// Learn takes what Next asked for.
func (p *parser) Learn(r image.Range, b []byte, runs []image.Run) ([]image.Run, error) {
	if p.header == nil {
		return runs, p.learnHeader(b)
	}
	off, ok := p.pieces.See(r)
	if !ok {
		return runs, fmt.Errorf("vdi: [%d,+%d) is no range that was asked for: %w", r.Start, r.Length, errdef.ErrUsage)
	}
	first := off / 4
	for i := first; len(b) > 0; i, b = i+1, b[4:] {
		e := binary.LittleEndian.Uint32(b)
		if e == unallocated || e == discarded {
			continue
		}
		if err := p.table.Set(i, e); err != nil {
			return runs, err
		}
	}
	runs = p.table.Append(runs, first, r.Length/4)
	return runs, p.complete()
}

func (p *parser) learnHeader(b []byte) error {
	h, err := parseHeader(b)
	if err != nil {
		return err
	}
	p.header = h
	if p.brief {
		return nil
	}
	if err := h.readable(); err != nil {
		return err
	}
	if err := p.lim.CheckVirtualSize(h.size); err != nil {
		return fmt.Errorf("vdi: %w", err)
	}
	n := 4 * ((h.size + h.block - 1) / h.block)
	if p.stored >= 0 && (h.mapAt > p.stored || n > p.stored-h.mapAt) {
		return corrupt("block map at %d (%d bytes) lies past the end of the stored file (%d bytes)", h.mapAt, n, p.stored)
	}
	p.table, err = bat.New(bat.Layout{
		Format: "vdi", Size: h.size, Block: h.block, Base: h.dataAt, Unit: h.block, Stored: p.stored,
		Areas: []bat.Area{{Start: 0, End: headerSize, What: "the header"}, {Start: h.mapAt, End: h.mapAt + n, What: "the block map"}},
	}, p.lim)
	if err != nil {
		return err
	}
	p.pieces = bat.NewPieces(h.mapAt, n)
	return nil
}

// complete is for when a piece of the map was learnt.
func (p *parser) complete() error {
	if !p.pieces.Done() {
		return nil
	}
	return p.table.Check(p.lim)
}
