// Package vhdx reads Hyper-V's VHDX: dynamic and fixed, with logical sectors of 512 and of 4096 bytes. A differencing
// one is refused by its parent's name.
//
// It follows [MS-VHDX], "Virtual Hard Disk v2 (VHDX) File Format"; sections are given as §.
//
// The file begins with two headers, of which the one with the higher sequence number is current (§2.2.2), and two
// copies of a table of regions (§2.2.3). One region holds metadata (§2.6), one the BAT (§2.5), which tells the place
// and the state of each block. Entries for bitmaps of sectors stand between those for blocks. They matter in
// differencing disks only, and qemu is known to have left nonsense there: they are not looked at.
//
// Tables are changed through a log (§2.3). A file that was not closed has entries in it that must be replayed before
// anything else is read. That is done in memory: what the log writes lies over what is read, and the file stays as it
// is. qemu-img refuses such a file until `qemu-img check -r all` has written the changes down; then it reads what is
// read here.
//
// This package is stricter than qemu where that guesses. A log that is said to be in use and has no valid sequence is
// errdef.ErrCorrupt, as §2.3.3 has it, and so is a block past the end of the stored file, over a region, over what
// the log writes, or used twice. (§2.3.3 would have a file whose last blocks were allocated in the log made longer,
// and their content be zeros; here that is a block past the end.) Qemu reads a disk with sectors of 4096 bytes in an
// eighth of its size; here it is whole.
//
// [MS-VHDX]: https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-vhdx
package vhdx

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/bat"
	"github.com/cdictl/cdictl/lib/limits"
)

// Magic is how every VHDX begins.
const Magic = "vhdxfile"

// An Image is an open VHDX: an image.Mapper.
type Image struct{ bat.Disk }

// Open reads the metadata of the size bytes in ra, and replays the log in memory if there is something in it. ctx
// bounds the opening only. Close does not close ra.
func Open(ctx context.Context, ra io.ReaderAt, size int64, lim limits.Limits) (*Image, error) {
	if size < 0 {
		return nil, fmt.Errorf("vhdx: the stored size must be known: %w", errdef.ErrUsage)
	}
	p := &parser{lim: lim.WithDefaults(), stored: size}
	if err := bat.Load(ctx, "vhdx", ra, size, 0, p); err != nil {
		return nil, err
	}
	return &Image{bat.NewDisk(p.table, ra)}, nil
}

// Info is what headers and metadata tell.
type Info struct {
	VirtualSize    int64
	BlockSize      int64
	LogicalSector  int64
	PhysicalSector int64
	// Fixed says that no block is to be given back: all of them are stored.
	Fixed bool
	// Dirty says that the log has entries that were not yet written down.
	Dirty bool
	// DiskID is the UUID by which a guest knows the disk (SCSI page 83).
	DiskID string
	// Parent is a differencing disk's parent, as the image names it; not opened, not to be trusted.
	Parent string
}

// Describe tells what headers and metadata say and does not look at the BAT; it works on differencing disks too. size
// is the stored size; -1 says that ra is only the start of a file. Where that does not reach as far as the metadata,
// which lie some MiB from the start, the virtual size is -1 and the rest empty.
func Describe(ctx context.Context, ra io.ReaderAt, size int64, lim limits.Limits) (Info, error) {
	p := &parser{lim: lim.WithDefaults(), stored: size, brief: true}
	switch err := bat.Load(ctx, "vhdx", ra, size, 0, p); {
	case errors.Is(err, bat.ErrBeyond):
		return Info{VirtualSize: -1}, nil
	case err != nil:
		return Info{}, err
	}
	m := p.meta
	return Info{
		VirtualSize: m.size, BlockSize: m.block, LogicalSector: m.logical, PhysicalSector: m.physical,
		Fixed: m.fixed, Dirty: len(p.overlay) > 0, DiskID: m.diskID.String(), Parent: m.parent,
	}, nil
}

// A Learner reads a VHDX out of a stream.
type Learner struct{ p parser }

var _ image.Learner = (*Learner)(nil)

// NewLearner makes a Learner that has learnt nothing.
func NewLearner(lim limits.Limits) *Learner {
	return &Learner{parser{lim: lim.WithDefaults(), stored: -1, ordered: true}}
}

// Next is as in image.Learner.
func (l *Learner) Next(from int64) (image.Range, bool) { return l.p.Next(from) }

// Learn is as in image.Learner.
func (l *Learner) Learn(r image.Range, b []byte, runs []image.Run) ([]image.Run, error) {
	return l.p.Learn(r, b, runs)
}

// Size is the virtual size; -1 before the metadata were learnt.
func (l *Learner) Size() int64 {
	if l.p.table == nil {
		return -1
	}
	return l.p.table.Size
}

// Finish checks that a stored file of that length holds all blocks, and all that was there when the log was written.
func (l *Learner) Finish(stored int64) error {
	if l.p.table == nil || !l.p.pieces.Done() {
		return fmt.Errorf("vhdx: the BAT was not learnt: %w", errdef.ErrUsage)
	}
	if err := flushed(l.p.flushed, stored); err != nil {
		return err
	}
	return l.p.table.Finish(stored)
}

// Unpack is an error: no run is packed.
func (l *Learner) Unpack(_, _ []byte) error { return bat.NotPacked("vhdx") }

// corrupt says in what way an image is wrong.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("vhdx: "+format+": %w", append(args, errdef.ErrCorrupt)...)
}

// unsupported says what an image has that cannot be read.
func unsupported(format string, args ...any) error {
	return fmt.Errorf("vhdx: "+format+": %w", append(args, errdef.ErrUnsupported)...)
}
