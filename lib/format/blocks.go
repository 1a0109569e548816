package format

import (
	"context"
	"io"

	"github.com/cdictl/cdictl/lib/format/vdi"
	"github.com/cdictl/cdictl/lib/format/vhd"
	"github.com/cdictl/cdictl/lib/format/vhdx"
	"github.com/cdictl/cdictl/lib/image"
)

// The formats of blocks behind one table. A differencing disk is described, and refused by its parent's name when it
// is opened.

func openDynamicVHD(ctx context.Context, ra io.ReaderAt, size int64, o Options) (image.Image, error) {
	img, err := vhd.Open(ctx, ra, size, o.Limits)
	if err != nil {
		return nil, err
	}
	return img, nil
}

func describeDynamicVHD(ctx context.Context, ra io.ReaderAt, size int64, o Options) (Details, error) {
	info, err := vhd.Describe(ctx, ra, size, o.Limits)
	if err != nil {
		return Details{}, err
	}
	d := Details{Format: "vpc", VirtualSize: info.VirtualSize, StoredSize: max(size, 0), ClusterSize: info.BlockSize}
	return withParent(d, o.Dir, info.Parent), nil
}

func learnVHD(o Options) image.Learner { return vhd.NewLearner(o.Limits) }

func openVDI(ctx context.Context, ra io.ReaderAt, size int64, o Options) (image.Image, error) {
	img, err := vdi.Open(ctx, ra, size, o.Limits)
	if err != nil {
		return nil, err
	}
	return img, nil
}

func describeVDI(ctx context.Context, ra io.ReaderAt, size int64, o Options) (Details, error) {
	info, err := vdi.Describe(ctx, ra, size, o.Limits)
	if err != nil {
		return Details{}, err
	}
	d := Details{Format: "vdi", VirtualSize: info.VirtualSize, StoredSize: max(size, 0), ClusterSize: info.BlockSize}
	return withParent(d, "", info.Parent), nil // a UUID, no file name
}

func learnVDI(o Options) image.Learner { return vdi.NewLearner(o.Limits) }

func openVHDX(ctx context.Context, ra io.ReaderAt, size int64, o Options) (image.Image, error) {
	img, err := vhdx.Open(ctx, ra, size, o.Limits)
	if err != nil {
		return nil, err
	}
	return img, nil
}

func describeVHDX(ctx context.Context, ra io.ReaderAt, size int64, o Options) (Details, error) {
	info, err := vhdx.Describe(ctx, ra, size, o.Limits)
	if err != nil {
		return Details{}, err
	}
	d := Details{
		Format: "vhdx", VirtualSize: info.VirtualSize, StoredSize: max(size, 0), ClusterSize: info.BlockSize, DirtyFlag: info.Dirty,
	}
	return withParent(d, o.Dir, info.Parent), nil
}

func learnVHDX(o Options) image.Learner { return vhdx.NewLearner(o.Limits) }

// withParent names the parent of a differencing disk, which is of the same format.
func withParent(d Details, dir, parent string) Details {
	if parent != "" {
		d.BackingFilename, d.BackingFilenameFormat, d.FullBackingFilename = parent, d.Format, fullName(dir, parent)
	}
	return d
}
