// Package qcow2 reads QEMU's qcow2 images: versions 2 and 3, every cluster size, zlib and zstd clusters, standard and
// extended L2 tables, and internal snapshots.
//
// It follows docs/interop/qcow2.txt of QEMU and is stricter than QEMU where that guesses: a table entry with reserved
// bits, an unaligned offset, or one that leads past the end of the stored file is errdef.ErrCorrupt, where qemu-img reads
// zeros and exits 0. Refcounts are not needed for reading and are not looked at, so an image with the dirty or the
// corrupt bit reads as well as its L1 and L2 tables allow.
package qcow2

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/blob"
	"github.com/cdictl/cdictl/lib/internal/span"
	"github.com/cdictl/cdictl/lib/limits"
)

// Magic is how every qcow2 file begins. Version 1 ("qcow") has the same first four bytes; see [Match].
const Magic = "QFI\xfb"

// MatchLen is how many bytes [Match] wants to see.
const MatchLen = 8

// Match reports whether a file that begins with head is a qcow2 file. Version 1 is another format. A version above 3
// matches, and is refused by [Open].
func Match(head []byte) bool {
	return len(head) >= MatchLen && string(head[:4]) == Magic && binary.BigEndian.Uint32(head[4:]) >= 2
}

// Options are for Open and Describe. The zero value is useful.
type Options struct {
	// Limits bound the virtual size and the tables held in memory.
	Limits limits.Limits
	// Snapshot is the ID or the name of an internal snapshot to read; empty means the active disk. As in qemu-img an ID
	// goes before an equal name.
	Snapshot string
	// Backing opens the backing file by the name and the format that the image gives; format may be empty. The image
	// that it returns is closed with this one. Nil: an image with a backing file is refused. The name comes from
	// the image and must not be trusted.
	Backing func(name, format string) (image.Image, error)
	// Gap is the number of bytes between two L2 tables, or two compressed clusters, that are rather read than
	// skipped. 0 suits a local file; where a read costs a round trip, take what arrives in the time of one (256 KiB).
	Gap int64
}

// Open reads the header, the L1 table and, for a snapshot, the snapshot table of the size bytes in ra. L2 tables are read
// when needed. ctx bounds the opening only. Close does not close ra.
//
// An image without a backing file is an [*Image], which is an image.Mapper; one with a backing file is not a Mapper.
func Open(ctx context.Context, ra io.ReaderAt, size int64, o Options) (image.Image, error) {
	if size < 0 {
		return nil, fmt.Errorf("qcow2: the stored size must be known: %w", errdef.ErrUsage)
	}
	o.Limits = o.Limits.WithDefaults()
	p, err := blob.Open(ctx, "qcow2", ra, size)
	if err != nil {
		return nil, err
	}
	h, err := parseHeader(p)
	if err != nil {
		return nil, err
	}
	if err := h.readable(o.Backing != nil); err != nil {
		return nil, err
	}
	if err := h.checkTables(size); err != nil {
		return nil, err
	}
	active := root{offset: h.l1Offset, entries: h.l1Size, size: h.size}
	if o.Snapshot != "" {
		if active, err = findSnapshot(ctx, ra, size, h, o); err != nil {
			return nil, err
		}
	}
	if err := o.Limits.CheckVirtualSize(active.size); err != nil {
		return nil, fmt.Errorf("qcow2: %w", err)
	}
	d, err := newDisk(ctx, ra, size, h, active, o)
	if err != nil {
		return nil, err
	}
	if h.backingFile == "" {
		return &Image{d}, nil
	}
	back, err := o.Backing(h.backingFile, h.backingFormat)
	if err != nil {
		return nil, fmt.Errorf("qcow2: backing file %q: %w", h.backingFile, err)
	}
	return &span.Overlay{Disk: d.Disk, Back: back, Name: "backing file"}, nil
}

// corrupt says in what way an image is wrong.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("qcow2: "+format+": %w", append(args, errdef.ErrCorrupt)...)
}

// unsupported says what an image has that cannot be read.
func unsupported(format string, args ...any) error {
	return fmt.Errorf("qcow2: "+format+": %w", append(args, errdef.ErrUnsupported)...)
}
