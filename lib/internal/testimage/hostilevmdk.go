package testimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

// A vmdkLie is a file with a lie in it.
type vmdkLie struct {
	name string
	file VMDK
	want error
	says string
}

// VMDKHostiles are monolithicSparse and streamOptimized disks that lie.
func VMDKHostiles() []Hostile {
	all := vmdkHostiles("vmdk", vmdkSparseLies())
	all = append(all, vmdkHostiles("vmdk stream", vmdkStreamLies())...)
	for _, h := range vmdkHostiles("vmdk markers", vmdkMarkerLies()) {
		h.StreamOnly = true
		if h.Name == "no end" {
			h.StreamSays = "past the end" // whoever knows where the stream ended says it before the reader does
		}
		all = append(all, h)
	}
	return all
}

func vmdkHostiles(format string, table []vmdkLie) []Hostile {
	all := make([]Hostile, len(table))
	for i, l := range table {
		all[i] = Hostile{Format: format, Name: l.name, Want: l.want, Says: l.says, Plain: l.name == "empty file",
			Make: func() ([]byte, []byte) { return l.file, nil }}
	}
	return all
}

// vmdkSparseLies are in headers, tables and descriptors.
func vmdkSparseLies() []vmdkLie {
	c, _ := CraftSparseVMDK()
	const n = VMDKSize / vmdkSector
	desc := func(s string) VMDK { return c.Text(vmdkSector, s+strings.Repeat("\x00", 2*vmdkSector-len(s))) }
	good := VMDKDescriptor("monolithicSparse", fmt.Sprintf("RW %d SPARSE \"x.vmdk\"", n))
	bad, big, no := errdef.ErrCorrupt, errdef.ErrLimit, errdef.ErrUnsupported
	return []vmdkLie{
		{"empty file", nil, no, "magic"},
		{"magic only", c[:4], bad, "past the end"},
		{"cut in the header", c[:511], bad, "past the end"},
		{"cut behind the header", c[:512], bad, "past the end"},
		{"version 0", c.U32(4, 0), bad, "version 0"},
		{"version 4", c.U32(4, 4), no, "version 4"},
		{"version 1 with zeroed grains", c.U32(4, 1), nil, ""},
		{"unknown flag", c.U32(8, 1<<18), no, "unknown flags"},
		{"low flag", c.U32(8, 1<<9|vmdkZeroGrains), nil, ""},
		{"text mode", c.Text(73, "\n \n\x00"), bad, "transferred as text"},
		{"capacity 0", c.U64(12, 0), no, "capacity 0"},
		{"capacity of 2^64-1", c.U64(12, math.MaxUint64), bad, "capacity"},
		{"capacity of 2^63 bytes", c.U64(12, 1<<54), bad, "capacity"},
		{"capacity of 2^62 bytes", c.U64(12, 1<<53), big, "virtual size"},
		{"capacity of 64 TiB", c.U64(12, 1<<37), bad, "grain directory at 1536"},
		{"capacity more than the directory", c.U64(12, 1<<31), bad, "past the end"},
		{"grain of 0", c.U64(20, 0), bad, "grain size of 0"},
		{"grain of 4", c.U64(20, 4), bad, "grain size of 4"},
		{"grain of 12", c.U64(20, 12), bad, "no power of two"},
		{"grain of 2^22", c.U64(20, 1<<22), bad, "grain size of 4194304"},
		{"grain of 2^63", c.U64(20, 1<<63), bad, "grain size"},
		{"table of 0", c.U32(44, 0), no, "tables of 0"},
		{"table of 1024", c.U32(44, 1024), no, "tables of 1024"},
		{"algorithm 2", c.Text(77, "\x02"), no, "algorithm 2"},
		{"algorithm without flag", c.Text(77, "\x01"), bad, "disagrees"},
		{"flag without algorithm", c.U32(8, vmdkCompressed), bad, "disagrees"},
		{"overhead past the end", c.U64(64, 1<<20), bad, "metadata of 1048576"},
		{"overhead of 2^64-1", c.U64(64, math.MaxUint64), bad, "metadata"},
		{"directory at 0", c.U64(56, 0), bad, "directory at sector 0"},
		{"directory past the end", c.U64(56, 1<<30), bad, "past the end"},
		{"directory at 2^63", c.U64(56, 1<<63), bad, "directory at sector"},
		{"directory in the descriptor", c.U64(56, 2), bad, "overlaps the descriptor"},
		{"footer that is none", c.U64(56, vmdkAtEnd), bad, "footer"},
		{"table past the end", c.U32(VMDKDirectory*vmdkSector, 1<<31), bad, "past the end"},
		{"table in the header", c.U32(VMDKDirectory*vmdkSector, 0), nil, ""}, // is no table
		{"table over the directory", c.U32(VMDKDirectory*vmdkSector, 2), bad, "overlaps"},
		{"table used twice", c.U32(VMDKDirectory*vmdkSector+4, VMDKTable), bad, "overlap"},
		{"tables overlap", c.U32(VMDKDirectory*vmdkSector+4, VMDKTable+3), bad, "overlap"},
		{"tables overlap, descending", c.U32(VMDKDirectory*vmdkSector, vmdkTable1+1), bad, "overlap"},
		{"grain past the end", c.GTE(9, 1<<31), bad, "past the end"},
		{"grain partly past the end", c.GTE(9, vmdkGrains+6*8), bad, "past the end"},
		{"grain is the header", c.U32(8, 0).GTE(5, 1), bad, "overlaps the descriptor"},
		{"grain over the directory", c.GTE(9, 3), bad, "overlaps the grain directory"},
		{"grain in front of the directory", c.GTE(9, 1), nil, ""},       // a zeroed grain
		{"grain is a table", c.GTE(9, VMDKTable), nil, ""},              // harmless
		{"zeroed grain without its flag", c.U32(8, 0), bad, "overlaps"}, // it would be the descriptor
		{"no descriptor", c.U64(28, 0), no, "has no descriptor"},
		{"descriptor of nothing", c.U64(36, 0), no, "has no descriptor"},
		{"descriptor past the end", c.U64(28, 1<<20), bad, "past the end"},
		{"descriptor at 2^63", c.U64(28, 1<<63), bad, "descriptor at sector"},
		{"descriptor of 2^63", c.U64(36, 1<<63), bad, "embedded descriptor"},
		{"descriptor of 2 MiB", c.U64(36, 4096), bad, "embedded descriptor"},
		{"descriptor of zeros", desc(""), bad, "empty"},
		{"descriptor of garbage", desc("\xff\xfe\x01"), bad, "line 1"},
		{"delta", desc(strings.Replace(good, "ffffffff", "12345678", 1)), no, "delta"},
		{"delta by its hint", desc(good + "parentFileNameHint=\"/etc/passwd\"\n"), no, `parent "/etc/passwd"`},
		{"encrypted", desc(good + "encryptionKeys = \"vmware:key/list\"\n"), no, "encrypted"},
		{"encrypted by a filter", desc(good + "ddb.iofilters = \"vmwarevmcrypt\"\n"), no, "encrypted"},
		{"one of two extents", desc(good + "RW 8 SPARSE \"y.vmdk\"\n"), no, "one of the 2 extents"},
		{"descriptor version 4", desc(strings.Replace(good, "version=1", "version=4", 1)), no, "descriptor version 4"},
		{"descriptor version twice", desc(good + "version=1\n"), bad, "twice"},
	}
}

func vmdkStreamLies() []vmdkLie {
	bad := errdef.ErrCorrupt
	with := func(f func(*VMDKEdit)) VMDK {
		c, _ := CraftStreamVMDK(VMDKStream{Edit: f})
		return c
	}
	good, _ := CraftStreamVMDK(VMDKStream{})
	end := len(good)
	return []vmdkLie{
		{"cut by a sector", good[:end-vmdkSector], bad, "footer"},
		{"cut by a byte", good[:end-1], bad, "footer"},
		{"longer by a sector", append(bytes.Clone(good), make([]byte, vmdkSector)...), bad, "footer"},
		{"longer by a byte", append(bytes.Clone(good), 0), bad, "footer"},
		{"no end-of-stream marker", with(func(e *VMDKEdit) { e.NoEOS = true }), bad, "footer"},
		{"grains of 4 MiB", good.U64(20, 8192), errdef.ErrUnsupported, "compressed grains of 4194304"},
		{"footer of another size", with(func(e *VMDKEdit) { e.Footer = func(c VMDK) VMDK { return c.U64(12, 8) } }), bad, "disagree"},
		{"footer of another grain", with(func(e *VMDKEdit) { e.Footer = func(c VMDK) VMDK { return c.U64(20, 16) } }), bad, "disagree"},
		{"footer without magic", with(func(e *VMDKEdit) { e.Footer = func(c VMDK) VMDK { return c.U32(0, 0) } }), bad, "footer"},
		{"footer tells of another", with(func(e *VMDKEdit) { e.Footer = func(c VMDK) VMDK { return c.U64(56, vmdkAtEnd) } }), bad, "without a grain directory"},
		{"grain's marker tells 0", with(func(e *VMDKEdit) { e.Entry = func(_, i int, at uint32) uint32 { return at + 1 } }), bad, "compressed grain"},
		{"grain's marker tells too much", good.U32(8*vmdkSector+8, 1<<20), bad, "tells 1048576 bytes"},
		{"grain is no zlib", good.Text(8*vmdkSector+12, "\x78\x9d"), bad, "no zlib"},
		{"grain wants a dictionary", good.Text(8*vmdkSector+12, "\x78\xbb"), bad, "no zlib"},
		{"grain is damaged", good.Text(8*vmdkSector+100, "\xff\xff\xff\xff"), bad, "compressed grain"},
		{"grain is cut", good.U32(8*vmdkSector+8, 300), bad, "compressed grain ends after"},
		{"grain inflates beyond a grain", with(func(e *VMDKEdit) { e.Body = vmdkBomb(1, VMDKGrain+1) }), bad, "compressed grain"},
		{"grain inflates to 16 MiB", with(func(e *VMDKEdit) { e.Body = vmdkBomb(1, 16<<20) }), bad, "compressed grain"},
		{"grain inflates to less", with(func(e *VMDKEdit) { e.Body = vmdkBomb(1, VMDKGrain-1) }), bad, "compressed grain"},
		{"grain inflates to nothing", with(func(e *VMDKEdit) { e.Body = vmdkBomb(1, 0) }), bad, "compressed grain"},
		{"grain has no checksum", good.U32(8*vmdkSector+8, binary.LittleEndian.Uint32(good[8*vmdkSector+8:])-2), bad, "checksum"},
		{"grain past the end", with(func(e *VMDKEdit) {
			e.Entry = func(t, i int, at uint32) uint32 {
				if i == 7 {
					return 1 << 30
				}
				return at
			}
		}), bad, "past the end"},
	}
}

// vmdkBomb replaces compressed grain i by n zeros.
func vmdkBomb(i, n int) func(int, []byte) []byte {
	return func(at int, p []byte) []byte {
		if at == i {
			return packVMDK(make([]byte, n))
		}
		return p
	}
}

// vmdkMarkerLies has what only a reader of markers can see: the tables, by which others go, are right, or never looked at.
func vmdkMarkerLies() []vmdkLie {
	bad := errdef.ErrCorrupt
	nth := func(n int, f func(*VMDKMarker)) func(*VMDKEdit) {
		return func(e *VMDKEdit) {
			e.Marker = func(i int, m *VMDKMarker) {
				if i == n {
					f(m)
				}
			}
		}
	}
	var all []vmdkLie
	// Markers: 0 to 4 grains, 5 their table, 6 and 7 grains, 8 their table, 9 the directory, 10 the footer, 11 the end.
	for _, l := range []struct {
		name string
		edit func(*VMDKEdit)
		says string
	}{
		{"grain of another place", nth(1, func(m *VMDKMarker) { m.Value = 80 }), "is not that of the grains"},
		{"grain inside of a grain", nth(1, func(m *VMDKMarker) { m.Value++ }), "grain of sector 17"},
		{"grain past the end of the disk", nth(1, func(m *VMDKMarker) { m.Value = VMDKSize/vmdkSector + 7 }), "the disk has"},
		{"grain at 2^64-8", nth(1, func(m *VMDKMarker) { m.Value = math.MaxUint64 - 7 }), "the disk has"},
		{"grain twice", nth(1, func(m *VMDKMarker) { m.Value = 8 }), "twice"},
		{"grain of 4 GiB", nth(1, func(m *VMDKMarker) { m.Size = math.MaxUint32 }), "grain of 4294967295 bytes"},
		{"unknown marker", nth(5, func(m *VMDKMarker) { m.Kind = 4 }), "marker of kind 4"},
		{"end too early", nth(5, func(m *VMDKMarker) { *m = VMDKMarker{} }), "without a footer"},
		{"table of 5 sectors", nth(5, func(m *VMDKMarker) { m.Value = 5 }), "with 5 sectors"},
		{"directory of 2^63 sectors", nth(9, func(m *VMDKMarker) { m.Value = 1 << 63 }), "want 1"},
		{"footer of no sectors", nth(10, func(m *VMDKMarker) { m.Value = 0 }), "want 1"},
		{"end with sectors", nth(11, func(m *VMDKMarker) { m.Value = 1 }), "want 0"},
		{"no directory", func(e *VMDKEdit) { e.NoGD = true }, "none has passed"},
		{"entry too many", func(e *VMDKEdit) {
			e.Entry = func(t, i int, at uint32) uint32 {
				if t == 0 && i == 5 {
					return 8
				}
				return at
			}
		}, "is not that of the grains"},
		{"directory misses a table", func(e *VMDKEdit) {
			e.GD = func(i int, at uint32) uint32 { return at + uint32(1-i) }
		}, "where no grain table has passed"},
		{"directory forgets a table", func(e *VMDKEdit) {
			e.GD = func(i int, at uint32) uint32 { return at * uint32(1-i) }
		}, "is not that of the grains"},
		{"no end", func(e *VMDKEdit) { e.NoEOS = true }, "passes the file"},
		{"trailing sector", func(e *VMDKEdit) { e.Trailer = make([]byte, vmdkSector) }, "the stored file has"},
		{"trailing byte", func(e *VMDKEdit) { e.Trailer = []byte{0} }, "the stored file has"},
	} {
		c, _ := CraftStreamVMDK(VMDKStream{Edit: l.edit})
		all = append(all, vmdkLie{l.name, c, bad, l.says})
	}
	return all
}
