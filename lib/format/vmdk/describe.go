package vmdk

import (
	"context"
	"io"
)

// Info is what the header and the descriptor tell.
type Info struct {
	CreateType     string
	CID, ParentCID uint32 // ParentCID is 0xffffffff without a parent
	Parent         string // as the descriptor names it; not opened, not to be trusted
	Encrypted      bool
	VirtualSize    int64
	// ClusterSize is the grain size where all extents have the same; else 0.
	ClusterSize int64
	Extents     []ExtentInfo
}

// ExtentInfo is one extent of a disk.
type ExtentInfo struct {
	// Name of the file, as the descriptor has it and not to be trusted; "" is the described file itself.
	Name string
	// Type as the descriptor has it; "" for the described file itself.
	Type        string
	VirtualSize int64
	ClusterSize int64 // 0 if flat, or not known
	Compressed  bool
}

// maxDescribed is how many extents are looked at for their grain size: each costs a request where the disk is remote.
const maxDescribed = 64

// Describe tells what the header and the descriptor say. It works on a disk that Open refuses for its parent, its type or
// encryption. size is the stored size; -1 says that ra is only the start of a file. Of the other files of a disk only
// the headers are read, if Options.Sibling allows it; those that cannot be read are described as the descriptor does.
func Describe(ctx context.Context, ra io.ReaderAt, size int64, o Options) (Info, error) {
	o.Limits = o.Limits.WithDefaults()
	p, err := readPrefix(ctx, ra, size)
	if err != nil {
		return Info{}, err
	}
	switch p.kind() {
	case kindSparse:
		return p.describeSparse()
	case kindDescriptor:
		return p.describeDescriptor(ctx, o)
	default:
		return Info{}, p.kind().refusal()
	}
}

func (p prefix) describeSparse() (Info, error) {
	h, err := p.sparseHeader()
	if err != nil {
		return Info{}, err
	}
	off, n, err := h.descriptorRange()
	if err != nil {
		return Info{}, err
	}
	b, err := p.At(off, n, "descriptor")
	if err != nil {
		return Info{}, err
	}
	d, err := parseDescriptor(b)
	if err != nil {
		return Info{}, err
	}
	info := d.info(h.size())
	info.CreateType = "monolithicSparse" // whatever the descriptor says; qemu-img has it so, too
	if h.packed() {
		info.CreateType = "streamOptimized"
	}
	info.ClusterSize = h.grainSize()
	info.Extents = []ExtentInfo{{VirtualSize: h.size(), ClusterSize: h.grainSize(), Compressed: h.packed()}}
	return info, nil
}

func (d *descriptor) info(size int64) Info {
	return Info{
		CreateType: d.createType, CID: d.cid, ParentCID: d.parentCID, Parent: d.parent, Encrypted: d.encrypted != "", VirtualSize: size,
	}
}

func (p prefix) describeDescriptor(ctx context.Context, o Options) (Info, error) {
	d, err := p.descriptor()
	if err != nil {
		return Info{}, err
	}
	sectors, ok := d.sectors()
	if !ok || sectors > 1<<62/sector {
		return Info{}, corrupt("the extents are larger than any disk")
	}
	info := d.info(sectors * sector)
	same := true
	for i := range d.extents {
		x := &d.extents[i]
		e := ExtentInfo{Name: x.name, Type: x.kind, VirtualSize: x.sectors * sector}
		if o.Sibling != nil && len(d.extents) <= maxDescribed {
			if err := ctx.Err(); err != nil {
				return Info{}, err
			}
			e.look(ctx, x, o)
		}
		info.Extents = append(info.Extents, e)
		same = same && e.ClusterSize == info.Extents[0].ClusterSize && e.Compressed == info.Extents[0].Compressed
	}
	if same {
		info.ClusterSize = info.Extents[0].ClusterSize
	}
	return info, nil
}

// look adds what the header of a file tells, if it can be read.
func (e *ExtentInfo) look(ctx context.Context, x *extentLine, o Options) {
	if x.flat() || x.check() != nil {
		return
	}
	files := newPool(o.Sibling)
	defer files.Close() //nolint:errcheck // only read
	m := files.member(x.name)
	if found, err := openExtent(ctx, m, x, &budget{limits: o.Limits}); err == nil {
		e.ClusterSize, e.Compressed = found.grain(), found.packed
	}
}
