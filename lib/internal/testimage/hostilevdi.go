package testimage

import (
	"math"

	"github.com/cdictl/cdictl/lib/errdef"
)

const vdiBlock = 4096

// VDIHostiles are good files with a lie in them.
func VDIHostiles() []Hostile {
	return lies("vdi", func() *VDI { return CraftVDI(vdiBlock) }, func(v *VDI) ([]byte, []byte) { return v.B, v.Disk }, vdiLies, "empty", "signature")
}

var vdiLies = []lie[*VDI]{
	{"empty", func(v *VDI) *VDI { v.B = nil; return v }, errdef.ErrCorrupt, "past the end"},
	{"text only", func(v *VDI) *VDI { v.B = v.B[:0x44]; return v }, errdef.ErrCorrupt, "past the end"},
	{"signature", func(v *VDI) *VDI { return v.U32(0x40, 0) }, errdef.ErrUnsupported, "no signature"},
	{"version 0.1", func(v *VDI) *VDI { return v.U32(0x44, 1) }, errdef.ErrUnsupported, "version 0.1"},
	{"version 2.0", func(v *VDI) *VDI { return v.U32(0x44, 2<<16) }, errdef.ErrUnsupported, "version 2.0"},
	{"header length", func(v *VDI) *VDI { return v.U32(0x48, 100) }, errdef.ErrCorrupt, "header length 100"},
	{"type 0", func(v *VDI) *VDI { return v.U32(0x4c, 0) }, errdef.ErrUnsupported, "type 0"},
	{"undo", func(v *VDI) *VDI { return v.U32(0x4c, 3) }, errdef.ErrUnsupported, "undo image"},
	{"differencing without a parent", func(v *VDI) *VDI { return v.U32(0x4c, 4) }, errdef.ErrUnsupported, "differencing image with the parent unknown"},
	{"parent", func(v *VDI) *VDI { return v.U32(0x1b8, 0xdeadbeef) }, errdef.ErrUnsupported, "parent deadbeef-0000-"},
	{"link", func(v *VDI) *VDI { return v.U32(0x1a8, 0xdeadbeef) }, errdef.ErrUnsupported, "parent deadbeef-0000-"},
	{"map in the header", func(v *VDI) *VDI { return v.U32(0x154, 0) }, errdef.ErrCorrupt, "block map offset 0"},
	{"map on no sector", func(v *VDI) *VDI { return v.U32(0x154, 700) }, errdef.ErrCorrupt, "block map offset 700"},
	{"map past the end", func(v *VDI) *VDI { return v.U32(0x154, 1<<31) }, errdef.ErrCorrupt, "block map at 2147483648"},
	{"data in the header", func(v *VDI) *VDI { return v.U32(0x158, 0) }, errdef.ErrCorrupt, "data offset 0"},
	{"data on no sector", func(v *VDI) *VDI { return v.U32(0x158, 700) }, errdef.ErrCorrupt, "data offset 700"},
	{"data over the map", func(v *VDI) *VDI { return v.U32(0x158, 512) }, errdef.ErrCorrupt, "overlaps the block map"},
	{"data past the end", func(v *VDI) *VDI { return v.U32(0x158, 1<<31) }, errdef.ErrCorrupt, "past the end"},
	{"sectors of 4096", func(v *VDI) *VDI { return v.U32(0x168, 4096) }, errdef.ErrUnsupported, "sector size 4096"},
	{"block size 0", func(v *VDI) *VDI { return v.U32(0x178, 0) }, errdef.ErrUnsupported, "block size 0"},
	{"block size 512", func(v *VDI) *VDI { return v.U32(0x178, 512) }, errdef.ErrUnsupported, "block size 512"},
	{"block size 5000", func(v *VDI) *VDI { return v.U32(0x178, 5000) }, errdef.ErrUnsupported, "block size 5000"},
	{"block size 2 GiB", func(v *VDI) *VDI { return v.U32(0x178, 1<<31) }, errdef.ErrUnsupported, "block size 2147483648"},
	{"extra data", func(v *VDI) *VDI { return v.U32(0x17c, 512) }, errdef.ErrUnsupported, "512 bytes of extra data"},
	{"map too small", func(v *VDI) *VDI { return v.U32(0x180, 4) }, errdef.ErrCorrupt, "more than the 4 blocks"},
	{"no blocks", func(v *VDI) *VDI { return v.U32(0x180, 0) }, errdef.ErrCorrupt, "more than the 0 blocks"},
	{"4 billion blocks", func(v *VDI) *VDI { return v.U32(0x180, math.MaxUint32) }, nil, ""}, // of which five are read
	{"size of 2^64-1", func(v *VDI) *VDI { return v.U64(0x170, math.MaxUint64).U32(0x180, math.MaxUint32) }, errdef.ErrCorrupt, "disk size"},
	{"size above the limit", func(v *VDI) *VDI {
		return v.U64(0x170, 1<<61).U32(0x178, 1<<30).U32(0x180, math.MaxUint32)
	}, errdef.ErrLimit, "above the limit"},
	{"map above the file", func(v *VDI) *VDI { return v.U64(0x170, 16<<40-4096).U32(0x180, math.MaxUint32) }, errdef.ErrCorrupt, "block map at 512"},
	{"size 0", func(v *VDI) *VDI { v.Disk = nil; return v.U64(0x170, 0) }, nil, ""},
	{"block used twice", func(v *VDI) *VDI { return v.Entry(1, 0) }, errdef.ErrCorrupt, "overlaps the one at"},
	{"block past the end", func(v *VDI) *VDI { return v.Entry(1, 3) }, errdef.ErrCorrupt, "guest offset 4096: block at 13312 (4096 bytes) lies past the end"},
	{"block at the highest place", func(v *VDI) *VDI { return v.Entry(1, 0xfffffffd) }, errdef.ErrCorrupt, "past the end"},
	{"one byte short", func(v *VDI) *VDI { v.B = v.B[:len(v.B)-1]; return v }, errdef.ErrCorrupt, "past the end"},
	{"last block as far as the disk", func(v *VDI) *VDI {
		// The disk's last block is stored last, and ends with the disk.
		v.Entry(0, 0xffffffff).B = v.B[:VDIData+vdiBlock+3*512]
		clear(v.Disk[:vdiBlock])
		return v
	}, nil, ""},
	{"padded", func(v *VDI) *VDI { v.B = append(v.B, make([]byte, 1000)...); return v }, nil, ""},
	{"wrong count of blocks", func(v *VDI) *VDI { return v.U32(0x184, 77) }, nil, ""}, // nobody needs it
}
