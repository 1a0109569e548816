package format

import (
	"context"
	"io"

	"github.com/cdictl/cdictl/lib/format/vmdk"
	"github.com/cdictl/cdictl/lib/image"
)

func vmdkOptions(o Options) vmdk.Options {
	v := vmdk.Options{Limits: o.Limits, Gap: o.Gap}
	if o.Sibling != nil {
		v.Sibling = func(name string) (vmdk.File, error) { return o.Sibling(name) }
	}
	return v
}

func openVMDK(ctx context.Context, ra io.ReaderAt, size int64, o Options) (image.Image, error) {
	return vmdk.Open(ctx, ra, size, vmdkOptions(o))
}

func learnVMDK(o Options) image.Learner { return vmdk.NewLearner(vmdkOptions(o)) }

func describeVMDK(ctx context.Context, ra io.ReaderAt, size int64, o Options) (Details, error) {
	info, err := vmdk.Describe(ctx, ra, size, vmdkOptions(o))
	if err != nil {
		return Details{}, err
	}
	d := Details{
		Format: "vmdk", VirtualSize: info.VirtualSize, StoredSize: max(size, 0), ClusterSize: info.ClusterSize,
		Encrypted: info.Encrypted, BackingFilename: info.Parent, FullBackingFilename: fullName(o.Dir, info.Parent),
	}
	if info.Parent != "" {
		d.BackingFilenameFormat = "vmdk"
	}
	s := &VMDKSpecific{CID: info.CID, ParentCID: info.ParentCID, CreateType: info.CreateType}
	for _, x := range info.Extents {
		s.Extents = append(s.Extents, VMDKExtent{
			Filename: fullName(o.Dir, x.Name), Format: x.Type, VirtualSize: x.VirtualSize, ClusterSize: x.ClusterSize, Compressed: x.Compressed,
		})
	}
	d.FormatSpecific = &Specific{Type: "vmdk", VMDK: s}
	return d, nil
}
