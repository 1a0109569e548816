// Package vdi reads VirtualBox's disk images: dynamic (VirtualBox's "normal") and static ("fixed"). Differencing and
// undo images are refused.
//
// There is no specification but VirtualBox itself (include/iprt/formats and src/VBox/Storage/VDICore.h, version 1.1
// of the header) and what its developers wrote in https://forums.virtualbox.org/viewtopic.php?t=8046.
//
// A header leads to the block map, one number for each block of the disk: its place among the blocks that follow. A
// block that was never allocated, and one that was discarded, read as zeros. In a static image all blocks are there.
//
// It reads what qemu reads, and block sizes other than 1 MiB besides. It is stricter where qemu guesses: a block past
// the end of the stored file, over a header, or used twice is errdef.ErrCorrupt, and a block with extra data before
// it, which qemu does not look at, is errdef.ErrUnsupported.
package vdi

import (
	"context"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/bat"
	"github.com/cdictl/cdictl/lib/limits"
)

// Magic is the signature, which stands at MagicOffset behind a text for people.
const (
	Magic       = "\x7f\x10\xda\xbe"
	MagicOffset = 0x40
)

// prefix is read at once: the header and the block map of 16 GiB.
const prefix = 64 << 10

// An Image is an open VDI: an image.Mapper.
type Image struct{ bat.Disk }

// Open reads header and block map of the size bytes in ra. ctx bounds the opening only. Close does not close ra.
func Open(ctx context.Context, ra io.ReaderAt, size int64, lim limits.Limits) (*Image, error) {
	if size < 0 {
		return nil, fmt.Errorf("vdi: the stored size must be known: %w", errdef.ErrUsage)
	}
	p := &parser{lim: lim.WithDefaults(), stored: size}
	if err := bat.Load(ctx, "vdi", ra, size, prefix, p); err != nil {
		return nil, err
	}
	return &Image{bat.NewDisk(p.table, ra)}, nil
}

// Info is what the header tells.
type Info struct {
	Type        Type
	VirtualSize int64
	BlockSize   int64
	Allocated   int64 // blocks
	Comment     string
	UUID        string
	// Parent is the UUID of the image below; empty if there is none.
	Parent string
}

// Describe tells what the header says and looks at nothing else; it works on differencing images too. size is the
// stored size; -1 says that ra is only the start of a file.
func Describe(ctx context.Context, ra io.ReaderAt, size int64, lim limits.Limits) (Info, error) {
	p := &parser{lim: lim.WithDefaults(), stored: size, brief: true}
	if err := bat.Load(ctx, "vdi", ra, size, prefix, p); err != nil {
		return Info{}, err
	}
	h := p.header
	return Info{
		Type: h.typ, VirtualSize: h.size, BlockSize: h.block, Allocated: int64(h.allocated), Comment: h.comment,
		UUID: formatUUID(h.uuid), Parent: h.parentName(),
	}, nil
}

// A Learner reads a VDI out of a stream: all writers put the map before the blocks.
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
	return l.p.table.Size
}

// Finish checks that a stored file of that length holds all blocks.
func (l *Learner) Finish(stored int64) error {
	if l.p.table == nil || !l.p.pieces.Done() {
		return fmt.Errorf("vdi: the block map was not learnt: %w", errdef.ErrUsage)
	}
	return l.p.table.Finish(stored)
}

// Unpack is an error: no run is packed.
func (l *Learner) Unpack(_, _ []byte) error { return bat.NotPacked("vdi") }

// corrupt says in what way an image is wrong.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("vdi: "+format+": %w", append(args, errdef.ErrCorrupt)...)
}

// unsupported says what an image has that cannot be read.
func unsupported(format string, args ...any) error {
	return fmt.Errorf("vdi: "+format+": %w", append(args, errdef.ErrUnsupported)...)
}
