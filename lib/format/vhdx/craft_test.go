package vhdx

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/internal/testimage"
)

// TestCrafted reads what qemu-img cannot write.
func TestCrafted(t *testing.T) {
	mirror := testimage.CraftVHDX(512, "")
	mirror.B[testimage.VHDXRegions1+100]++ // the first table of regions is broken, the second counts
	old := testimage.CraftVHDX(512, "").U32(testimage.VHDXHeader2+68, 0x12345)
	old.U64(testimage.VHDXHeader2+8, 5).Seal() // the first header counts
	broken := testimage.CraftVHDX(512, "")
	broken.B[testimage.VHDXHeader2]++
	same := testimage.CraftVHDX(512, "").U64(testimage.VHDXHeader2+8, 10).Seal()
	for name, v := range map[string]*testimage.VHDX{
		"512":                  testimage.CraftVHDX(512, ""),
		"4096":                 testimage.CraftVHDX(4096, ""),
		"dirty":                testimage.DirtyVHDX(512),
		"dirty 4096":           testimage.DirtyVHDX(4096),
		"second region table":  mirror,
		"first header current": old,
		"second header broken": broken,
		"one header twice":     same,
	} {
		t.Run(name, func(t *testing.T) {
			formattest.Both(t, bytes.NewReader(v.B), int64(len(v.B)), bytes.NewReader(v.Disk), int64(len(v.Disk)), reader(t))
		})
	}
}

// TestCraftedIsQemus shows that crafted files are what qemu takes for VHDX: a repaired copy of a dirty one reads as
// ours does.
func TestCraftedIsQemus(t *testing.T) {
	testimage.Require(t, "qemu-img")
	for name, v := range map[string]*testimage.VHDX{"clean": testimage.CraftVHDX(512, ""), "dirty": testimage.DirtyVHDX(512)} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.vhdx")
			if err := os.WriteFile(path, v.B, 0o600); err != nil {
				t.Fatal(err)
			}
			if name == "dirty" {
				if _, err := testimage.Run(t.Context(), "qemu-img", "info", "-f", "vhdx", path); err == nil {
					t.Error("qemu-img opens a dirty VHDX")
				}
				if _, err := testimage.Run(t.Context(), "qemu-img", "check", "-q", "-f", "vhdx", "-r", "all", path); err != nil {
					t.Fatal(err)
				}
			}
			raw := path + ".raw"
			if err := testimage.Raw(t.Context(), path, raw, "-f", "vhdx"); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(raw)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, v.Disk) {
				t.Errorf("qemu-img reads another disk (%d bytes)", len(got))
			}
		})
	}
}
