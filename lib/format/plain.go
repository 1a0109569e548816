package format

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/raw"
	"github.com/cdictl/cdictl/lib/format/vhd"
	"github.com/cdictl/cdictl/lib/image"
)

// The formats that are the disk's bytes in order: raw, and a fixed VHD, which is raw with a footer.

func sizeRaw(_ []byte, stored int64) (int64, error) { return raw.VirtualSize(stored), nil }

func openRaw(_ context.Context, ra io.ReaderAt, size int64, o Options) (image.Image, error) {
	if err := o.Limits.CheckVirtualSize(raw.VirtualSize(size)); err != nil {
		return nil, fmt.Errorf("raw: %w", err)
	}
	return raw.Open(ra, size, o.Holes), nil
}

func describeRaw(_ context.Context, _ io.ReaderAt, size int64, _ Options) (Details, error) {
	return Details{Format: "raw", VirtualSize: raw.VirtualSize(size), StoredSize: size}, nil
}

func sizeVHD(tail []byte, stored int64) (int64, error) {
	f, err := vhd.Parse(tail, stored)
	return f.VirtualSize, err
}

func openVHD(ctx context.Context, ra io.ReaderAt, size int64, o Options) (image.Image, error) {
	f, err := readFooter(ctx, ra, size)
	if err != nil {
		return nil, err
	}
	if err := o.Limits.CheckVirtualSize(f.VirtualSize); err != nil {
		return nil, fmt.Errorf("vpc: %w", err)
	}
	return raw.Open(ra, f.VirtualSize, o.Holes), nil // whole sectors: raw adds nothing
}

func describeVHD(ctx context.Context, ra io.ReaderAt, size int64, _ Options) (Details, error) {
	f, err := readFooter(ctx, ra, size)
	if err != nil {
		return Details{}, err
	}
	return Details{Format: "vpc", VirtualSize: f.VirtualSize, StoredSize: size}, nil
}

func readFooter(ctx context.Context, ra io.ReaderAt, size int64) (vhd.Footer, error) {
	if err := ctx.Err(); err != nil {
		return vhd.Footer{}, err
	}
	if size < vhd.FooterSize {
		return vhd.Footer{}, fmt.Errorf("vpc: %d bytes are less than a footer: %w", size, errdef.ErrCorrupt)
	}
	tail := make([]byte, vhd.FooterSize)
	if n, err := ra.ReadAt(tail, size-vhd.FooterSize); n < len(tail) {
		if err == nil || errors.Is(err, io.EOF) {
			err = errdef.ErrChanged
		}
		return vhd.Footer{}, fmt.Errorf("vpc: footer at %d: %w", size-vhd.FooterSize, err)
	}
	return vhd.Parse(tail, size)
}
