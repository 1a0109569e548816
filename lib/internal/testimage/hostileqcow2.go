package testimage

import (
	"math"

	"github.com/cdictl/cdictl/lib/errdef"
)

// A qcow2Lie turns a good image into a hostile one.
type qcow2Lie struct {
	name     string
	lie      func(c QCOW2) QCOW2
	snapshot string
	want     error
	says     string
}

// QCOW2Hostiles are good images with a lie in them, and images with extended L2 entries likewise.
func QCOW2Hostiles() []Hostile {
	all := qcow2Hostiles("qcow2", func() (QCOW2, []byte) { return CraftQCOW2(qcow2Zlib) }, qcow2Lies)
	return append(all, qcow2Hostiles("qcow2 extended", CraftExtendedQCOW2, qcow2ExtendedLies)...)
}

func qcow2Hostiles(format string, craft func() (QCOW2, []byte), table []qcow2Lie) []Hostile {
	var all []Hostile
	for _, l := range table {
		all = append(all, Hostile{Format: format, Name: l.name, Snapshot: l.snapshot, Want: l.want, Says: l.says, Plain: l.name == "empty file", Make: func() ([]byte, []byte) {
			c, disk := craft()
			return l.lie(c), disk
		}})
	}
	return all
}

var qcow2Lies = []qcow2Lie{
	{name: "empty file", lie: func(c QCOW2) QCOW2 { return nil }, want: errdef.ErrUnsupported, says: "magic"},
	{name: "magic only", lie: func(c QCOW2) QCOW2 { return c[:8] }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "version 1", lie: func(c QCOW2) QCOW2 { return c.U32(4, 1) }, want: errdef.ErrUnsupported, says: "version"},
	{name: "version 4", lie: func(c QCOW2) QCOW2 { return c.U32(4, 4) }, want: errdef.ErrUnsupported, says: "version 4"},
	{name: "cluster bits 8", lie: func(c QCOW2) QCOW2 { return c.U32(20, 8) }, want: errdef.ErrCorrupt, says: "cluster bits 8"},
	{name: "cluster bits 22", lie: func(c QCOW2) QCOW2 { return c.U32(20, 22) }, want: errdef.ErrCorrupt, says: "cluster bits 22"},
	{name: "cluster bits 63", lie: func(c QCOW2) QCOW2 { return c.U32(20, 63) }, want: errdef.ErrCorrupt, says: "cluster bits 63"},
	{name: "cluster bits 2^32-1", lie: func(c QCOW2) QCOW2 { return c.U32(20, math.MaxUint32) }, want: errdef.ErrCorrupt, says: "cluster bits"},
	{name: "size above 2^63", lie: func(c QCOW2) QCOW2 { return c.U64(24, 1<<63) }, want: errdef.ErrCorrupt, says: "above 2^63"},
	{name: "size of 2^63-1", lie: func(c QCOW2) QCOW2 { return c.U64(24, math.MaxInt64) }, want: errdef.ErrLimit, says: "virtual size"},
	{name: "size more than L1", lie: func(c QCOW2) QCOW2 { return c.U64(24, 1<<30) }, want: errdef.ErrCorrupt, says: "too small"},
	{name: "size 0", lie: func(c QCOW2) QCOW2 { return c.U64(24, 0) }},
	{name: "L1 of 1 GiB", lie: func(c QCOW2) QCOW2 { return c.U32(36, 1<<27) }, want: errdef.ErrCorrupt, says: "too large"},
	{name: "L1 of 2^32-1 entries", lie: func(c QCOW2) QCOW2 { return c.U32(36, math.MaxUint32) }, want: errdef.ErrCorrupt, says: "too large"},
	{name: "L1 of 32 MiB past the end", lie: func(c QCOW2) QCOW2 { return c.U32(36, 4<<20).U64(24, 8<<40) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "L1 empty", lie: func(c QCOW2) QCOW2 { return c.U32(36, 0) }, want: errdef.ErrCorrupt, says: "too small"},
	{name: "L1 unaligned", lie: func(c QCOW2) QCOW2 { return c.U64(40, QCOW2L1+512) }, want: errdef.ErrCorrupt, says: "L1 table offset"},
	{name: "L1 at 0", lie: func(c QCOW2) QCOW2 { return c.U64(40, 0) }, want: errdef.ErrCorrupt, says: "L1 table offset"},
	{name: "L1 past the end", lie: func(c QCOW2) QCOW2 { return c.U64(40, 1<<40) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "L1 at 2^63", lie: func(c QCOW2) QCOW2 { return c.U64(40, 1<<63) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "L1 at 2^64-4096", lie: func(c QCOW2) QCOW2 { return c.U64(40, 1<<64-4096) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "L1 entry reserved low", lie: func(c QCOW2) QCOW2 { return c.U64(QCOW2L1, QCOW2L2|1) }, want: errdef.ErrCorrupt, says: "reserved"},
	{name: "L1 entry reserved high", lie: func(c QCOW2) QCOW2 { return c.U64(QCOW2L1, QCOW2L2|1<<56) }, want: errdef.ErrCorrupt, says: "reserved"},
	{name: "L1 entry bit 62", lie: func(c QCOW2) QCOW2 { return c.U64(QCOW2L1, QCOW2L2|1<<62) }, want: errdef.ErrCorrupt, says: "reserved"},
	{name: "L2 unaligned", lie: func(c QCOW2) QCOW2 { return c.U64(QCOW2L1, QCOW2L2+512) }, want: errdef.ErrCorrupt, says: "not aligned"},
	{name: "L2 past the end", lie: func(c QCOW2) QCOW2 { return c.U64(QCOW2L1, 1<<50) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "L2 partly past the end", lie: func(c QCOW2) QCOW2 { return c.U64(QCOW2L1, QCOW2End) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "L2 is the L1", lie: func(c QCOW2) QCOW2 { return c.U64(QCOW2L1, QCOW2L1) }, want: errdef.ErrCorrupt, says: "overlaps the L1 table"},
	{name: "L2 is the refcount table", lie: func(c QCOW2) QCOW2 { return c.U64(QCOW2L1, QCOW2RefTable) }, want: errdef.ErrCorrupt, says: "overlaps the refcount"},
	{name: "L2 used twice", lie: func(c QCOW2) QCOW2 {
		return c.U64(24, 1<<22).U32(36, 2).U64(QCOW2L1+8, qcow2Copied|QCOW2L2)
	}, want: errdef.ErrCorrupt, says: "used by two"},
	{name: "L1 entries descend", lie: func(c QCOW2) QCOW2 {
		return c.U64(24, 1<<22).U32(36, 2).U64(QCOW2L1+8, qcow2Copied|2*QCOW2Cluster).L2(7, 0)
	}, want: errdef.ErrCorrupt, says: "past the end"}, // the refcount block is no L2 table
	{name: "L2 reserved low", lie: func(c QCOW2) QCOW2 { return c.L2(1, QCOW2Data|2) }, want: errdef.ErrCorrupt, says: "reserved"},
	{name: "L2 reserved high", lie: func(c QCOW2) QCOW2 { return c.L2(1, QCOW2Data|1<<61) }, want: errdef.ErrCorrupt, says: "reserved"},
	{name: "L2 without offset", lie: func(c QCOW2) QCOW2 { return c.L2(5, qcow2Copied) }, want: errdef.ErrCorrupt, says: "without a host offset"},
	{name: "data unaligned", lie: func(c QCOW2) QCOW2 { return c.L2(5, QCOW2Data+512) }, want: errdef.ErrCorrupt, says: "not aligned"},
	{name: "data past the end", lie: func(c QCOW2) QCOW2 { return c.L2(5, 1<<40) }, want: errdef.ErrCorrupt, says: "guest offset 20480: data cluster at host offset 1099511627776"},
	{name: "data at 2^56-4096", lie: func(c QCOW2) QCOW2 { return c.L2(5, 1<<56-4096) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "data partly past the end", lie: func(c QCOW2) QCOW2 { return c.L2(5, QCOW2End) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "data is the L1", lie: func(c QCOW2) QCOW2 { return c.L2(5, QCOW2L1) }, want: errdef.ErrCorrupt, says: "overlaps the L1 table"},
	{name: "data runs into the L1", lie: func(c QCOW2) QCOW2 { return c.L2(5, QCOW2L1-QCOW2Cluster).L2(6, QCOW2L1) }, want: errdef.ErrCorrupt, says: "overlaps the L1 table"},
	{name: "data is the L2", lie: func(c QCOW2) QCOW2 { return c.L2(5, QCOW2L2) }}, // harmless; only refcounts could tell
	{name: "zero unaligned", lie: func(c QCOW2) QCOW2 { return c.L2(3, qcow2Zero|512) }, want: errdef.ErrCorrupt, says: "not aligned"},
	{name: "zero past the end", lie: func(c QCOW2) QCOW2 { return c.L2(3, qcow2Zero|1<<40) }}, // is never read
	{name: "zero in version 2", lie: func(c QCOW2) QCOW2 { return c.U32(4, 2).U32(72, 0) }, want: errdef.ErrCorrupt, says: "zero bit in version 2"},
	{name: "packed past the end", lie: func(c QCOW2) QCOW2 { return c.L2(4, QCOW2PackedEntry(1<<30, 1)) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "packed in the header", lie: func(c QCOW2) QCOW2 { return c.L2(4, QCOW2PackedEntry(100, 1)) }, want: errdef.ErrCorrupt, says: "overlaps the header"},
	{name: "packed at the highest offset", lie: func(c QCOW2) QCOW2 { return c.L2(4, QCOW2PackedEntry(1<<58-1, 16)) }, want: errdef.ErrCorrupt, says: "reserved"},
	{name: "packed is a table", lie: func(c QCOW2) QCOW2 { return c.L2(4, QCOW2PackedEntry(QCOW2L2, 16)) }, want: errdef.ErrCorrupt, says: "compressed cluster"},
	{name: "packed too short", lie: func(c QCOW2) QCOW2 { return c.L2(4, QCOW2PackedEntry(QCOW2Packed, 1)) }, want: errdef.ErrCorrupt, says: "compressed cluster ends after"},
	{name: "packed is noise", lie: func(c QCOW2) QCOW2 { return c.L2(4, QCOW2PackedEntry(QCOW2Data+1, 3)) }, want: errdef.ErrCorrupt, says: "guest offset 16384"},
	{name: "refcount order 7", lie: func(c QCOW2) QCOW2 { return c.U32(96, 7) }, want: errdef.ErrCorrupt, says: "refcount order 7"},
	{name: "no refcount table", lie: func(c QCOW2) QCOW2 { return c.U32(56, 0) }, want: errdef.ErrCorrupt, says: "no refcount table"},
	{name: "refcount table of 4 billion clusters", lie: func(c QCOW2) QCOW2 { return c.U32(56, math.MaxUint32) }, want: errdef.ErrCorrupt, says: "refcount table"},
	{name: "refcount table unaligned", lie: func(c QCOW2) QCOW2 { return c.U64(48, 1) }, want: errdef.ErrCorrupt, says: "refcount table"},
	{name: "refcount table at 2^64-4096", lie: func(c QCOW2) QCOW2 { return c.U64(48, 1<<64-4096) }, want: errdef.ErrCorrupt, says: "refcount table"},
	{name: "header length 96", lie: func(c QCOW2) QCOW2 { return c.U32(100, 96) }, want: errdef.ErrCorrupt, says: "header length 96"},
	{name: "header length 105", lie: func(c QCOW2) QCOW2 { return c.U32(100, 105) }, want: errdef.ErrCorrupt, says: "header length 105"},
	{name: "header length 4 GiB", lie: func(c QCOW2) QCOW2 { return c.U32(100, 1<<32-8) }, want: errdef.ErrCorrupt, says: "header length"},
	{name: "unknown feature", lie: func(c QCOW2) QCOW2 { return c.U64(72, 1<<9) }, want: errdef.ErrUnsupported, says: "bit 9"},
	{name: "unknown feature with a name", lie: func(c QCOW2) QCOW2 {
		c.U64(72, 1<<9).U32(112, qcow2FeatureNames).U32(116, 48)
		c[121] = 9
		copy(c[122:], "time travel")
		return c
	}, want: errdef.ErrUnsupported, says: `"time travel" (bit 9)`},
	{name: "dirty and corrupt", lie: func(c QCOW2) QCOW2 { return c.U64(72, qcow2Dirty|qcow2Corrupt) }},
	{name: "unknown compatible features", lie: func(c QCOW2) QCOW2 { return c.U64(80, 1<<40).U64(88, 1<<40) }},
	{name: "compression without bit", lie: func(c QCOW2) QCOW2 { c[104] = 1; return c }, want: errdef.ErrCorrupt, says: "compression type 1"},
	{name: "compression bit without type", lie: func(c QCOW2) QCOW2 { return c.U64(72, qcow2Compression) }, want: errdef.ErrCorrupt, says: "compression type 0"},
	{name: "compression 9", lie: func(c QCOW2) QCOW2 { c[104] = 9; return c.U64(72, qcow2Compression) }, want: errdef.ErrUnsupported, says: "compression type 9"},
	{name: "zlib taken for zstd", lie: func(c QCOW2) QCOW2 { c[104] = 1; return c.U64(72, qcow2Compression) }, want: errdef.ErrCorrupt, says: "no zstd frame"},
	{name: "extended with small clusters", lie: func(c QCOW2) QCOW2 { return c.U64(72, qcow2ExtendedL2) }, want: errdef.ErrCorrupt, says: "extended L2"},
	{name: "AES", lie: func(c QCOW2) QCOW2 { return c.U32(32, 1) }, want: errdef.ErrUnsupported, says: "aes"},
	{name: "LUKS", lie: func(c QCOW2) QCOW2 { return c.U32(32, 2) }, want: errdef.ErrUnsupported, says: "luks"},
	{name: "encryption 3", lie: func(c QCOW2) QCOW2 { return c.U32(32, 3) }, want: errdef.ErrUnsupported, says: "encryption method 3"},
	{name: "external data file", lie: func(c QCOW2) QCOW2 { return c.U64(72, qcow2DataFile) }, want: errdef.ErrUnsupported, says: "external data file"},
	{name: "raw data bit alone", lie: func(c QCOW2) QCOW2 { return c.U64(88, qcow2DataFileRaw) }, want: errdef.ErrCorrupt, says: "raw external data"},
	{name: "backing file", lie: func(c QCOW2) QCOW2 {
		copy(c[512:], "/etc/passwd")
		return c.U64(8, 512).U32(16, 11)
	}, want: errdef.ErrUnsupported, says: `backing file "/etc/passwd"`},
	{name: "backing name outside", lie: func(c QCOW2) QCOW2 { return c.U64(8, 1<<40).U32(16, 11) }, want: errdef.ErrCorrupt, says: "outside"},
	{name: "backing name at 2^64-1", lie: func(c QCOW2) QCOW2 { return c.U64(8, 1<<64-1).U32(16, 11) }, want: errdef.ErrCorrupt, says: "outside"},
	{name: "backing name in the header", lie: func(c QCOW2) QCOW2 { return c.U64(8, 8).U32(16, 11) }, want: errdef.ErrCorrupt, says: "inside of the header"},
	{name: "backing name of 4 GiB", lie: func(c QCOW2) QCOW2 { return c.U64(8, 512).U32(16, math.MaxUint32) }, want: errdef.ErrCorrupt, says: "too long"},
	{name: "backing name over the cluster's end", lie: func(c QCOW2) QCOW2 { return c.U64(8, 4090).U32(16, 11) }, want: errdef.ErrCorrupt, says: "too long"},
	{name: "extension of 4 GiB", lie: func(c QCOW2) QCOW2 { return c.U32(112, 0x12345678).U32(116, math.MaxUint32) }, want: errdef.ErrCorrupt, says: "header extension 0x12345678"},
	{name: "extension over the cluster's end", lie: func(c QCOW2) QCOW2 { return c.U32(112, 0x12345678).U32(116, 4096) }, want: errdef.ErrCorrupt, says: "passes the end"},
	{name: "extension to the cluster's end", lie: func(c QCOW2) QCOW2 { return c.U32(112, 0x12345678).U32(116, 4096-120) }},
	{name: "bitmaps extension too short", lie: func(c QCOW2) QCOW2 { return c.U32(112, qcow2Bitmaps).U32(116, 8) }, want: errdef.ErrCorrupt, says: "want 24"},
	{name: "snapshots: 4 billion", lie: func(c QCOW2) QCOW2 { return c.U32(60, math.MaxUint32) }, want: errdef.ErrCorrupt, says: "snapshots"},
	{name: "snapshot table past the end", lie: func(c QCOW2) QCOW2 { return c.U64(64, 1<<40) }, snapshot: "one", want: errdef.ErrCorrupt, says: "past the end"},
	{name: "snapshot table at 2^64-4096", lie: func(c QCOW2) QCOW2 { return c.U64(64, 1<<64-4096) }, snapshot: "one", want: errdef.ErrCorrupt, says: "past the end"},
	{name: "snapshot table unaligned", lie: func(c QCOW2) QCOW2 { return c.U64(64, 8) }, snapshot: "one", want: errdef.ErrCorrupt, says: "snapshot table offset"},
	{name: "snapshot table runs off", lie: func(c QCOW2) QCOW2 { return c.U32(60, 65536) }, snapshot: "two", want: errdef.ErrCorrupt, says: "snapshot"},
	{name: "snapshot extra data of 4 GiB", lie: func(c QCOW2) QCOW2 { return c.U32(QCOW2Snapshots+36, math.MaxUint32) }, snapshot: "one", want: errdef.ErrCorrupt, says: "extra data"},
	{name: "snapshot not there", lie: func(c QCOW2) QCOW2 { return c }, snapshot: "two", want: errdef.ErrNotFound, says: `"two"`},
	{name: "no snapshots", lie: func(c QCOW2) QCOW2 { return c.U32(60, 0) }, snapshot: "one", want: errdef.ErrNotFound, says: "no snapshots"},
	{name: "snapshots of one name", lie: func(c QCOW2) QCOW2 {
		c.Snapshot(QCOW2Snapshots+64, QCOW2L1, "2", "one")
		return c.U32(60, 2)
	}, snapshot: "one", want: errdef.ErrUsage, says: "2 snapshots"},
	{name: "snapshot L1 past the end", lie: func(c QCOW2) QCOW2 { return c.U64(QCOW2Snapshots, 1<<40) }, snapshot: "one", want: errdef.ErrCorrupt, says: "past the end"},
	{name: "snapshot L1 of 4 billion entries", lie: func(c QCOW2) QCOW2 { return c.U32(QCOW2Snapshots+8, math.MaxUint32) }, snapshot: "one", want: errdef.ErrCorrupt, says: "too large"},
	{name: "snapshot size above 2^63", lie: func(c QCOW2) QCOW2 { return c.U64(QCOW2Snapshots+48, 1<<63) }, snapshot: "one", want: errdef.ErrCorrupt, says: "2^63"},
	{name: "snapshot size above L1", lie: func(c QCOW2) QCOW2 { return c.U64(QCOW2Snapshots+48, 1<<40) }, snapshot: "one", want: errdef.ErrCorrupt, says: "too small"},
	{name: "cut in the last cluster", lie: func(c QCOW2) QCOW2 { return c[:len(c)-1] }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "cut in the compressed cluster", lie: func(c QCOW2) QCOW2 { return c[:QCOW2Packed+10].L2(7, 0) }, want: errdef.ErrCorrupt, says: "compressed cluster ends after"},
	{name: "cut in the L2", lie: func(c QCOW2) QCOW2 { return c[:QCOW2L2+100] }, want: errdef.ErrCorrupt, says: "past the end"},
}

// Where the L2 table of an image with extended entries is.
const qcow2ExtendedTable = 4 * 16 << 10

var qcow2ExtendedLies = []qcow2Lie{
	{name: "good", lie: func(c QCOW2) QCOW2 { return c }},
	{name: "alloc and zero", lie: func(c QCOW2) QCOW2 { return c.U64(qcow2ExtendedTable+8, 1<<32|1) }, want: errdef.ErrCorrupt, says: "allocated and zero"},
	{name: "alloc without offset", lie: func(c QCOW2) QCOW2 { return c.U64(qcow2ExtendedTable, 0) }, want: errdef.ErrCorrupt, says: "without a host offset"},
	{name: "zero without offset", lie: func(c QCOW2) QCOW2 { return c.U64(qcow2ExtendedTable+16, 0).U64(qcow2ExtendedTable+24, 0xff<<32) }},
	{name: "zero bit", lie: func(c QCOW2) QCOW2 { return c.U64(qcow2ExtendedTable, 5*16<<10|1) }, want: errdef.ErrCorrupt, says: "reserved"},
	{name: "unaligned", lie: func(c QCOW2) QCOW2 { return c.U64(qcow2ExtendedTable, 5*16<<10|512) }, want: errdef.ErrCorrupt, says: "not aligned"},
	{name: "past the end", lie: func(c QCOW2) QCOW2 { return c.U64(qcow2ExtendedTable, 6*16<<10) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "allocated part past the end", lie: func(c QCOW2) QCOW2 { return c[:len(c)-1] }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "unallocated part past the end", lie: func(c QCOW2) QCOW2 { return c.U64(qcow2ExtendedTable+8, 3)[:5*16<<10+1024] }},
	{name: "compressed with bitmap", lie: func(c QCOW2) QCOW2 { return c.U64(qcow2ExtendedTable, qcow2Compressed|5*16<<10) }, want: errdef.ErrCorrupt, says: "subcluster bitmap"},
}
