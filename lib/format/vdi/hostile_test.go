package vdi

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

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

func TestHostile(t *testing.T) {
	formattest.Hostile(t, testimage.VDIHostiles(), reader(t))
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
