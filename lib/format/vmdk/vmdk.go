// Package vmdk reads VMware's virtual disks: monolithicSparse and streamOptimized files, and the disks that a descriptor
// puts together from other files (monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat, vmfs, vmfsSparse, seSparse).
//
// It follows "Virtual Disk Format 5.0" and "Virtual Disk Format 1.1" of VMware (sections The Descriptor File, Hosted
// Sparse Extents, ESX Server Sparse Extents, Stream-Optimized Compressed Sparse Extents); seSparse, which VMware does not
// document, is read as QEMU's block/vmdk.c does. It is stricter than QEMU where that guesses: what lies past the end of
// the stored file is errdef.ErrCorrupt, where qemu-img reads zeros; an extent line that qemu-img passes over (ZERO,
// RDONLY, NOACCESS), so that the disk becomes shorter, is refused; a grain's checksum must be right.
//
// A disk with a parent, a delta, is read over it if Options.Parent opens that; else it is refused.
package vmdk

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/blob"
	"github.com/cdictl/cdictl/lib/limits"
)

// How the files begin.
const (
	// Magic is that of a sparse extent, and of a disk that is one file.
	Magic = "KDMV"
	// MagicCOWD is that of a vmfsSparse extent.
	MagicCOWD = "COWD"
	// MagicSE is the magic and version 2.1 of a seSparse extent.
	MagicSE = "\xbe\xba\xfe\xca\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"
)

const sector = 512

// A File is one of the files that a descriptor names. It may be an image.Extenter, if it knows its holes.
type File interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Options are for Open and Describe. The zero value is useful.
type Options struct {
	// Limits bound the virtual size and the tables held in memory.
	Limits limits.Limits
	// Sibling opens the file that has a name in the folder of the descriptor. The name is one element of a path, and comes
	// from the descriptor: it must not be trusted. The function may be called for the same name again, also after Open has
	// returned and from several goroutines, because not all files of a disk are kept open; it must then give the same
	// content. Nil: a disk that lies in several files is refused.
	Sibling func(name string) (File, error)
	// Parent opens the disk under a delta, by the name that the descriptor gives. The image that it returns is closed with
	// this one. Nil: a disk with a parent is refused. The name comes from the descriptor and must not be trusted.
	Parent func(name string) (image.Image, error)
	// Gap is the number of bytes between two grain tables, or two compressed grains, that are rather read than skipped.
	// 0 suits a local file; where a read costs a round trip, take what arrives in the time of one (256 KiB).
	Gap int64
}

// Open reads the headers, the descriptor and the grain directories of the size bytes in ra. Grain tables are read when
// needed. ctx bounds the opening only. Close does not close ra.
//
// A disk that is one file is an [*Image], which is an image.Mapper; one that lies in several files, or has a parent, is not a
// Mapper.
func Open(ctx context.Context, ra io.ReaderAt, size int64, o Options) (image.Image, error) {
	if size < 0 {
		return nil, fmt.Errorf("vmdk: the stored size must be known: %w", errdef.ErrUsage)
	}
	o.Limits = o.Limits.WithDefaults()
	p, err := readPrefix(ctx, ra, size)
	if err != nil {
		return nil, err
	}
	switch p.kind() {
	case kindSparse:
		return openSparse(ctx, p, o)
	case kindDescriptor:
		return openDescriptor(ctx, p, o)
	default:
		return nil, p.kind().refusal()
	}
}

// openSparse opens a disk that is one file.
func openSparse(ctx context.Context, p prefix, o Options) (image.Image, error) {
	h, err := p.sparseHeader()
	if err != nil {
		return nil, err
	}
	d, err := p.embedded(h, o.Parent != nil)
	if err != nil {
		return nil, err
	}
	if err := o.Limits.CheckVirtualSize(h.size()); err != nil {
		return nil, fmt.Errorf("vmdk: %w", err)
	}
	e, err := newSparse(ctx, p.Blob, p.Size, h, &budget{limits: o.Limits})
	if err != nil {
		return nil, err
	}
	return d.over(newDisk([]*extent{e}, o), nil, o)
}

// A fileKind is what a file is by its first bytes.
type fileKind uint8

const (
	kindNone fileKind = iota
	kindSparse
	kindDescriptor
	kindCOWD
	kindSE
)

func (p prefix) kind() fileKind {
	switch b := p.Head; {
	case hasMagic(b, Magic):
		return kindSparse
	case hasMagic(b, MagicCOWD):
		return kindCOWD
	case hasMagic(b, MagicSE):
		return kindSE
	case MatchDescriptor(b):
		return kindDescriptor
	}
	return kindNone
}

// refusal is why a file of that kind is no disk.
func (k fileKind) refusal() error {
	switch k {
	case kindCOWD, kindSE:
		return errdef.WithHint(unsupported("this file is one extent of a disk, not a disk"), hintDescriptor)
	default:
		return unsupported("neither the magic of a sparse extent nor a descriptor")
	}
}

const hintDescriptor = "name the disk's descriptor, the small .vmdk text file beside it"

func hasMagic(b []byte, magic string) bool {
	return len(b) >= len(magic) && string(b[:len(magic)]) == magic
}

// A prefix is the start of a file, which tells its kind.
type prefix struct{ *blob.Blob }

func readPrefix(ctx context.Context, ra io.ReaderAt, size int64) (prefix, error) {
	b, err := blob.Open(ctx, "vmdk", ra, size)
	return prefix{b}, err
}

// bytes64 makes bytes of a number of sectors that a file tells; false if it is no offset or length at all.
func bytes64(sectors uint64) (int64, bool) {
	if sectors > math.MaxInt64/sector {
		return 0, false
	}
	return int64(sectors) * sector, true
}

// A budget counts what the tables of a disk take in memory, over all its extents.
type budget struct {
	limits limits.Limits
	used   int64
}

// take refuses n bytes more than the limit allows.
func (b *budget) take(what string, n int64) error {
	if err := b.limits.CheckMetadata(what, b.used+n); err != nil {
		return fmt.Errorf("vmdk: %w", err)
	}
	b.used += n
	return nil
}

// corrupt says in what way an image is wrong.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("vmdk: "+format+": %w", append(args, errdef.ErrCorrupt)...)
}

// unsupported says what an image has that cannot be read.
func unsupported(format string, args ...any) error {
	return fmt.Errorf("vmdk: "+format+": %w", append(args, errdef.ErrUnsupported)...)
}
