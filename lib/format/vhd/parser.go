package vhd

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/bat"
	"github.com/cdictl/cdictl/lib/limits"
)

// unallocated is the BAT entry of a block that is not stored.
const unallocated = 0xffffffff

// A parser reads the metadata of a dynamic VHD, as an image.Learner does: the copy of the footer, the header, the
// BAT, and, where the end of the file is not known, the footer behind the last block.
type parser struct {
	lim    limits.Limits
	stored int64 // -1: not known
	tail   int64 // of stored, the length of the footer
	brief  bool  // stop at the header

	head   []byte // the copy of the footer
	footer Footer
	header *header
	table  *bat.Table
	pieces *bat.Pieces
	end    *image.Range // of the footer, where that is to be learnt
	endErr error        // what is wrong if the file ends there
}

func (p *parser) Next(from int64) (image.Range, bool) {
	switch {
	case p.head == nil:
		return bat.Lowest(from, image.Range{Start: 0, Length: FooterSize})
	case p.header == nil:
		return bat.Lowest(from, image.Range{Start: int64(p.footer.DataOffset), Length: headerSize})
	case p.brief:
		return image.Range{}, false
	case p.end != nil:
		return bat.Lowest(from, *p.end)
	}
	return p.pieces.Next(from)
}

// Learn takes what Next asked for.
func (p *parser) Learn(r image.Range, b []byte, runs []image.Run) ([]image.Run, error) {
	if p.head == nil {
		return runs, p.learnFooter(b)
	}
	if p.header == nil {
		return runs, p.learnHeader(b)
	}
	if p.end != nil {
		p.learnEnd(b)
		return runs, nil
	}
	return p.learnTable(r, b, runs)
}

func (p *parser) learnFooter(b []byte) error {
	if !bytes.HasPrefix(b, []byte(Cookie)) {
		return corrupt("a dynamic disk must begin with a copy of its footer, not with %q", b[:min(len(b), len(Cookie))])
	}
	f, err := parse(b)
	if err != nil {
		return err
	}
	if f.Type != Dynamic && f.Type != Differencing {
		return corrupt("disk type is %s, but the footer is at the start", f.Type)
	}
	if f.DataOffset < FooterSize || f.DataOffset > 1<<62 {
		return corrupt("header offset %d lies in the footer or nowhere", f.DataOffset)
	}
	if err := p.checkRange("header", int64(f.DataOffset), headerSize); err != nil {
		return err
	}
	p.head, p.footer = bytes.Clone(b), f
	return nil
}

// checkRange checks that metadata lies in the file, before its footer.
func (p *parser) checkRange(what string, off, n int64) error {
	if p.stored >= 0 && (off > p.stored-p.tail || n > p.stored-p.tail-off) {
		return corrupt("%s at %d (%d bytes) lies past the end of the stored file (%d bytes)", what, off, n, p.stored)
	}
	return nil
}

func (p *parser) learnHeader(b []byte) error {
	h, err := parseHeader(b)
	if err != nil {
		return err
	}
	p.header = &h
	if p.brief {
		return nil
	}
	if err := readable(p.footer, h); err != nil {
		return err
	}
	size := p.footer.VirtualSize
	if err := p.lim.CheckVirtualSize(size); err != nil {
		return fmt.Errorf("vpc: %w", err)
	}
	data := int64(p.footer.DataOffset)
	need := (size + h.block - 1) / h.block
	switch {
	case int64(h.entries) < need:
		return corrupt("BAT of %d entries is too small for a virtual size of %d, %d are needed", h.entries, size, need)
	case h.table < FooterSize || h.table > 1<<62:
		return corrupt("BAT offset %d lies in the footer or nowhere", h.table)
	case int64(h.table) < data+headerSize && int64(h.table)+need*4 > data:
		return corrupt("BAT at %d overlaps the header at %d", h.table, data)
	}
	start := int64(h.table)
	if err := p.checkRange("BAT", start, need*4); err != nil {
		return err
	}
	l := bat.Layout{
		Format: "vpc", Size: size, Block: h.block,
		Base: bitmapSize(h.block), Unit: sector, Lead: bitmapSize(h.block), Whole: true, Stored: -1,
		Areas: []bat.Area{
			{Start: 0, End: FooterSize, What: "the copy of the footer"},
			{Start: data, End: data + headerSize, What: "the header"},
			{Start: start, End: start + need*4, What: "the BAT"},
		},
	}
	if p.stored >= 0 {
		l.Stored = p.stored - p.tail
	}
	if p.table, err = bat.New(l, p.lim); err != nil {
		return err
	}
	p.pieces = bat.NewPieces(start, need*4)
	return p.complete()
}

func (p *parser) learnTable(r image.Range, b []byte, runs []image.Run) ([]image.Run, error) {
	off, ok := p.pieces.See(r)
	if !ok {
		return runs, fmt.Errorf("vpc: [%d,+%d) is no range that was asked for: %w", r.Start, r.Length, errdef.ErrUsage)
	}
	first := off / 4
	for i := first; len(b) > 0; i, b = i+1, b[4:] {
		e := binary.BigEndian.Uint32(b)
		if e == unallocated {
			continue
		}
		if e == bat.Zero { // no file reaches there; the number means something else in a Table
			return runs, corrupt("BAT entry %d is %#x", i, e)
		}
		if err := p.table.Set(i, e); err != nil {
			return runs, err
		}
	}
	return p.table.Append(runs, first, r.Length/4), p.complete()
}

// complete is for when a piece of the BAT was learnt.
func (p *parser) complete() error {
	if !p.pieces.Done() {
		return nil
	}
	if err := p.table.Check(p.lim); err != nil {
		return err
	}
	if p.stored < 0 {
		// The footer is behind the last block, or the BAT if there is none. 511 bytes of it are there in any case.
		at := max(p.table.End(), int64(p.header.table)+p.table.Blocks()*4, int64(p.footer.DataOffset)+headerSize)
		p.end = &image.Range{Start: (at + sector - 1) &^ (sector - 1), Length: FooterSize - 1}
	}
	return nil
}

// learnEnd looks at what is behind the last block. If the file ends there it is the footer; if not, it may be
// anything: a block that was being allocated when the power failed, the footer of before. Which it is, the length of
// the file will tell.
func (p *parser) learnEnd(b []byte) {
	p.end = &image.Range{Start: p.end.Start} // learnt
	_, p.endErr = agree(p.head, append([]byte{0}, b...))
}

// A Learner reads a dynamic VHD out of a stream. It cannot look at the end of the file before the blocks are placed,
// so it looks for the footer right behind them.
type Learner struct{ p parser }

var _ image.Learner = (*Learner)(nil)

// NewLearner makes a Learner that has learnt nothing.
func NewLearner(lim limits.Limits) *Learner {
	return &Learner{parser{lim: lim.WithDefaults(), stored: -1}}
}

// Next is as in image.Learner.
func (l *Learner) Next(from int64) (image.Range, bool) { return l.p.Next(from) }

// Learn is as in image.Learner.
func (l *Learner) Learn(r image.Range, b []byte, runs []image.Run) ([]image.Run, error) {
	return l.p.Learn(r, b, runs)
}

// Size is the virtual size; -1 before the header was learnt.
func (l *Learner) Size() int64 {
	if l.p.table == nil {
		return -1
	}
	return l.p.footer.VirtualSize
}

// Finish checks that a stored file of that length holds all blocks and a footer behind them. A footer that lies
// farther behind was not seen.
func (l *Learner) Finish(stored int64) error {
	if l.p.end == nil || l.p.end.Length > 0 {
		return fmt.Errorf("vpc: the BAT and the footer were not learnt: %w", errdef.ErrUsage)
	}
	switch n := stored - l.p.end.Start; {
	case n < FooterSize-1:
		return corrupt("blocks and footer end at %d, past the end of the stored file (%d bytes)", l.p.end.Start+FooterSize-1, stored)
	case n <= FooterSize:
		return l.p.endErr
	}
	return nil
}

// Unpack is an error: no run is packed.
func (l *Learner) Unpack(_, _ []byte) error { return bat.NotPacked("vpc") }
