package vhd

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/bat"
	"github.com/cdictl/cdictl/lib/limits"
)

// prefix is read at once: footer, header and the BAT of 32 GiB.
const prefix = 64 << 10

// An Image is an open dynamic VHD: an image.Mapper.
type Image struct{ bat.Disk }

// Open reads the metadata of the dynamic VHD of size bytes in ra. ctx bounds the opening only. Close does not close ra.
func Open(ctx context.Context, ra io.ReaderAt, size int64, lim limits.Limits) (*Image, error) {
	if size < 0 {
		return nil, fmt.Errorf("vpc: the stored size must be known: %w", errdef.ErrUsage)
	}
	p, err := load(ctx, ra, size, lim, false)
	if err != nil {
		return nil, err
	}
	return &Image{bat.NewDisk(p.table, ra)}, nil
}

// load reads the metadata, and checks the footer at the end if that is known.
func load(ctx context.Context, ra io.ReaderAt, size int64, lim limits.Limits, brief bool) (*parser, error) {
	p := &parser{lim: lim.WithDefaults(), stored: size, brief: brief}
	if size < 0 {
		return p, bat.Load(ctx, "vpc", ra, size, prefix, p)
	}
	head, tail := make([]byte, FooterSize), make([]byte, FooterSize)
	if size < 2*FooterSize {
		return nil, corrupt("%d bytes are less than two footers", size)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, r := range []struct {
		b   []byte
		off int64
	}{{head, 0}, {tail, size - FooterSize}} {
		if n, err := ra.ReadAt(r.b, r.off); n < len(r.b) {
			if err == nil || errors.Is(err, io.EOF) {
				err = errdef.ErrChanged
			}
			return nil, fmt.Errorf("vpc: footer at %d: %w", r.off, err)
		}
	}
	// What is wrong with the start is said first.
	if err := (&parser{stored: size}).learnFooter(head); err != nil {
		return nil, err
	}
	var err error
	if p.tail, err = agree(head, tail); err != nil {
		return nil, err
	}
	if (size-p.tail)%sector != 0 {
		return nil, corrupt("footer at %d, which is no sector's", size-p.tail)
	}
	return p, bat.Load(ctx, "vpc", ra, size, prefix, p)
}

// Info is what footer and header of a dynamic or differencing VHD tell.
type Info struct {
	Footer
	// BlockSize is what is allocated at once.
	BlockSize int64
	// Parent is the file name of a differencing disk's parent, as the image has it; not opened, not to be trusted.
	Parent string
}

// Describe tells what footer and header say and looks at nothing else; it works on differencing disks too. size is
// the stored size; -1 says that ra is only the start of a file, and then a header beyond is not read.
func Describe(ctx context.Context, ra io.ReaderAt, size int64, lim limits.Limits) (Info, error) {
	p, err := load(ctx, ra, size, lim, true)
	if err != nil && (!errors.Is(err, bat.ErrBeyond) || p.head == nil) {
		return Info{}, err
	}
	info := Info{Footer: p.footer}
	if p.header == nil {
		return info, nil // it lies behind what there is
	}
	info.BlockSize = p.header.block
	if p.footer.Type == Differencing {
		info.Parent = p.header.parent
	}
	return info, nil
}
