// Command craft writes a disk image that qemu-img cannot write into FILE, and the disk that must be read from it into
// FILE.raw. With -hostile it lists the files that lie, as JSON; with a name of them too, it writes that one into FILE. With
// -archives it writes tars that aim at the folder OUTSIDE into DIR, named by their numbers, and lists them.
package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
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
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "craft:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "-hostile":
		return list()
	case len(args) == 3 && args[0] == "-hostile":
		return hostile(args[1], args[2])
	case len(args) == 3 && args[0] == "-archives":
		return archives(args[1], args[2])
	case len(args) == 2 && images[args[0]] != nil:
		file, disk := images[args[0]]()
		err := os.WriteFile(args[1], file, 0o600)
		if err == nil && disk != nil {
			err = os.WriteFile(args[1]+".raw", disk, 0o600)
		}
		return err
	}
	return fmt.Errorf("usage: craft NAME FILE, with a NAME of %q; or craft -hostile [NAME FILE]; or craft -archives OUTSIDE DIR", slices.Sorted(maps.Keys(images)))
}

// list writes what there is to refuse. Package test/hostile reads it.
func list() error {
	type file struct {
		Name       string `json:"name"`
		Format     string `json:"format"`
		Exit       int    `json:"exit"` // what cdictl must end with
		Says       string `json:"says"` // in its message
		StreamSays string `json:"streamSays"`
		Only       bool   `json:"streamOnly"`
		Reads      bool   `json:"streamReads"`
		Snapshot   string `json:"snapshot"`
		Expansion  int64  `json:"expansion"`
	}
	var files []file
	for _, h := range testimage.Hostiles() {
		if exit := errdef.ExitCode(h.Want); !h.Plain && slices.Contains([]int{12, 15, 20}, exit) {
			files = append(files, file{h.String(), h.Format, exit, h.Says, h.Streamed().Says, h.StreamOnly, h.StreamReads, h.Snapshot, h.Expansion})
		}
	}
	return json.NewEncoder(os.Stdout).Encode(files)
}

func hostile(name, path string) error {
	h, err := testimage.HostileByName(name)
	if err != nil {
		return err
	}
	file, _ := h.Make()
	return os.WriteFile(path, file, 0o600)
}

func archives(outside, dir string) error {
	all := testimage.ArchiveHostiles(outside)
	for i, h := range all {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.tar", i)), h.Tar, 0o600); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}
