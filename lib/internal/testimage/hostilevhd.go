package testimage

import (
	"bytes"
	"math"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
)

// VHDHostiles are good files with a lie in them.
func VHDHostiles() []Hostile {
	all := lies("vhd", func() *VHD { return CraftVHD("win ", "") }, func(v *VHD) ([]byte, []byte) { return v.B, v.Disk }, vhdLies,
		"empty", "fixed with its footer at the start")
	for i := range all {
		// Of a stream all data has passed before its length is known.
		all[i].StreamReads = slices.Contains([]string{"padded", "footer on no sector", "old footer on no sector"}, all[i].Name)
	}
	return all
}

var vhdLies = []lie[*VHD]{
	{"empty", func(v *VHD) *VHD { v.B = nil; return v }, errdef.ErrCorrupt, "less than two footers"},
	{"footer only", func(v *VHD) *VHD { v.B = v.B[:512]; return v }, errdef.ErrCorrupt, "less than two footers"},
	{"footers only", func(v *VHD) *VHD { v.B = v.B[:1024]; return v.Seal() }, errdef.ErrCorrupt, "header at 512 (1024 bytes) lies past the end"},
	{"no copy of the footer", func(v *VHD) *VHD { v.B[0]++; return v }, errdef.ErrCorrupt, "must begin with a copy"},
	{"footer checksum", func(v *VHD) *VHD { v.B[100]++; return v }, errdef.ErrCorrupt, "footer checksum"},
	{"version 2", func(v *VHD) *VHD { return v.U32(12, 0x20000).Seal() }, errdef.ErrUnsupported, "footer version 2"},
	{"fixed with its footer at the start", func(v *VHD) *VHD { return v.U32(60, 2).Seal() }, errdef.ErrCorrupt, "disk type is fixed"},
	{"type 5", func(v *VHD) *VHD { return v.U32(60, 5).Seal() }, errdef.ErrCorrupt, "disk type is type 5"},
	{"no footer at the end", func(v *VHD) *VHD { v.B[len(v.B)-512]++; return v }, errdef.ErrCorrupt, "does not end with a footer"},
	{"cut before the footer", func(v *VHD) *VHD { v.B = v.B[:len(v.B)-512]; return v }, errdef.ErrCorrupt, "does not end with a footer"},
	{"padded", func(v *VHD) *VHD { v.B = append(v.B, make([]byte, 1000)...); return v }, errdef.ErrCorrupt, "does not end with a footer"},
	{"footer on no sector", func(v *VHD) *VHD { v.B = append(v.B, 0); return v.Seal() }, errdef.ErrCorrupt, "which is no sector's"},
	{"old footer on no sector", func(v *VHD) *VHD { v.B = append(v.B, 0, 0); return v.Seal().OldFooter() }, errdef.ErrCorrupt, "which is no sector's"},
	{"checksum of the footer at the end", func(v *VHD) *VHD { v.B[len(v.B)-300]++; return v }, errdef.ErrCorrupt, "at the end: vpc: footer checksum"},
	{"footers that differ", func(v *VHD) *VHD {
		end := bytes.Clone(v.U64(48, 4096).Seal().B[:512])
		v.U64(48, 8192).Seal()
		copy(v.B[len(v.B)-512:], end)
		return v
	}, errdef.ErrCorrupt, "footer and its copy disagree"},
	{"header in the footer", func(v *VHD) *VHD { return v.U64(16, 511).Seal() }, errdef.ErrCorrupt, "header offset 511"},
	{"header at 2^64-1", func(v *VHD) *VHD { return v.U64(16, 1<<64-1).Seal() }, errdef.ErrCorrupt, "header offset"},
	{"header past the end", func(v *VHD) *VHD { return v.U64(16, 1<<40).Seal() }, errdef.ErrCorrupt, "past the end"},
	{"header in a block", func(v *VHD) *VHD { return v.U64(16, VHDData).Seal() }, errdef.ErrCorrupt, "no cookie"},
	{"header on the footer", func(v *VHD) *VHD { return v.U64(16, uint64(len(v.B)-512)).Seal() }, errdef.ErrCorrupt, "past the end"},
	{"geometry of 127 GiB", func(v *VHD) *VHD {
		copy(v.B[28:], "vpc ")
		return v.U32(56, 0xfffe10ff).Seal()
	}, errdef.ErrCorrupt, "is too small"},
	{"BAT on the footer", func(v *VHD) *VHD { return v.U64(VHDHeader+16, uint64(len(v.B)-512)).Seal() }, errdef.ErrCorrupt, "past the end"},
	{"header cookie", func(v *VHD) *VHD { v.B[VHDHeader]++; return v.Seal() }, errdef.ErrCorrupt, "no cookie"},
	{"header checksum", func(v *VHD) *VHD { v.B[VHDHeader+1000]++; return v }, errdef.ErrCorrupt, "header checksum"},
	{"header version", func(v *VHD) *VHD { return v.U32(VHDHeader+24, 0x20000).Seal() }, errdef.ErrUnsupported, "header version 2"},
	{"block size 0", func(v *VHD) *VHD { return v.U32(VHDHeader+32, 0).Seal() }, errdef.ErrCorrupt, "block size 0"},
	{"block size 256", func(v *VHD) *VHD { return v.U32(VHDHeader+32, 256).Seal() }, errdef.ErrCorrupt, "block size 256"},
	{"block size 3000", func(v *VHD) *VHD { return v.U32(VHDHeader+32, 3000).Seal() }, errdef.ErrCorrupt, "block size 3000"},
	{"block size 2 GiB", func(v *VHD) *VHD { return v.U32(VHDHeader+32, 1<<31).Seal() }, errdef.ErrCorrupt, "past the end"},
	{"BAT too small", func(v *VHD) *VHD { return v.U32(VHDHeader+28, 4).Seal() }, errdef.ErrCorrupt, "BAT of 4 entries is too small"},
	{"BAT in the footer", func(v *VHD) *VHD { return v.U64(VHDHeader+16, 0).Seal() }, errdef.ErrCorrupt, "BAT offset 0"},
	{"BAT in the header", func(v *VHD) *VHD { return v.U64(VHDHeader+16, 600).Seal() }, errdef.ErrCorrupt, "overlaps the header"},
	{"BAT past the end", func(v *VHD) *VHD { return v.U64(VHDHeader+16, 1<<40).Seal() }, errdef.ErrCorrupt, "past the end"},
	{"BAT at 2^64-1", func(v *VHD) *VHD { return v.U64(VHDHeader+16, 1<<64-1).Seal() }, errdef.ErrCorrupt, "BAT offset"},
	{"BAT of 4 billion entries", func(v *VHD) *VHD { return v.U32(VHDHeader+28, math.MaxUint32).Seal() }, nil, ""}, // of which five are read
	{"size of 2^63", func(v *VHD) *VHD { return v.U64(48, 1<<63).Seal() }, errdef.ErrCorrupt, "footer tells a size of"},
	{"size above the limit", func(v *VHD) *VHD { return v.U64(48, 1<<62).Seal() }, errdef.ErrLimit, "above the limit"},
	{"size of a table above the limit", func(v *VHD) *VHD {
		return v.U64(48, 1<<40).U32(VHDHeader+28, math.MaxUint32).U32(VHDHeader+32, 512).Seal()
	}, errdef.ErrCorrupt, "past the end"},
	{"block at 0", func(v *VHD) *VHD { return v.Entry(1, 0) }, errdef.ErrCorrupt, "guest offset 4096: block at 512"},
	{"block in the header", func(v *VHD) *VHD { return v.Entry(1, 2) }, errdef.ErrCorrupt, "overlaps the header"},
	{"block in the BAT", func(v *VHD) *VHD { return v.Entry(1, 3) }, errdef.ErrCorrupt, "overlaps the BAT"},
	{"block used twice", func(v *VHD) *VHD { return v.Entry(1, 4) }, errdef.ErrCorrupt, "overlaps the one at"},
	{"block on the end of another", func(v *VHD) *VHD { return v.Entry(1, 12) }, errdef.ErrCorrupt, "overlaps the one at"},
	{"block on the footer", func(v *VHD) *VHD { return v.Entry(1, 23) }, errdef.ErrCorrupt, "past the end"},
	{"block past the end", func(v *VHD) *VHD { return v.Entry(1, 1<<24) }, errdef.ErrCorrupt, "past the end"},
	{"block at the highest sector", func(v *VHD) *VHD { return v.Entry(1, math.MaxUint32-1) }, errdef.ErrCorrupt, "0xfffffffe"},
	{"rubbish behind the disk's entries", func(v *VHD) *VHD { return v.U32(VHDHeader+28, 128).Seal().Entry(5, 1) }, nil, ""},
}
