package format

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

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
	v := vmdkOptions(o)
	if o.AllowBacking != "" {
		v.Parent = (&chain{ctx: ctx, o: o, dir: o.Dir}).openParent
	}
	return vmdk.Open(ctx, ra, size, v)
}

// openParent is vmdk.Options.Parent.
func (c *chain) openParent(name string) (image.Image, error) { return c.open(name, "vmdk") }

// openVMDK opens a disk of the chain, whose own files and parent must lie inside the allowed folder, too.
func (c *chain) openVMDK(f *os.File, path string, size int64) (image.Image, error) {
	dir, allowed := filepath.Dir(path), c.o.AllowBacking
	return vmdk.Open(c.ctx, f, size, vmdk.Options{Limits: c.o.Limits, Parent: c.openParent, Sibling: func(name string) (vmdk.File, error) {
		f, err := openInside(allowed, dir+string(filepath.Separator)+name)
		if err != nil {
			return nil, err
		}
		st, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return chainFile{f, st.Size()}, nil
	}})
}

// chainFile is a file of a disk in a chain.
type chainFile struct {
	*os.File
	size int64
}

func (f chainFile) Size() int64 { return f.size }

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
