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

func TestHostile(t *testing.T) {
	formattest.Hostile(t, testimage.VHDXHostiles(), reader(t))
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
