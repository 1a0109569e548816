// Command craft writes a disk image that qemu-img cannot write into FILE, and the disk that must be read from it into
// FILE.raw.
package main

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cdictl/cdictl/lib/internal/testimage"
)

// images make a file and its disk; nil: it must be refused.
var images = map[string]func() (file, disk []byte){
	"vhdx-4096":         func() ([]byte, []byte) { return vhdx(testimage.CraftVHDX(4096, "")) },
	"vhdx-dirty":        func() ([]byte, []byte) { return vhdx(testimage.DirtyVHDX(512)) },
	"vhdx-dirty-4096":   func() ([]byte, []byte) { return vhdx(testimage.DirtyVHDX(4096)) },
	"vhdx-differencing": func() ([]byte, []byte) { return testimage.CraftVHDX(512, "base.vhdx").B, nil },
	"vhd-geometry":      func() ([]byte, []byte) { return vhd(testimage.CraftVHD("vpc ", "")) },
	"vhd-old-footer":    func() ([]byte, []byte) { return vhd(testimage.CraftVHD("win ", "").OldFooter()) },
	"vhd-differencing":  func() ([]byte, []byte) { return testimage.CraftVHD("win ", "base.vhd").B, nil },
	"vdi-64k":           func() ([]byte, []byte) { v := testimage.CraftVDI(64 << 10); return v.B, v.Disk },
	"vdi-differencing":  func() ([]byte, []byte) { return testimage.CraftVDI(1<<20).U32(0x4c, 4).B, nil },
}

func vhdx(v *testimage.VHDX) ([]byte, []byte) { return v.B, v.Disk }
func vhd(v *testimage.VHD) ([]byte, []byte)   { return v.B, v.Disk }

func main() {
	if len(os.Args) != 3 || images[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: craft NAME FILE, with a NAME of", slices.Sorted(maps.Keys(images)))
		os.Exit(2)
	}
	file, disk := images[os.Args[1]]()
	err := os.WriteFile(os.Args[2], file, 0o600)
	if err == nil && disk != nil {
		err = os.WriteFile(os.Args[2]+".raw", disk, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "craft:", err)
		os.Exit(1)
	}
}
