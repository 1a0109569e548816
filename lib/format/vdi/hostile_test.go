package vdi

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

type crafted = testimage.VDI

const block = 4096

func TestCrafted(t *testing.T) {
	for _, size := range []int{4096, 1 << 16, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			v := testimage.CraftVDI(size)
			formattest.Both(t, bytes.NewReader(v.B), int64(len(v.B)), bytes.NewReader(v.Disk), int64(len(v.Disk)), reader(t))
		})
	}
}

// TestCraftedIsQemus shows that qemu-img reads a crafted file as we do, where it reads it.
func TestCraftedIsQemus(t *testing.T) {
	testimage.Require(t, "qemu-img")
	v := testimage.CraftVDI(1 << 20)
	path := filepath.Join(t.TempDir(), "disk.vdi")
	if err := os.WriteFile(path, v.B, 0o600); err != nil {
		t.Fatal(err)
	}
	formattest.Compare(t, path, reader(t), "-f", "vdi")
}

// A hostile file is a good one with a lie in it.
var hostiles = []struct {
	name string
	lie  func(v *crafted) *crafted
	want error // nil: it reads
	says string
}{
	{"empty", func(v *crafted) *crafted { v.B = nil; return v }, errdef.ErrCorrupt, "past the end"},
	{"text only", func(v *crafted) *crafted { v.B = v.B[:0x44]; return v }, errdef.ErrCorrupt, "past the end"},
	{"signature", func(v *crafted) *crafted { return v.U32(0x40, 0) }, errdef.ErrUnsupported, "no signature"},
	{"version 0.1", func(v *crafted) *crafted { return v.U32(0x44, 1) }, errdef.ErrUnsupported, "version 0.1"},
	{"version 2.0", func(v *crafted) *crafted { return v.U32(0x44, 2<<16) }, errdef.ErrUnsupported, "version 2.0"},
	{"header length", func(v *crafted) *crafted { return v.U32(0x48, 100) }, errdef.ErrCorrupt, "header length 100"},
	{"type 0", func(v *crafted) *crafted { return v.U32(0x4c, 0) }, errdef.ErrUnsupported, "type 0"},
	{"undo", func(v *crafted) *crafted { return v.U32(0x4c, 3) }, errdef.ErrUnsupported, "undo image"},
	{"differencing without a parent", func(v *crafted) *crafted { return v.U32(0x4c, 4) }, errdef.ErrUnsupported, "differencing image with the parent unknown"},
	{"parent", func(v *crafted) *crafted { return v.U32(0x1b8, 0xdeadbeef) }, errdef.ErrUnsupported, "parent deadbeef-0000-"},
	{"link", func(v *crafted) *crafted { return v.U32(0x1a8, 0xdeadbeef) }, errdef.ErrUnsupported, "parent deadbeef-0000-"},
	{"map in the header", func(v *crafted) *crafted { return v.U32(0x154, 0) }, errdef.ErrCorrupt, "block map offset 0"},
	{"map on no sector", func(v *crafted) *crafted { return v.U32(0x154, 700) }, errdef.ErrCorrupt, "block map offset 700"},
	{"map past the end", func(v *crafted) *crafted { return v.U32(0x154, 1<<31) }, errdef.ErrCorrupt, "block map at 2147483648"},
	{"data in the header", func(v *crafted) *crafted { return v.U32(0x158, 0) }, errdef.ErrCorrupt, "data offset 0"},
	{"data on no sector", func(v *crafted) *crafted { return v.U32(0x158, 700) }, errdef.ErrCorrupt, "data offset 700"},
	{"data over the map", func(v *crafted) *crafted { return v.U32(0x158, 512) }, errdef.ErrCorrupt, "overlaps the block map"},
	{"data past the end", func(v *crafted) *crafted { return v.U32(0x158, 1<<31) }, errdef.ErrCorrupt, "past the end"},
	{"sectors of 4096", func(v *crafted) *crafted { return v.U32(0x168, 4096) }, errdef.ErrUnsupported, "sector size 4096"},
	{"block size 0", func(v *crafted) *crafted { return v.U32(0x178, 0) }, errdef.ErrUnsupported, "block size 0"},
	{"block size 512", func(v *crafted) *crafted { return v.U32(0x178, 512) }, errdef.ErrUnsupported, "block size 512"},
	{"block size 5000", func(v *crafted) *crafted { return v.U32(0x178, 5000) }, errdef.ErrUnsupported, "block size 5000"},
	{"block size 2 GiB", func(v *crafted) *crafted { return v.U32(0x178, 1<<31) }, errdef.ErrUnsupported, "block size 2147483648"},
	{"extra data", func(v *crafted) *crafted { return v.U32(0x17c, 512) }, errdef.ErrUnsupported, "512 bytes of extra data"},
	{"map too small", func(v *crafted) *crafted { return v.U32(0x180, 4) }, errdef.ErrCorrupt, "more than the 4 blocks"},
	{"no blocks", func(v *crafted) *crafted { return v.U32(0x180, 0) }, errdef.ErrCorrupt, "more than the 0 blocks"},
	{"4 billion blocks", func(v *crafted) *crafted { return v.U32(0x180, math.MaxUint32) }, nil, ""}, // of which five are read
	{"size of 2^64-1", func(v *crafted) *crafted { return v.U64(0x170, math.MaxUint64).U32(0x180, math.MaxUint32) }, errdef.ErrCorrupt, "disk size"},
	{"size above the limit", func(v *crafted) *crafted {
		return v.U64(0x170, 1<<61).U32(0x178, 1<<30).U32(0x180, math.MaxUint32)
	}, errdef.ErrLimit, "above the limit"},
	{"map above the file", func(v *crafted) *crafted { return v.U64(0x170, 16<<40-4096).U32(0x180, math.MaxUint32) }, errdef.ErrCorrupt, "block map at 512"},
	{"size 0", func(v *crafted) *crafted { v.Disk = nil; return v.U64(0x170, 0) }, nil, ""},
	{"block used twice", func(v *crafted) *crafted { return v.Entry(1, 0) }, errdef.ErrCorrupt, "overlaps the one at"},
	{"block past the end", func(v *crafted) *crafted { return v.Entry(1, 3) }, errdef.ErrCorrupt, "guest offset 4096: block at 13312 (4096 bytes) lies past the end"},
	{"block at the highest place", func(v *crafted) *crafted { return v.Entry(1, 0xfffffffd) }, errdef.ErrCorrupt, "past the end"},
	{"one byte short", func(v *crafted) *crafted { v.B = v.B[:len(v.B)-1]; return v }, errdef.ErrCorrupt, "past the end"},
	{"last block as far as the disk", func(v *crafted) *crafted {
		// The disk's last block is stored last, and ends with the disk.
		v.Entry(0, 0xffffffff).B = v.B[:testimage.VDIData+block+3*512]
		clear(v.Disk[:block])
		return v
	}, nil, ""},
	{"padded", func(v *crafted) *crafted { v.B = append(v.B, make([]byte, 1000)...); return v }, nil, ""},
	{"wrong count of blocks", func(v *crafted) *crafted { return v.U32(0x184, 77) }, nil, ""}, // nobody needs it
}

func TestHostile(t *testing.T) {
	for _, h := range hostiles {
		t.Run(h.name, func(t *testing.T) {
			defer formattest.Frugal(t)()
			v := h.lie(testimage.CraftVDI(block))
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

func TestDescribe(t *testing.T) {
	v := testimage.CraftVDI(block).U32(0x1b8, 0xdeadbeef)
	want := Info{Type: Dynamic, VirtualSize: int64(len(v.Disk)), BlockSize: block, Allocated: 3, Comment: "a comment",
		UUID: "69206e61-616d-6567-2773-20555549442e", Parent: "deadbeef-0000-0000-0000-000000000000"}
	for _, size := range []int64{int64(len(v.B)), -1} {
		got, err := Describe(t.Context(), bytes.NewReader(v.B), size, limits.Limits{})
		if err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for typ, want := range map[Type]string{Dynamic: "dynamic", Static: "static", Undo: "undo", Differencing: "differencing", 9: "type 9"} {
		if typ.String() != want {
			t.Errorf("Type(%d) = %q", uint32(typ), typ)
		}
	}
}

// TestLimits shows that limits hold before anything is allocated.
func TestLimits(t *testing.T) {
	v := testimage.CraftVDI(block)
	for _, lim := range []limits.Limits{{VirtualSize: int64(len(v.Disk)) - 1}, {Metadata: 19}, {Metadata: 31}} {
		if _, err := Open(t.Context(), bytes.NewReader(v.B), int64(len(v.B)), lim); !errors.Is(err, errdef.ErrLimit) {
			t.Errorf("%+v: %v", lim, err)
		}
	}
	if _, err := Open(t.Context(), bytes.NewReader(v.B), -1, limits.Limits{}); !errors.Is(err, errdef.ErrUsage) {
		t.Errorf("size not known: %v", err)
	}
}
