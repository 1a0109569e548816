package vhd

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

const hdr, atBAT = testimage.VHDHeader, testimage.VHDBAT

type crafted = testimage.VHD

// oldFooter cuts the footer at the end to its length of before Virtual PC 2004.
func oldFooter(v *crafted) *crafted {
	v.B = v.B[:len(v.B)-1]
	return v
}

// crafts are good files.
var crafts = map[string]func() *crafted{
	"current size": func() *crafted { return testimage.CraftVHD("win ", "") },
	"geometry":     func() *crafted { return testimage.CraftVHD("vpc ", "") },
	"geometry that is less": func() *crafted {
		v := testimage.CraftVHD("qemu", "")
		v.B[59] = 33
		v.Disk = v.Disk[:33*512]
		return v.Seal()
	},
	"no geometry": func() *crafted {
		v := testimage.CraftVHD("win ", "")
		v.B[57] = 0
		return v.Seal()
	},
	"footer of 511 bytes": func() *crafted { return oldFooter(testimage.CraftVHD("win ", "")) },
	"size of no whole sector": func() *crafted {
		v := testimage.CraftVHD("win ", "")
		return v.U64(48, uint64(len(v.Disk)+100)).Seal()
	},
	"BAT longer than the disk": func() *crafted { return testimage.CraftVHD("win ", "").U32(hdr+28, 128).Seal() },
	"bitmaps of nothing": func() *crafted { // as qemu reads them
		v := testimage.CraftVHD("win ", "")
		clear(v.B[testimage.VHDData:][:512])
		return v
	},
	"a block that was not finished": func() *crafted {
		v := testimage.CraftVHD("win ", "")
		v.B = append(v.B, make([]byte, 4096)...)
		return v.Seal()
	},
	"nothing": func() *crafted {
		v := testimage.CraftVHD("win ", "").U64(48, 0)
		v.Disk = nil
		return v.Seal()
	},
}

func TestCrafted(t *testing.T) {
	for name, make := range crafts {
		t.Run(name, func(t *testing.T) {
			v := make()
			formattest.Both(t, bytes.NewReader(v.B), int64(len(v.B)), bytes.NewReader(v.Disk), int64(len(v.Disk)), reader(t))
		})
	}
}

// TestCraftedIsQemus shows that qemu-img reads crafted files as we do.
func TestCraftedIsQemus(t *testing.T) {
	for name, make := range crafts {
		if name == "nothing" {
			continue // has no raw file to compare
		}
		t.Run(name, func(t *testing.T) {
			v := make()
			sameAsQemu(t, v.B, v.Disk)
		})
	}
}

// A hostile file is a good one with a lie in it.
var hostiles = []struct {
	name string
	lie  func(v *crafted) *crafted
	want error // nil: it reads
	says string
}{
	{"empty", func(v *crafted) *crafted { v.B = nil; return v }, errdef.ErrCorrupt, "less than two footers"},
	{"footer only", func(v *crafted) *crafted { v.B = v.B[:512]; return v }, errdef.ErrCorrupt, "less than two footers"},
	{"footers only", func(v *crafted) *crafted { v.B = v.B[:1024]; return v.Seal() }, errdef.ErrCorrupt, "header at 512 (1024 bytes) lies past the end"},
	{"no copy of the footer", func(v *crafted) *crafted { v.B[0]++; return v }, errdef.ErrCorrupt, "must begin with a copy"},
	{"footer checksum", func(v *crafted) *crafted { v.B[100]++; return v }, errdef.ErrCorrupt, "footer checksum"},
	{"version 2", func(v *crafted) *crafted { return v.U32(12, 0x20000).Seal() }, errdef.ErrUnsupported, "footer version 2"},
	{"fixed with its footer at the start", func(v *crafted) *crafted { return v.U32(60, 2).Seal() }, errdef.ErrCorrupt, "disk type is fixed"},
	{"type 5", func(v *crafted) *crafted { return v.U32(60, 5).Seal() }, errdef.ErrCorrupt, "disk type is type 5"},
	{"no footer at the end", func(v *crafted) *crafted { v.B[len(v.B)-512]++; return v }, errdef.ErrCorrupt, "does not end with a footer"},
	{"cut before the footer", func(v *crafted) *crafted { v.B = v.B[:len(v.B)-512]; return v }, errdef.ErrCorrupt, "does not end with a footer"},
	{"padded", func(v *crafted) *crafted { v.B = append(v.B, make([]byte, 1000)...); return v }, errdef.ErrCorrupt, "does not end with a footer"},
	{"footer on no sector", func(v *crafted) *crafted { v.B = append(v.B, 0); return v.Seal() }, errdef.ErrCorrupt, "which is no sector's"},
	{"old footer on no sector", func(v *crafted) *crafted { v.B = append(v.B, 0, 0); return oldFooter(v.Seal()) }, errdef.ErrCorrupt, "which is no sector's"},
	{"checksum of the footer at the end", func(v *crafted) *crafted { v.B[len(v.B)-300]++; return v }, errdef.ErrCorrupt, "at the end: vpc: footer checksum"},
	{"footers that differ", func(v *crafted) *crafted {
		end := bytes.Clone(v.U64(48, 4096).Seal().B[:512])
		v.U64(48, 8192).Seal()
		copy(v.B[len(v.B)-512:], end)
		return v
	}, errdef.ErrCorrupt, "footer and its copy disagree"},
	{"header in the footer", func(v *crafted) *crafted { return v.U64(16, 511).Seal() }, errdef.ErrCorrupt, "header offset 511"},
	{"header at 2^64-1", func(v *crafted) *crafted { return v.U64(16, 1<<64-1).Seal() }, errdef.ErrCorrupt, "header offset"},
	{"header past the end", func(v *crafted) *crafted { return v.U64(16, 1<<40).Seal() }, errdef.ErrCorrupt, "past the end"},
	{"header in a block", func(v *crafted) *crafted { return v.U64(16, testimage.VHDData).Seal() }, errdef.ErrCorrupt, "no cookie"},
	{"header on the footer", func(v *crafted) *crafted { return v.U64(16, uint64(len(v.B)-512)).Seal() }, errdef.ErrCorrupt, "past the end"},
	{"geometry of 127 GiB", func(v *crafted) *crafted {
		copy(v.B[28:], "vpc ")
		return v.U32(56, 0xfffe10ff).Seal()
	}, errdef.ErrCorrupt, "is too small"},
	{"BAT on the footer", func(v *crafted) *crafted { return v.U64(hdr+16, uint64(len(v.B)-512)).Seal() }, errdef.ErrCorrupt, "past the end"},
	{"header cookie", func(v *crafted) *crafted { v.B[hdr]++; return v.Seal() }, errdef.ErrCorrupt, "no cookie"},
	{"header checksum", func(v *crafted) *crafted { v.B[hdr+1000]++; return v }, errdef.ErrCorrupt, "header checksum"},
	{"header version", func(v *crafted) *crafted { return v.U32(hdr+24, 0x20000).Seal() }, errdef.ErrUnsupported, "header version 2"},
	{"block size 0", func(v *crafted) *crafted { return v.U32(hdr+32, 0).Seal() }, errdef.ErrCorrupt, "block size 0"},
	{"block size 256", func(v *crafted) *crafted { return v.U32(hdr+32, 256).Seal() }, errdef.ErrCorrupt, "block size 256"},
	{"block size 3000", func(v *crafted) *crafted { return v.U32(hdr+32, 3000).Seal() }, errdef.ErrCorrupt, "block size 3000"},
	{"block size 2 GiB", func(v *crafted) *crafted { return v.U32(hdr+32, 1<<31).Seal() }, errdef.ErrCorrupt, "past the end"},
	{"BAT too small", func(v *crafted) *crafted { return v.U32(hdr+28, 4).Seal() }, errdef.ErrCorrupt, "BAT of 4 entries is too small"},
	{"BAT in the footer", func(v *crafted) *crafted { return v.U64(hdr+16, 0).Seal() }, errdef.ErrCorrupt, "BAT offset 0"},
	{"BAT in the header", func(v *crafted) *crafted { return v.U64(hdr+16, 600).Seal() }, errdef.ErrCorrupt, "overlaps the header"},
	{"BAT past the end", func(v *crafted) *crafted { return v.U64(hdr+16, 1<<40).Seal() }, errdef.ErrCorrupt, "past the end"},
	{"BAT at 2^64-1", func(v *crafted) *crafted { return v.U64(hdr+16, 1<<64-1).Seal() }, errdef.ErrCorrupt, "BAT offset"},
	{"BAT of 4 billion entries", func(v *crafted) *crafted { return v.U32(hdr+28, math.MaxUint32).Seal() }, nil, ""}, // of which five are read
	{"size of 2^63", func(v *crafted) *crafted { return v.U64(48, 1<<63).Seal() }, errdef.ErrCorrupt, "footer tells a size of"},
	{"size above the limit", func(v *crafted) *crafted { return v.U64(48, 1<<62).Seal() }, errdef.ErrLimit, "above the limit"},
	{"size of a table above the limit", func(v *crafted) *crafted {
		return v.U64(48, 1<<40).U32(hdr+28, math.MaxUint32).U32(hdr+32, 512).Seal()
	}, errdef.ErrCorrupt, "past the end"},
	{"block at 0", func(v *crafted) *crafted { return v.Entry(1, 0) }, errdef.ErrCorrupt, "guest offset 4096: block at 512"},
	{"block in the header", func(v *crafted) *crafted { return v.Entry(1, 2) }, errdef.ErrCorrupt, "overlaps the header"},
	{"block in the BAT", func(v *crafted) *crafted { return v.Entry(1, 3) }, errdef.ErrCorrupt, "overlaps the BAT"},
	{"block used twice", func(v *crafted) *crafted { return v.Entry(1, 4) }, errdef.ErrCorrupt, "overlaps the one at"},
	{"block on the end of another", func(v *crafted) *crafted { return v.Entry(1, 12) }, errdef.ErrCorrupt, "overlaps the one at"},
	{"block on the footer", func(v *crafted) *crafted { return v.Entry(1, 23) }, errdef.ErrCorrupt, "past the end"},
	{"block past the end", func(v *crafted) *crafted { return v.Entry(1, 1<<24) }, errdef.ErrCorrupt, "past the end"},
	{"block at the highest sector", func(v *crafted) *crafted { return v.Entry(1, math.MaxUint32-1) }, errdef.ErrCorrupt, "0xfffffffe"},
	{"rubbish behind the disk's entries", func(v *crafted) *crafted { return v.U32(hdr+28, 128).Seal().Entry(5, 1) }, nil, ""},
}

func TestHostile(t *testing.T) {
	for _, h := range hostiles {
		t.Run(h.name, func(t *testing.T) {
			defer formattest.Frugal(t)()
			v := h.lie(testimage.CraftVHD("win ", ""))
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

// TestStreamCut shows that a stream without its end is no whole file: the learner wants a footer where one must be.
func TestStreamCut(t *testing.T) {
	v := testimage.CraftVHD("win ", "")
	for _, n := range []int{len(v.B) - 2, len(v.B) - 512, len(v.B) - 3000, 2000, 600} {
		l := NewLearner(limits.Limits{})
		_, err := formattest.Learn(l, bytes.NewReader(v.B), int64(n))
		if !errors.Is(err, errdef.ErrCorrupt) {
			t.Errorf("%d of %d bytes: %v", n, len(v.B), err)
		}
	}
	l := NewLearner(limits.Limits{})
	if _, err := formattest.Learn(l, bytes.NewReader(v.B), int64(len(v.B))); err != nil || l.Finish(int64(len(v.B))) != nil {
		t.Error(err, l.Finish(int64(len(v.B))))
	}
	if err := l.Finish(int64(len(v.B) - 2)); !errors.Is(err, errdef.ErrCorrupt) {
		t.Errorf("Finish too early: %v", err)
	}
	v.B[len(v.B)-200]++ // in the footer at the end
	l = NewLearner(limits.Limits{})
	if _, err := formattest.Learn(l, bytes.NewReader(v.B), int64(len(v.B))); err != nil {
		t.Fatal(err)
	}
	if err := l.Finish(int64(len(v.B))); !errors.Is(err, errdef.ErrCorrupt) {
		t.Errorf("a wrong footer at the end: %v", err)
	}
	if err := l.Finish(int64(len(v.B)) + 512); err != nil {
		t.Errorf("a wrong footer that is not at the end: %v", err)
	}
}

func TestDifferencing(t *testing.T) {
	v := testimage.CraftVHD("win ", `base ä.vhd`)
	_, err := formattest.Agree(t, v.B, reader(t))
	if !errors.Is(err, errdef.ErrUnsupported) || !strings.Contains(err.Error(), `"base ä.vhd"`) || errdef.Hint(err) == "" {
		t.Errorf("error %v, hint %q", err, errdef.Hint(err))
	}
	for _, size := range []int64{int64(len(v.B)), -1} {
		info, err := Describe(t.Context(), bytes.NewReader(v.B), size, limits.Limits{})
		if err != nil || info.Parent != `base ä.vhd` || info.Type != Differencing || info.VirtualSize != int64(len(v.Disk)) || info.BlockSize != 4096 {
			t.Errorf("%+v, %v", info, err)
		}
	}
	// The start of a stream may not reach as far as the header.
	far := testimage.CraftVHD("win ", "").U64(16, 1<<20).Seal()
	if info, err := Describe(t.Context(), bytes.NewReader(far.B), -1, limits.Limits{}); err != nil || info.VirtualSize != int64(len(v.Disk)) {
		t.Errorf("a header far away: %+v, %v", info, err)
	}
	// Without a name it is the UUID.
	v = testimage.CraftVHD("win ", "\x00")
	v.U32(hdr+40, 0xdeadbeef).Seal()
	if _, err := formattest.Agree(t, v.B, reader(t)); err == nil || !strings.Contains(err.Error(), "deadbeef-0000-") {
		t.Errorf("error %v", err)
	}
}

// TestLimits shows that limits hold before anything is allocated.
func TestLimits(t *testing.T) {
	v := testimage.CraftVHD("win ", "")
	for _, lim := range []limits.Limits{{VirtualSize: int64(len(v.Disk)) - 1}, {Metadata: 19}, {Metadata: 31}} {
		if _, err := Open(t.Context(), bytes.NewReader(v.B), int64(len(v.B)), lim); !errors.Is(err, errdef.ErrLimit) {
			t.Errorf("%+v: %v", lim, err)
		}
	}
	if _, err := Open(t.Context(), bytes.NewReader(v.B), int64(len(v.B)), limits.Limits{Metadata: 32}); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := Open(t.Context(), bytes.NewReader(v.B), -1, limits.Limits{}); !errors.Is(err, errdef.ErrUsage) {
		t.Errorf("size not known: %v", err)
	}
	if _, err := Open(t.Context(), bytes.NewReader(v.B), int64(len(v.B))+1, limits.Limits{}); !errors.Is(err, errdef.ErrChanged) {
		t.Errorf("a file that became shorter: %v", err)
	}
}
