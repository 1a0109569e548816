package vhdx

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

const (
	h1    = testimage.VHDXHeader1
	h2    = testimage.VHDXHeader2
	rt    = testimage.VHDXRegions1
	meta  = testimage.VHDXMeta
	items = testimage.VHDXItems
)

// both changes the two headers.
func both(v *testimage.VHDX, change func(at int)) *testimage.VHDX {
	change(h1)
	change(h2)
	return v.Seal()
}

// regions changes the two tables of regions.
func regions(v *testimage.VHDX, change func(at int)) *testimage.VHDX {
	change(rt)
	change(testimage.VHDXRegions2)
	return v.Seal()
}

// logged puts entries into the log, one behind the other.
func logged(v *testimage.VHDX, entries ...[]byte) *testimage.VHDX {
	at := 0
	for _, e := range entries {
		at = v.PutLog(at, e)
	}
	return v
}

type crafted = testimage.VHDX

// loops fills the whole log with entries that do nothing, of which each names as its tail what tail says.
func loops(v *testimage.VHDX, tail func(at int, sequence uint64) uint32) *testimage.VHDX {
	for at := 0; at < 1<<20; at += 4096 {
		v.PutLog(at, v.LogEntry(tail(at, v.Sequence)))
	}
	return v
}

// A hostile file is a good one with a lie in it.
var hostiles = []struct {
	name string
	lie  func(v *crafted) *crafted
	want error // nil: it reads
	says string
}{
	{"empty", func(v *crafted) *crafted { v.B = nil; return v }, errdef.ErrCorrupt, "past the end"},
	{"magic only", func(v *crafted) *crafted { v.B = v.B[:8]; return v }, errdef.ErrCorrupt, "past the end"},
	{"no magic", func(v *crafted) *crafted { v.B[0] = 'V'; return v }, errdef.ErrUnsupported, "signature"},
	{"header section only", func(v *crafted) *crafted { v.B = v.B[:1<<20]; return v }, errdef.ErrCorrupt, "past the end"},
	{"both headers broken", func(v *crafted) *crafted { v.B[h1+9]++; v.B[h2+9]++; return v }, errdef.ErrCorrupt, "no header"},
	{"headers that differ", func(v *crafted) *crafted { return v.U64(h1+8, 11).U64(h1+16, 1).Seal() }, errdef.ErrCorrupt, "sequence number 11"},
	{"version 2", func(v *crafted) *crafted { return both(v, func(at int) { v.U16(at+66, 2) }) }, errdef.ErrUnsupported, "version 2"},
	{"log version 1", func(v *crafted) *crafted { return both(v, func(at int) { v.U16(at+64, 1) }) }, errdef.ErrUnsupported, "log version 1"},
	{"log in the headers", func(v *crafted) *crafted { return both(v, func(at int) { v.U64(at+72, 0) }) }, errdef.ErrCorrupt, "log offset 0"},
	{"log on no MiB", func(v *crafted) *crafted { return both(v, func(at int) { v.U64(at+72, 1<<20+4096) }) }, errdef.ErrCorrupt, "log offset"},
	{"log at 2^63", func(v *crafted) *crafted { return both(v, func(at int) { v.U64(at+72, 1<<63) }) }, errdef.ErrCorrupt, "log offset"},
	{"log length", func(v *crafted) *crafted { return both(v, func(at int) { v.U32(at+68, 4096) }) }, errdef.ErrCorrupt, "log length 4096"},
	{"log over the metadata", func(v *crafted) *crafted { return both(v, func(at int) { v.U32(at+68, 2<<20) }) }, errdef.ErrCorrupt, "overlap"},
	{"log past the end", func(v *crafted) *crafted {
		return both(v, func(at int) { v.U64(at+48, 1).U64(at+72, 1<<40) })
	}, errdef.ErrCorrupt, "log at 1099511627776"},
	{"log of 4 GiB", func(v *crafted) *crafted {
		return both(v, func(at int) { v.U64(at+48, 1).U32(at+68, math.MaxUint32&^(1<<20-1)) })
	}, errdef.ErrCorrupt, "log at 1048576"},
	{"log of nothing", func(v *crafted) *crafted { return both(v, func(at int) { v.U64(at+48, 1).U32(at+68, 0) }) }, nil, ""},
	{"log in use and empty", func(v *crafted) *crafted { return both(v, func(at int) { v.U64(at+48, 1) }) }, errdef.ErrCorrupt, "no valid entry"},
	{"log of another", func(v *crafted) *crafted {
		logged(v, v.LogEntry(0))
		return both(v, func(at int) { v.U64(at+48, 99) })
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log entry whose tail is not there", func(v *crafted) *crafted { return logged(v, v.LogEntry(8192)) }, errdef.ErrCorrupt, "no valid entry"},
	{"log entry with number 0", func(v *crafted) *crafted { v.Sequence = 0; return logged(v, v.LogEntry(0)) }, errdef.ErrCorrupt, "no valid entry"},
	{"log entry with a wrong sum", func(v *crafted) *crafted {
		e := v.LogEntry(0)
		e[4000]++
		return logged(v, e)
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log entry longer than the log", func(v *crafted) *crafted {
		v = logged(v, v.LogEntry(0))
		return v.U32(testimage.VHDXLog+8, 2<<20)
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log entry with 4 billion writes", func(v *crafted) *crafted {
		v = logged(v, v.LogEntry(0))
		return v.U32(testimage.VHDXLog+24, math.MaxUint32)
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log write at no sector", func(v *crafted) *crafted {
		return logged(v, v.LogEntry(0, testimage.VHDXWrite{At: testimage.VHDXBAT + 8, Zeros: 4096}))
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log write at 2^63", func(v *crafted) *crafted {
		return logged(v, v.LogEntry(0, testimage.VHDXWrite{At: 1 << 63, Zeros: 4096}))
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log zeros of 2^63", func(v *crafted) *crafted {
		return logged(v, v.LogEntry(0, testimage.VHDXWrite{At: testimage.VHDXBAT, Zeros: 1 << 63}))
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log write of no kind", func(v *crafted) *crafted {
		e := v.LogEntry(0, testimage.VHDXWrite{At: testimage.VHDXBAT, Zeros: 4096})
		copy(e[64:], "none")
		return logged(v, testimage.SealLogEntry(e))
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log write without its data", func(v *crafted) *crafted {
		e := v.LogEntry(0, testimage.VHDXWrite{At: testimage.VHDXBAT, Data: make([]byte, 4096)})
		return logged(v, testimage.SealLogEntry(e[:4096]))
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log data of another entry", func(v *crafted) *crafted {
		e := v.LogEntry(0, testimage.VHDXWrite{At: testimage.VHDXBAT, Data: make([]byte, 4096)})
		e[8191]++
		return logged(v, testimage.SealLogEntry(e))
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log writes the headers", func(v *crafted) *crafted {
		return logged(v, v.LogEntry(0, testimage.VHDXWrite{At: h1, Zeros: 4096}))
	}, errdef.ErrCorrupt, "over the headers"},
	{"log writes a block", func(v *crafted) *crafted {
		return logged(v, v.LogEntry(0, testimage.VHDXWrite{At: testimage.VHDXData + 8192, Zeros: 4096}))
	}, errdef.ErrCorrupt, "overlaps what the log writes"},
	{"log zeros the tables of regions", func(v *crafted) *crafted {
		return logged(v, v.LogEntry(0, testimage.VHDXWrite{At: rt, Zeros: 128 << 10}))
	}, errdef.ErrCorrupt, "no table of regions"},
	{"log writes where nothing is", func(v *crafted) *crafted {
		return logged(v, v.LogEntry(0, testimage.VHDXWrite{At: 1 << 40, Zeros: 1 << 40}))
	}, nil, ""},
	{"log of a longer file", func(v *crafted) *crafted {
		e := v.LogEntry(0)
		e[48+4]++
		return logged(v, testimage.SealLogEntry(e))
	}, errdef.ErrCorrupt, "its end was cut off"},
	{"log of a file that was made smaller since", func(v *crafted) *crafted {
		e := v.LogEntry(0)
		e[48+4]++
		return logged(v, testimage.SealLogEntry(e), v.LogEntry(0))
	}, nil, ""},
	{"log with a gap", func(v *crafted) *crafted {
		// What is behind the gap was never complete: only the first entry counts, which does nothing.
		first := v.LogEntry(0)
		v.Sequence++
		return logged(v, first, v.LogEntry(0, testimage.VHDXWrite{At: testimage.VHDXBAT, Zeros: 4096}))
	}, nil, ""},
	{"log that is full of entries", func(v *crafted) *crafted { return loops(v, func(i int, _ uint64) uint32 { return 0 }) }, nil, ""},
	{"log whose entries each name themselves", func(v *crafted) *crafted { return loops(v, func(i int, _ uint64) uint32 { return uint32(i) }) }, nil, ""},
	{"log whose entries name each other around the ring", func(v *crafted) *crafted {
		return loops(v, func(i int, _ uint64) uint32 { return uint32(i+4096) % (1 << 20) })
	}, nil, ""}, // the last names the first
	{"log whose entries all name a place of none", func(v *crafted) *crafted {
		return loops(v, func(int, uint64) uint32 { return 1 << 20 })
	}, errdef.ErrCorrupt, "no valid entry"},
	{"log whose numbers end at 2^64", func(v *crafted) *crafted {
		v.Sequence = math.MaxUint64
		first := v.LogEntry(0)
		return logged(v, first, v.LogEntry(0, testimage.VHDXWrite{At: testimage.VHDXBAT, Zeros: 4096})) // has number 0
	}, nil, ""},
	{"log with one number twice", func(v *crafted) *crafted {
		first := v.LogEntry(0)
		v.Sequence--
		return logged(v, first, v.LogEntry(0, testimage.VHDXWrite{At: testimage.VHDXBAT, Zeros: 4096}))
	}, nil, ""}, // the second does not follow the first
	{"no regions", func(v *crafted) *crafted { return regions(v, func(at int) { v.U32(at+8, 0) }) }, errdef.ErrCorrupt, "not both there"},
	{"4 billion regions", func(v *crafted) *crafted { return regions(v, func(at int) { v.U32(at+8, math.MaxUint32) }) }, errdef.ErrCorrupt, "regions, more than"},
	{"2047 regions", func(v *crafted) *crafted { return regions(v, func(at int) { v.U32(at+8, 2047) }) }, errdef.ErrCorrupt, "does not lie on whole MiB"},
	{"region tables that differ", func(v *crafted) *crafted { return v.U32(rt+12, 1).Seal() }, errdef.ErrCorrupt, "tables of regions differ"},
	{"unknown region that is required", func(v *crafted) *crafted { return regions(v, func(at int) { v.B[at+16]++ }) }, errdef.ErrUnsupported, "must be known"},
	{"region in the headers", func(v *crafted) *crafted { return regions(v, func(at int) { v.U64(at+32, 0) }) }, errdef.ErrCorrupt, "does not lie on whole MiB"},
	{"region at 2^63", func(v *crafted) *crafted { return regions(v, func(at int) { v.U64(at+32, 1<<63) }) }, errdef.ErrCorrupt, "does not lie on whole MiB"},
	{"region of no length", func(v *crafted) *crafted { return regions(v, func(at int) { v.U32(at+40, 0) }) }, errdef.ErrCorrupt, "does not lie on whole MiB"},
	{"regions that overlap", func(v *crafted) *crafted { return regions(v, func(at int) { v.U64(at+32, meta) }) }, errdef.ErrCorrupt, "overlap"},
	{"region twice", func(v *crafted) *crafted {
		return regions(v, func(at int) { copy(v.B[at+48:], v.B[at+16:at+32]) })
	}, errdef.ErrCorrupt, "is there twice"},
	{"BAT past the end", func(v *crafted) *crafted { return regions(v, func(at int) { v.U64(at+32, 1<<40) }) }, errdef.ErrCorrupt, "past the end"},
	{"metadata past the end", func(v *crafted) *crafted { return regions(v, func(at int) { v.U64(at+64, 1<<40) }) }, errdef.ErrCorrupt, "past the end"},
	{"metadata without signature", func(v *crafted) *crafted { v.B[meta]++; return v }, errdef.ErrCorrupt, "no signature"},
	{"too many items", func(v *crafted) *crafted { return v.U16(meta+10, 2048) }, errdef.ErrCorrupt, "2048 metadata items"},
	{"item missing", func(v *crafted) *crafted { return v.U16(meta+10, 4) }, errdef.ErrCorrupt, "is missing"},
	{"item twice", func(v *crafted) *crafted { copy(v.B[meta+64:], v.B[meta+32:meta+64]); return v }, errdef.ErrCorrupt, "is there twice"},
	{"item in the table", func(v *crafted) *crafted { return v.U32(meta+48, 65535) }, errdef.ErrCorrupt, "does not lie in the region"},
	{"item past the region", func(v *crafted) *crafted { return v.U32(meta+48, 1<<20-7) }, errdef.ErrCorrupt, "does not lie in the region"},
	{"item of 4 GiB", func(v *crafted) *crafted { return v.U32(meta+52, math.MaxUint32) }, errdef.ErrCorrupt, "does not lie in the region"},
	{"item of 9 bytes", func(v *crafted) *crafted { return v.U32(meta+52, 9) }, errdef.ErrCorrupt, "9 bytes, not 8"},
	{"unknown item that is required", func(v *crafted) *crafted { v.U16(meta+10, 6).U32(meta+32+5*32+24, 4); return v }, errdef.ErrUnsupported, "must be known"},
	{"unknown item of a user", func(v *crafted) *crafted { v.U16(meta+10, 6).U32(meta+32+5*32+24, 1); return v }, nil, ""},
	{"block size 0", func(v *crafted) *crafted { return v.U32(items, 0) }, errdef.ErrCorrupt, "block size 0"},
	{"block size 3 MiB", func(v *crafted) *crafted { return v.U32(items, 3<<20) }, errdef.ErrCorrupt, "block size"},
	{"block size 512 KiB", func(v *crafted) *crafted { return v.U32(items, 1<<19) }, errdef.ErrCorrupt, "block size"},
	{"block size 512 MiB", func(v *crafted) *crafted { return v.U32(items, 1<<29) }, errdef.ErrCorrupt, "block size"},
	{"sectors of 1024", func(v *crafted) *crafted { return v.U32(items+32, 1024) }, errdef.ErrCorrupt, "logical sector size 1024"},
	{"physical sectors of 0", func(v *crafted) *crafted { return v.U32(items+36, 0) }, errdef.ErrCorrupt, "physical sector size 0"},
	{"size of no sectors", func(v *crafted) *crafted { return v.U64(items+8, 1000) }, errdef.ErrCorrupt, "virtual size 1000"},
	{"size of 2^63", func(v *crafted) *crafted { return v.U64(items+8, 1<<63) }, errdef.ErrCorrupt, "virtual size"},
	{"size above the limit", func(v *crafted) *crafted { return v.U64(items+8, 1<<62) }, errdef.ErrLimit, "above the limit"},
	{"size more than the BAT", func(v *crafted) *crafted { return v.U64(items+8, 1<<40) }, errdef.ErrCorrupt, "BAT of 1048576 bytes is too small"},
	{"size 0", func(v *crafted) *crafted { v.Disk = nil; return v.U64(items+8, 0) }, nil, ""},
	{"partial block", func(v *crafted) *crafted { return v.Entry(1, testimage.VHDXPartial, 4) }, errdef.ErrCorrupt, "guest offset 1048576: block is partially present"},
	{"state 4", func(v *crafted) *crafted { return v.Entry(1, 4, 4) }, errdef.ErrCorrupt, "block state 4"},
	{"unmapped of old", func(v *crafted) *crafted { return v.Entry(1, 5, 4) }, nil, ""},
	{"reserved bits", func(v *crafted) *crafted { return v.U64(testimage.VHDXBAT, 5<<20|6|8) }, errdef.ErrCorrupt, "reserved bits"},
	{"block in the headers", func(v *crafted) *crafted { return v.Entry(0, 6, 0) }, errdef.ErrCorrupt, "overlaps the header section"},
	{"block in the log", func(v *crafted) *crafted { return v.Entry(0, 6, 1) }, errdef.ErrCorrupt, "overlaps the log"},
	{"block in the metadata", func(v *crafted) *crafted { return v.Entry(0, 6, 2) }, errdef.ErrCorrupt, "overlaps the metadata"},
	{"block in the BAT", func(v *crafted) *crafted { return v.Entry(0, 6, 3) }, errdef.ErrCorrupt, "overlaps the BAT"},
	{"block used twice", func(v *crafted) *crafted { return v.Entry(1, 6, 4) }, errdef.ErrCorrupt, "overlaps the one at"},
	{"block past the end", func(v *crafted) *crafted { return v.Entry(1, 6, 7) }, errdef.ErrCorrupt, "past the end"},
	{"block partly past the end", func(v *crafted) *crafted { return v.Entry(1, 6, 6) }, errdef.ErrCorrupt, "past the end"},
	{"block at the highest offset", func(v *crafted) *crafted { return v.Entry(1, 6, 1<<44-1) }, errdef.ErrCorrupt, "past the end"},
	{"block at what is no number of ours", func(v *crafted) *crafted { return v.Entry(1, 6, math.MaxUint32) }, errdef.ErrCorrupt, "past the end"},
	{"one byte short", func(v *crafted) *crafted { v.B = v.B[:len(v.B)-1]; return v }, errdef.ErrCorrupt, "past the end"},
	{"padded", func(v *crafted) *crafted { v.B = append(v.B, make([]byte, 5000)...); return v }, nil, ""},
	{"rubbish behind the BAT's use", func(v *crafted) *crafted { return v.Entry(7, 7, 1).Entry(8, 4, 99) }, nil, ""},
}

func TestHostile(t *testing.T) {
	for _, h := range hostiles {
		t.Run(h.name, func(t *testing.T) {
			defer formattest.Frugal(t)()
			v := h.lie(testimage.CraftVHDX(512, ""))
			got, err := formattest.Agree(t, v.B, reader(t))
			if !errors.Is(err, h.want) || (h.want == nil) != (err == nil) {
				t.Fatalf("error is %v, want %v", err, h.want)
			}
			if err == nil && !bytes.Equal(got, v.Disk) {
				t.Fatal("another disk")
			}
			if err != nil && !strings.Contains(err.Error(), h.says) {
				t.Errorf("error %q does not say %q", err, h.says)
			}
		})
	}
}

func TestDifferencing(t *testing.T) {
	v := testimage.CraftVHDX(512, `..\base ä.vhdx`)
	_, err := formattest.Agree(t, v.B, reader(t))
	if !errors.Is(err, errdef.ErrUnsupported) || !strings.Contains(err.Error(), `"..\\base ä.vhdx"`) || errdef.Hint(err) == "" {
		t.Errorf("error %v, hint %q", err, errdef.Hint(err))
	}
	info, err := Describe(t.Context(), bytes.NewReader(v.B), int64(len(v.B)), limits.Limits{})
	if err != nil || info.Parent != `..\base ä.vhdx` {
		t.Errorf("%+v, %v", info, err)
	}
	// A locator that lies about its lengths has no name, and hurts nobody.
	for off := range 32 {
		v := testimage.CraftVHDX(512, "x")
		v.U32(items+40+off, math.MaxUint32)
		if _, err := formattest.Agree(t, v.B, reader(t)); !errors.Is(err, errdef.ErrUnsupported) {
			t.Errorf("locator with a lie at %d: %v", off, err)
		}
	}
	v.U16(meta+10, 5)
	if _, err := formattest.Agree(t, v.B, reader(t)); !errors.Is(err, errdef.ErrCorrupt) {
		t.Errorf("without a locator: %v", err)
	}
}

func TestDescribe(t *testing.T) {
	v := testimage.DirtyVHDX(4096)
	want := Info{VirtualSize: int64(len(v.Disk)), BlockSize: 1 << 20, LogicalSector: 4096, PhysicalSector: 4096, Dirty: true,
		DiskID: "00000000-0000-0000-0000-000000000000"}
	for _, size := range []int64{int64(len(v.B)), -1} {
		got, err := Describe(t.Context(), bytes.NewReader(v.B), size, limits.Limits{})
		if err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for _, n := range []int{65536, 1 << 20, testimage.VHDXItems} {
		if info, err := Describe(t.Context(), bytes.NewReader(v.B[:n]), -1, limits.Limits{}); err != nil || info != (Info{VirtualSize: -1}) {
			t.Errorf("the first %d bytes alone: %+v, %v", n, info, err)
		}
	}
}

// TestLimits shows that limits hold before anything is allocated.
func TestLimits(t *testing.T) {
	v := testimage.DirtyVHDX(512)
	for _, lim := range []limits.Limits{{VirtualSize: int64(len(v.Disk)) - 1}, {Metadata: 1<<20 - 1}} {
		if _, err := Open(t.Context(), bytes.NewReader(v.B), int64(len(v.B)), lim); !errors.Is(err, errdef.ErrLimit) {
			t.Errorf("%+v: %v", lim, err)
		}
	}
	v = testimage.CraftVHDX(512, "")
	if _, err := Open(t.Context(), bytes.NewReader(v.B), int64(len(v.B)), limits.Limits{Metadata: 27}); !errors.Is(err, errdef.ErrLimit) {
		t.Errorf("BAT: %v", err)
	}
	if _, err := Open(t.Context(), bytes.NewReader(v.B), -1, limits.Limits{}); !errors.Is(err, errdef.ErrUsage) {
		t.Errorf("size not known: %v", err)
	}
}
