package testimage

import (
	"math"

	"github.com/cdictl/cdictl/lib/errdef"
)

// VHDXHostiles are good files with a lie in them.
func VHDXHostiles() []Hostile {
	return lies("vhdx", func() *VHDX { return CraftVHDX(512, "") }, func(v *VHDX) ([]byte, []byte) { return v.B, v.Disk }, vhdxLies,
		"empty", "no magic")
}

// vhdxLoops fills the whole log with entries that do nothing, of which each names as its tail what tail says.
func vhdxLoops(v *VHDX, tail func(at int, sequence uint64) uint32) *VHDX {
	for at := 0; at < 1<<20; at += 4096 {
		v.PutLog(at, v.LogEntry(tail(at, v.Sequence)))
	}
	return v
}

var vhdxLies = []lie[*VHDX]{
	{"empty", func(v *VHDX) *VHDX { v.B = nil; return v }, errdef.ErrCorrupt, "past the end"},
	{"magic only", func(v *VHDX) *VHDX { v.B = v.B[:8]; return v }, errdef.ErrCorrupt, "past the end"},
	{"no magic", func(v *VHDX) *VHDX { v.B[0] = 'V'; return v }, errdef.ErrUnsupported, "signature"},
	{"header section only", func(v *VHDX) *VHDX { v.B = v.B[:1<<20]; return v }, errdef.ErrCorrupt, "past the end"},
	{"both headers broken", func(v *VHDX) *VHDX { v.B[VHDXHeader1+9]++; v.B[VHDXHeader2+9]++; return v }, errdef.ErrCorrupt, "no header"},
	{"headers that differ", func(v *VHDX) *VHDX { return v.U64(VHDXHeader1+8, 11).U64(VHDXHeader1+16, 1).Seal() }, errdef.ErrCorrupt, "sequence number 11"},
	{"version 2", func(v *VHDX) *VHDX { return v.Headers(func(at int) { v.U16(at+66, 2) }) }, errdef.ErrUnsupported, "version 2"},
	{"log version 1", func(v *VHDX) *VHDX { return v.Headers(func(at int) { v.U16(at+64, 1) }) }, errdef.ErrUnsupported, "log version 1"},
	{"log in the headers", func(v *VHDX) *VHDX { return v.Headers(func(at int) { v.U64(at+72, 0) }) }, errdef.ErrCorrupt, "log offset 0"},
	{"log on no MiB", func(v *VHDX) *VHDX { return v.Headers(func(at int) { v.U64(at+72, 1<<20+4096) }) }, errdef.ErrCorrupt, "log offset"},
	{"log at 2^63", func(v *VHDX) *VHDX { return v.Headers(func(at int) { v.U64(at+72, 1<<63) }) }, errdef.ErrCorrupt, "log offset"},
	{"log length", func(v *VHDX) *VHDX { return v.Headers(func(at int) { v.U32(at+68, 4096) }) }, errdef.ErrCorrupt, "log length 4096"},
	{"log over the metadata", func(v *VHDX) *VHDX { return v.Headers(func(at int) { v.U32(at+68, 2<<20) }) }, errdef.ErrCorrupt, "overlap"},
	{"log past the end", func(v *VHDX) *VHDX {
		return v.Headers(func(at int) { v.U64(at+48, 1).U64(at+72, 1<<40) })
	}, errdef.ErrCorrupt, "log at 1099511627776"},
	{"log of 4 GiB", func(v *VHDX) *VHDX {
		return v.Headers(func(at int) { v.U64(at+48, 1).U32(at+68, math.MaxUint32&^(1<<20-1)) })
	}, errdef.ErrCorrupt, "log at 1048576"},
	{"log of nothing", func(v *VHDX) *VHDX { return v.Headers(func(at int) { v.U64(at+48, 1).U32(at+68, 0) }) }, nil, ""},
	{"log in use and empty", func(v *VHDX) *VHDX { return v.Headers(func(at int) { v.U64(at+48, 1) }) }, errdef.ErrCorrupt, "no valid entry"},
	{"log of another", func(v *VHDX) *VHDX {
		v.Logged(v.LogEntry(0))
		return v.Headers(func(at int) { v.U64(at+48, 99) })
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log entry whose tail is not there", func(v *VHDX) *VHDX { return v.Logged(v.LogEntry(8192)) }, errdef.ErrCorrupt, "no valid entry"},
	{"log entry with number 0", func(v *VHDX) *VHDX { v.Sequence = 0; return v.Logged(v.LogEntry(0)) }, errdef.ErrCorrupt, "no valid entry"},
	{"log entry with a wrong sum", func(v *VHDX) *VHDX {
		e := v.LogEntry(0)
		e[4000]++
		return v.Logged(e)
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log entry longer than the log", func(v *VHDX) *VHDX {
		v = v.Logged(v.LogEntry(0))
		return v.U32(VHDXLog+8, 2<<20)
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log entry with 4 billion writes", func(v *VHDX) *VHDX {
		v = v.Logged(v.LogEntry(0))
		return v.U32(VHDXLog+24, math.MaxUint32)
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log write at no sector", func(v *VHDX) *VHDX {
		return v.Logged(v.LogEntry(0, VHDXWrite{At: VHDXBAT + 8, Zeros: 4096}))
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log write at 2^63", func(v *VHDX) *VHDX {
		return v.Logged(v.LogEntry(0, VHDXWrite{At: 1 << 63, Zeros: 4096}))
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log zeros of 2^63", func(v *VHDX) *VHDX {
		return v.Logged(v.LogEntry(0, VHDXWrite{At: VHDXBAT, Zeros: 1 << 63}))
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log write of no kind", func(v *VHDX) *VHDX {
		e := v.LogEntry(0, VHDXWrite{At: VHDXBAT, Zeros: 4096})
		copy(e[64:], "none")
		return v.Logged(SealLogEntry(e))
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log write without its data", func(v *VHDX) *VHDX {
		e := v.LogEntry(0, VHDXWrite{At: VHDXBAT, Data: make([]byte, 4096)})
		return v.Logged(SealLogEntry(e[:4096]))
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log data of another entry", func(v *VHDX) *VHDX {
		e := v.LogEntry(0, VHDXWrite{At: VHDXBAT, Data: make([]byte, 4096)})
		e[8191]++
		return v.Logged(SealLogEntry(e))
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log writes the headers", func(v *VHDX) *VHDX {
		return v.Logged(v.LogEntry(0, VHDXWrite{At: VHDXHeader1, Zeros: 4096}))
	}, errdef.ErrCorrupt, "over the headers"},
	{"log writes a block", func(v *VHDX) *VHDX {
		return v.Logged(v.LogEntry(0, VHDXWrite{At: VHDXData + 8192, Zeros: 4096}))
	}, errdef.ErrCorrupt, "overlaps what the log writes"},
	{"log zeros the tables of regions", func(v *VHDX) *VHDX {
		return v.Logged(v.LogEntry(0, VHDXWrite{At: VHDXRegions1, Zeros: 128 << 10}))
	}, errdef.ErrCorrupt, "no table of regions"},
	{"log writes where nothing is", func(v *VHDX) *VHDX {
		return v.Logged(v.LogEntry(0, VHDXWrite{At: 1 << 40, Zeros: 1 << 40}))
	}, nil, ""},
	{"log of a longer file", func(v *VHDX) *VHDX {
		e := v.LogEntry(0)
		e[48+4]++
		return v.Logged(SealLogEntry(e))
	}, errdef.ErrCorrupt, "its end was cut off"},
	{"log of a file that was made smaller since", func(v *VHDX) *VHDX {
		e := v.LogEntry(0)
		e[48+4]++
		return v.Logged(SealLogEntry(e), v.LogEntry(0))
	}, nil, ""},
	{"log with a gap", func(v *VHDX) *VHDX {
		// What is behind the gap was never complete: only the first entry counts, which does nothing.
		first := v.LogEntry(0)
		v.Sequence++
		return v.Logged(first, v.LogEntry(0, VHDXWrite{At: VHDXBAT, Zeros: 4096}))
	}, nil, ""},
	{"log that is full of entries", func(v *VHDX) *VHDX { return vhdxLoops(v, func(i int, _ uint64) uint32 { return 0 }) }, nil, ""},
	{"log whose entries each name themselves", func(v *VHDX) *VHDX { return vhdxLoops(v, func(i int, _ uint64) uint32 { return uint32(i) }) }, nil, ""},
	{"log whose entries name each other around the ring", func(v *VHDX) *VHDX {
		return vhdxLoops(v, func(i int, _ uint64) uint32 { return uint32(i+4096) % (1 << 20) })
	}, nil, ""}, // the last names the first
	{"log whose entries all name a place of none", func(v *VHDX) *VHDX {
		return vhdxLoops(v, func(int, uint64) uint32 { return 1 << 20 })
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log whose numbers end at 2^64", func(v *VHDX) *VHDX {
		v.Sequence = math.MaxUint64
		first := v.LogEntry(0)
		return v.Logged(first, v.LogEntry(0, VHDXWrite{At: VHDXBAT, Zeros: 4096})) // has number 0
	}, nil, ""},
	{"log with one number twice", func(v *VHDX) *VHDX {
		first := v.LogEntry(0)
		v.Sequence--
		return v.Logged(first, v.LogEntry(0, VHDXWrite{At: VHDXBAT, Zeros: 4096}))
	}, nil, ""}, // the second does not follow the first
	{"no regions", func(v *VHDX) *VHDX { return v.Regions(func(at int) { v.U32(at+8, 0) }) }, errdef.ErrCorrupt, "not both there"},
	{"4 billion regions", func(v *VHDX) *VHDX { return v.Regions(func(at int) { v.U32(at+8, math.MaxUint32) }) }, errdef.ErrCorrupt, "regions, more than"},
	{"2047 regions", func(v *VHDX) *VHDX { return v.Regions(func(at int) { v.U32(at+8, 2047) }) }, errdef.ErrCorrupt, "does not lie on whole MiB"},
	{"region tables that differ", func(v *VHDX) *VHDX { return v.U32(VHDXRegions1+12, 1).Seal() }, errdef.ErrCorrupt, "tables of regions differ"},
	{"unknown region that is required", func(v *VHDX) *VHDX { return v.Regions(func(at int) { v.B[at+16]++ }) }, errdef.ErrUnsupported, "must be known"},
	{"region in the headers", func(v *VHDX) *VHDX { return v.Regions(func(at int) { v.U64(at+32, 0) }) }, errdef.ErrCorrupt, "does not lie on whole MiB"},
	{"region at 2^63", func(v *VHDX) *VHDX { return v.Regions(func(at int) { v.U64(at+32, 1<<63) }) }, errdef.ErrCorrupt, "does not lie on whole MiB"},
	{"region of no length", func(v *VHDX) *VHDX { return v.Regions(func(at int) { v.U32(at+40, 0) }) }, errdef.ErrCorrupt, "does not lie on whole MiB"},
	{"regions that overlap", func(v *VHDX) *VHDX { return v.Regions(func(at int) { v.U64(at+32, VHDXMeta) }) }, errdef.ErrCorrupt, "overlap"},
	{"region twice", func(v *VHDX) *VHDX {
		return v.Regions(func(at int) { copy(v.B[at+48:], v.B[at+16:at+32]) })
	}, errdef.ErrCorrupt, "is there twice"},
	{"BAT past the end", func(v *VHDX) *VHDX { return v.Regions(func(at int) { v.U64(at+32, 1<<40) }) }, errdef.ErrCorrupt, "past the end"},
	{"metadata past the end", func(v *VHDX) *VHDX { return v.Regions(func(at int) { v.U64(at+64, 1<<40) }) }, errdef.ErrCorrupt, "past the end"},
	{"metadata without signature", func(v *VHDX) *VHDX { v.B[VHDXMeta]++; return v }, errdef.ErrCorrupt, "no signature"},
	{"too many items", func(v *VHDX) *VHDX { return v.U16(VHDXMeta+10, 2048) }, errdef.ErrCorrupt, "2048 metadata items"},
	{"item missing", func(v *VHDX) *VHDX { return v.U16(VHDXMeta+10, 4) }, errdef.ErrCorrupt, "is missing"},
	{"item twice", func(v *VHDX) *VHDX { copy(v.B[VHDXMeta+64:], v.B[VHDXMeta+32:VHDXMeta+64]); return v }, errdef.ErrCorrupt, "is there twice"},
	{"item in the table", func(v *VHDX) *VHDX { return v.U32(VHDXMeta+48, 65535) }, errdef.ErrCorrupt, "does not lie in the region"},
	{"item past the region", func(v *VHDX) *VHDX { return v.U32(VHDXMeta+48, 1<<20-7) }, errdef.ErrCorrupt, "does not lie in the region"},
	{"item of 4 GiB", func(v *VHDX) *VHDX { return v.U32(VHDXMeta+52, math.MaxUint32) }, errdef.ErrCorrupt, "does not lie in the region"},
	{"item of 9 bytes", func(v *VHDX) *VHDX { return v.U32(VHDXMeta+52, 9) }, errdef.ErrCorrupt, "9 bytes, not 8"},
	{"unknown item that is required", func(v *VHDX) *VHDX { v.U16(VHDXMeta+10, 6).U32(VHDXMeta+32+5*32+24, 4); return v }, errdef.ErrUnsupported, "must be known"},
	{"unknown item of a user", func(v *VHDX) *VHDX { v.U16(VHDXMeta+10, 6).U32(VHDXMeta+32+5*32+24, 1); return v }, nil, ""},
	{"block size 0", func(v *VHDX) *VHDX { return v.U32(VHDXItems, 0) }, errdef.ErrCorrupt, "block size 0"},
	{"block size 3 MiB", func(v *VHDX) *VHDX { return v.U32(VHDXItems, 3<<20) }, errdef.ErrCorrupt, "block size"},
	{"block size 512 KiB", func(v *VHDX) *VHDX { return v.U32(VHDXItems, 1<<19) }, errdef.ErrCorrupt, "block size"},
	{"block size 512 MiB", func(v *VHDX) *VHDX { return v.U32(VHDXItems, 1<<29) }, errdef.ErrCorrupt, "block size"},
	{"sectors of 1024", func(v *VHDX) *VHDX { return v.U32(VHDXItems+32, 1024) }, errdef.ErrCorrupt, "logical sector size 1024"},
	{"physical sectors of 0", func(v *VHDX) *VHDX { return v.U32(VHDXItems+36, 0) }, errdef.ErrCorrupt, "physical sector size 0"},
	{"size of no sectors", func(v *VHDX) *VHDX { return v.U64(VHDXItems+8, 1000) }, errdef.ErrCorrupt, "virtual size 1000"},
	{"size of 2^63", func(v *VHDX) *VHDX { return v.U64(VHDXItems+8, 1<<63) }, errdef.ErrCorrupt, "virtual size"},
	{"size above the limit", func(v *VHDX) *VHDX { return v.U64(VHDXItems+8, 1<<62) }, errdef.ErrLimit, "above the limit"},
	{"size more than the BAT", func(v *VHDX) *VHDX { return v.U64(VHDXItems+8, 1<<40) }, errdef.ErrCorrupt, "BAT of 1048576 bytes is too small"},
	{"size 0", func(v *VHDX) *VHDX { v.Disk = nil; return v.U64(VHDXItems+8, 0) }, nil, ""},
	{"partial block", func(v *VHDX) *VHDX { return v.Entry(1, VHDXPartial, 4) }, errdef.ErrCorrupt, "guest offset 1048576: block is partially present"},
	{"state 4", func(v *VHDX) *VHDX { return v.Entry(1, 4, 4) }, errdef.ErrCorrupt, "block state 4"},
	{"unmapped of old", func(v *VHDX) *VHDX { return v.Entry(1, 5, 4) }, nil, ""},
	{"reserved bits", func(v *VHDX) *VHDX { return v.U64(VHDXBAT, 5<<20|6|8) }, errdef.ErrCorrupt, "reserved bits"},
	{"block in the headers", func(v *VHDX) *VHDX { return v.Entry(0, 6, 0) }, errdef.ErrCorrupt, "overlaps the header section"},
	{"block in the log", func(v *VHDX) *VHDX { return v.Entry(0, 6, 1) }, errdef.ErrCorrupt, "overlaps the log"},
	{"block in the metadata", func(v *VHDX) *VHDX { return v.Entry(0, 6, 2) }, errdef.ErrCorrupt, "overlaps the metadata"},
	{"block in the BAT", func(v *VHDX) *VHDX { return v.Entry(0, 6, 3) }, errdef.ErrCorrupt, "overlaps the BAT"},
	{"block used twice", func(v *VHDX) *VHDX { return v.Entry(1, 6, 4) }, errdef.ErrCorrupt, "overlaps the one at"},
	{"block past the end", func(v *VHDX) *VHDX { return v.Entry(1, 6, 7) }, errdef.ErrCorrupt, "past the end"},
	{"block partly past the end", func(v *VHDX) *VHDX { return v.Entry(1, 6, 6) }, errdef.ErrCorrupt, "past the end"},
	{"block at the highest offset", func(v *VHDX) *VHDX { return v.Entry(1, 6, 1<<44-1) }, errdef.ErrCorrupt, "past the end"},
	{"block at what is no number of ours", func(v *VHDX) *VHDX { return v.Entry(1, 6, math.MaxUint32) }, errdef.ErrCorrupt, "past the end"},
	{"one byte short", func(v *VHDX) *VHDX { v.B = v.B[:len(v.B)-1]; return v }, errdef.ErrCorrupt, "past the end"},
	{"padded", func(v *VHDX) *VHDX { v.B = append(v.B, make([]byte, 5000)...); return v }, nil, ""},
	{"rubbish behind the BAT's use", func(v *VHDX) *VHDX { return v.Entry(7, 7, 1).Entry(8, 4, 99) }, nil, ""},
}
