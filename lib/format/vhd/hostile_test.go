package vhd

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

const hdr, atBAT = testimage.VHDHeader, testimage.VHDBAT

type crafted = testimage.VHD

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
	"footer of 511 bytes": func() *crafted { return testimage.CraftVHD("win ", "").OldFooter() },
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

func TestHostile(t *testing.T) {
	formattest.Hostile(t, testimage.VHDHostiles(), reader(t))
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
