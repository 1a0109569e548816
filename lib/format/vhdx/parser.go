package vhdx

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/bat"
	"github.com/cdictl/cdictl/lib/limits"
)

// maxHeldBAT is how much of a BAT is kept that passes before the metadata tell what its entries mean, which is the
// order that qemu writes.
const maxHeldBAT = 16 * mib

// A parser reads the metadata as an image.Learner does: the header section, the log if it is in use, the table of
// metadata, its items, the BAT.
type parser struct {
	lim     limits.Limits
	stored  int64 // -1: not known
	brief   bool  // stop at the BAT
	ordered bool  // the file passes once: take the BAT also before the metadata

	header  *header
	tables  []byte // both tables of regions, until they are parsed
	log     []byte
	logs    *bat.Pieces
	overlay overlay
	flushed uint64 // length that the log says that the file had

	regions []region
	bat     region
	metaAt  region
	metas   *metaTable
	meta    *metadata
	table   *bat.Table
	pieces  *bat.Pieces
	held    []held
}

// held is a piece of the BAT that came before the metadata.
type held struct {
	off int64
	b   []byte
}

func (p *parser) Next(from int64) (image.Range, bool) {
	switch {
	case p.header == nil:
		return bat.Lowest(from, image.Range{Start: 0, Length: headersSize})
	case p.regions == nil:
		return p.logs.Next(from)
	case p.brief && p.meta != nil:
		return image.Range{}, false
	}
	var bats image.Range
	if p.pieces != nil {
		bats, _ = p.pieces.Next(from)
	}
	return bat.Lowest(from, p.wantMeta(), bats)
}

// wantMeta is the next range of the metadata, empty if all is known.
func (p *parser) wantMeta() image.Range {
	switch {
	case p.meta != nil:
		return image.Range{}
	case p.metas != nil:
		return p.metas.span
	}
	return image.Range{Start: p.metaAt.offset, Length: metaTableSize}
}

// Learn takes what Next asked for.
func (p *parser) Learn(r image.Range, b []byte, runs []image.Run) ([]image.Run, error) {
	if p.header == nil {
		return runs, p.learnHeader(b)
	}
	if p.regions == nil {
		return runs, p.learnLog(r, b)
	}
	b = p.overlay.apply(r, b)
	if r == p.wantMeta() {
		if p.metas == nil {
			var err error
			p.metas, err = parseMetaTable(b, p.metaAt)
			return runs, err
		}
		return p.learnMeta(b, runs)
	}
	off, ok := p.pieces.See(r)
	if !ok {
		return runs, fmt.Errorf("vhdx: [%d,+%d) is no range that was asked for: %w", r.Start, r.Length, errdef.ErrUsage)
	}
	if p.meta == nil {
		p.held = append(p.held, held{off, bytes.Clone(b)})
		return runs, nil
	}
	runs, err := p.learnBAT(off, b, runs)
	if err != nil {
		return runs, err
	}
	return runs, p.check()
}

// checkRange checks that what names a part that lies in the file.
func (p *parser) checkRange(what string, off, n int64) error {
	if p.stored >= 0 && (off > p.stored || n > p.stored-off) {
		return corrupt("%s at %d (%d bytes) lies past the end of the stored file (%d bytes)", what, off, n, p.stored)
	}
	return nil
}

func (p *parser) learnHeader(b []byte) error {
	h, err := parseHeader(b)
	if err != nil {
		return err
	}
	p.header = h
	p.tables = bytes.Clone(b[atRegions1:headersSize])
	if !h.logged() {
		return p.learnRegions()
	}
	if err := p.checkRange("log", h.logOffset, h.logLength); err != nil {
		return err
	}
	if err := p.lim.CheckMetadata("log", h.logLength); err != nil {
		return fmt.Errorf("vhdx: %w", err)
	}
	p.log = make([]byte, h.logLength)
	p.logs = bat.NewPieces(h.logOffset, h.logLength)
	return nil
}

func (p *parser) learnLog(r image.Range, b []byte) (err error) {
	off, ok := p.logs.See(r)
	if !ok {
		return fmt.Errorf("vhdx: [%d,+%d) is no range that was asked for: %w", r.Start, r.Length, errdef.ErrUsage)
	}
	copy(p.log[off:], b)
	if !p.logs.Done() {
		return nil
	}
	if p.overlay, p.flushed, err = replay(p.log, p.header.logGUID, p.lim); err != nil {
		return err
	}
	p.log = nil
	if p.stored >= 0 {
		if err := flushed(p.flushed, p.stored); err != nil {
			return err
		}
	}
	return p.learnRegions()
}

// learnRegions reads the tables of regions, now that it is known what the log writes there.
func (p *parser) learnRegions() error {
	t := p.overlay.apply(image.Range{Start: atRegions1, Length: 2 * regionsSize}, p.tables)
	p.tables = nil
	list, err := parseRegions(t[:regionsSize], t[regionsSize:])
	if err != nil {
		return err
	}
	for _, r := range list {
		at := &p.bat
		switch r.id {
		case guidMetadata:
			at = &p.metaAt
		case guidBAT:
		default:
			continue
		}
		if at.length > 0 {
			return corrupt("region %s is there twice", r.id)
		}
		*at = r
	}
	if p.bat.length == 0 || p.metaAt.length == 0 {
		return corrupt("the regions of the BAT and the metadata are not both there among %d", len(list))
	}
	if p.header.logLength > 0 {
		list = append(list, region{offset: p.header.logOffset, length: p.header.logLength})
	}
	slices.SortFunc(list, func(a, b region) int { return cmp.Compare(a.offset, b.offset) })
	for i := 1; i < len(list); i++ {
		if list[i].offset < list[i-1].end() {
			return corrupt("the regions at %d and %d overlap", list[i-1].offset, list[i].offset)
		}
	}
	if err := p.checkRange("region of the metadata", p.metaAt.offset, p.metaAt.length); err != nil {
		return err
	}
	p.regions = list
	if p.ordered && p.bat.length <= maxHeldBAT {
		p.pieces = bat.NewPieces(p.bat.offset, p.bat.length)
	}
	return nil
}

// learnMeta reads the metadata items, and then the pieces of the BAT that came before.
func (p *parser) learnMeta(b []byte, runs []image.Run) ([]image.Run, error) {
	m, err := p.metas.parse(b)
	if err != nil {
		return runs, err
	}
	p.meta = m
	if p.brief {
		return runs, nil
	}
	if err := m.readable(); err != nil {
		return runs, err
	}
	if err := p.lim.CheckVirtualSize(m.size); err != nil {
		return runs, fmt.Errorf("vhdx: %w", err)
	}
	need := m.batEntries() * 8
	if need > p.bat.length {
		return runs, corrupt("BAT of %d bytes is too small for a virtual size of %d, %d are needed", p.bat.length, m.size, need)
	}
	if err := p.checkRange("BAT", p.bat.offset, need); err != nil {
		return runs, err
	}
	if p.table, err = bat.New(p.layout(), p.lim); err != nil {
		return runs, err
	}
	if p.pieces == nil {
		p.pieces = bat.NewPieces(p.bat.offset, need)
	}
	p.pieces.Trim(need)
	for _, h := range p.held {
		if runs, err = p.learnBAT(h.off, h.b, runs); err != nil {
			return runs, err
		}
	}
	p.held = nil
	return runs, p.check()
}
