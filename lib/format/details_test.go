package format

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testimage"
)

// Every field that qemu-img info prints and that a format can know is ours under the same name with the same value.
func TestDetailsAreQemus(t *testing.T) {
	need(t, "qemu-img")
	tests := []struct {
		name, options string
		more          [][]string // commands of qemu-img afterwards; the file is disk.qcow2
	}{
		{"version 3", "compat=1.1", nil},
		{"version 2", "compat=0.10", nil},
		{"clusters of 512", "cluster_size=512", nil},
		{"clusters of 2 MiB", "cluster_size=2M", nil},
		{"zstd", "compression_type=zstd", nil},
		{"extended L2", "extended_l2=on,cluster_size=128k", nil},
		{"lazy refcounts", "lazy_refcounts=on", nil},
		{"refcounts of 1 bit", "refcount_bits=1", nil},
		{"refcounts of 64 bits", "refcount_bits=64", nil},
		{"external data", "data_file=data.raw", nil},
		{"external raw data", "data_file=data.raw,data_file_raw=on", nil},
		{"backing file", "backing_file=base.qcow2,backing_fmt=qcow2", nil},
		{"backing file without format, version 2", "compat=0.10,backing_file=base.raw,backing_fmt=raw", nil},
		{"snapshots", "compat=1.1", [][]string{{"snapshot", "-c", "one", "disk.qcow2"}, {"resize", "disk.qcow2", "5M"}, {"snapshot", "-c", "zwei ä", "disk.qcow2"}}},
		{"snapshots, version 2", "compat=0.10", [][]string{{"snapshot", "-c", "one", "disk.qcow2"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			run(t, dir, "qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "1M")
			run(t, dir, "qemu-img", "create", "-q", "-f", "raw", "base.raw", "1M")
			run(t, dir, "qemu-img", "create", "-q", "-f", "qcow2", "-o", tt.options, "disk.qcow2", "4M")
			for _, c := range tt.more {
				run(t, dir, "qemu-img", c...)
			}
			compareDetails(t, filepath.Join(dir, "disk.qcow2"), "qcow2")
		})
	}
	t.Run("raw", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "disk.raw")
		writeFile(t, path, random(1_000_000))
		compareDetails(t, path, "raw")
	})
	for _, options := range []string{
		"subformat=monolithicSparse", "subformat=streamOptimized", "subformat=monolithicFlat", "subformat=twoGbMaxExtentSparse",
		"subformat=twoGbMaxExtentFlat", "subformat=monolithicSparse,zeroed_grain=on,adapter_type=lsilogic",
	} {
		t.Run("vmdk "+options, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.vmdk")
			run(t, ".", "qemu-img", "create", "-q", "-f", "vmdk", "-o", options, path, "5M")
			compareDetails(t, path, "vmdk")
		})
	}
	t.Run("vmdk with a parent", func(t *testing.T) {
		dir := t.TempDir()
		run(t, dir, "qemu-img", "create", "-q", "-f", "vmdk", "base.vmdk", "5M")
		run(t, dir, "qemu-img", "create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "disk.vmdk")
		compareDetails(t, filepath.Join(dir, "disk.vmdk"), "vmdk")
	})
	t.Run("vmdk in two pieces", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "disk.vmdk")
		run(t, ".", "qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", path, "3G")
		compareDetails(t, path, "vmdk")
	})
	t.Run("vpc", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "disk.vhd")
		run(t, ".", "qemu-img", "create", "-q", "-f", "vpc", "-o", "subformat=fixed", path, "5M")
		compareDetails(t, path, "vpc")
	})
	for _, tt := range [][2]string{
		{"vpc", "subformat=dynamic"}, {"vpc", "force_size=on"}, {"vdi", "static=off"}, {"vdi", "static=on"},
		{"vhdx", "subformat=dynamic"}, {"vhdx", "subformat=fixed"}, {"vhdx", "block_size=2M"},
	} {
		t.Run(tt[0]+" "+tt[1], func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			run(t, ".", "qemu-img", "create", "-q", "-f", tt[0], "-o", tt[1], path, "5M")
			compareDetails(t, path, tt[0])
		})
	}
}

func compareDetails(t *testing.T, path, format string) {
	t.Helper()
	d := describe(t, path)
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	ours := toMap(t, b)
	theirs := toMap(t, run(t, filepath.Dir(path), "qemu-img", "info", "--output=json", "-f", format, path))
	// The caller's fields.
	delete(theirs, "filename")
	delete(theirs, "actual-size")
	// Our own fields: the stored size, and that of a snapshot's disk.
	if st, err := os.Stat(path); err != nil || ours["stored-size"] != float64(st.Size()) {
		t.Errorf("stored-size is %v", ours["stored-size"])
	}
	delete(ours, "stored-size")
	// A format does not know the name of its own file.
	if x, ok := ours["format-specific"].(map[string]any); ok && format == "vmdk" {
		for _, e := range x["data"].(map[string]any)["extents"].([]any) {
			if e := e.(map[string]any); e["filename"] == "" {
				e["filename"] = path
			}
		}
	}
	if l, ok := ours["snapshots"].([]any); ok {
		for _, s := range l {
			delete(s.(map[string]any), "virtual-size")
		}
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("qemu-img's (-) and ours (+):\n%s", diff)
	}
}

func describe(t *testing.T, path string) Details {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	size, f, err := detect(t, file)
	if err != nil {
		t.Fatal(err)
	}
	d, err := f.Describe(t.Context(), file, size, Options{Dir: filepath.Dir(path), Sibling: siblings(filepath.Dir(path))})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// An image that cannot be opened is described: what is wrong with it is what a user wants to know.
func TestDescribeWhatOpenRefuses(t *testing.T) {
	need(t, "qemu-img")
	dir := t.TempDir()
	run(t, dir, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=data.raw", "data.qcow2", "4M")
	run(t, dir, "qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "nbd://h/x", "-F", "raw", "top.qcow2", "4M")
	// Making a LUKS image measures the machine's speed, and fails on a busy one. The method is one byte in the header.
	run(t, dir, "qemu-img", "create", "-q", "-f", "qcow2", "aes.qcow2", "4M")
	b, err := os.ReadFile(filepath.Join(dir, "aes.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	b[35] = 1
	writeFile(t, filepath.Join(dir, "aes.qcow2"), b)
	writeFile(t, filepath.Join(dir, "child.vhd"), testimage.CraftVHD("win ", "base.vhd").B)
	writeFile(t, filepath.Join(dir, "child.vhdx"), testimage.CraftVHDX(512, "sub/base.vhdx").B)
	writeFile(t, filepath.Join(dir, "child.vdi"), testimage.CraftVDI(4096).U32(0x1b8, 0xdeadbeef).B)
	for name, check := range map[string]func(Details) bool{
		"child.vhd": func(d Details) bool {
			return d.BackingFilename == "base.vhd" && d.BackingFilenameFormat == "vpc" && d.FullBackingFilename == filepath.Join(dir, "base.vhd")
		},
		"child.vhdx": func(d Details) bool {
			return d.BackingFilename == "sub/base.vhdx" && d.BackingFilenameFormat == "vhdx" && d.FullBackingFilename == filepath.Join(dir, "sub/base.vhdx")
		},
		"child.vdi": func(d Details) bool {
			return d.BackingFilename == "deadbeef-0000-0000-0000-000000000000" && d.BackingFilenameFormat == "vdi"
		},
		"data.qcow2": func(d Details) bool { return d.FormatSpecific.Data.DataFile == "data.raw" },
		"top.qcow2": func(d Details) bool {
			return d.BackingFilename == "nbd://h/x" && d.FullBackingFilename == "nbd://h/x" && d.BackingFilenameFormat == "raw"
		},
		"aes.qcow2": func(d Details) bool { return d.Encrypted && d.FormatSpecific.Data.Encrypt.Format == "aes" },
	} {
		path := filepath.Join(dir, name)
		if d := describe(t, path); !check(d) {
			t.Errorf("%s: %+v", name, d)
		}
		if _, _, err := open(t, path, Options{}); !errors.Is(err, errdef.ErrUnsupported) || errdef.Hint(err) == "" {
			t.Errorf("%s opens: %v, hint %q", name, err, errdef.Hint(err))
		}
	}
}

func TestFullName(t *testing.T) {
	for _, tt := range [][3]string{
		{"/d", "base", filepath.FromSlash("/d/base")}, {"", "base", "base"}, {"/d", "", ""}, {"/d", "/x/base", "/x/base"},
		{"/d", "json:{}", "json:{}"}, {".", "base", "base"}, {"/d", "../base", filepath.FromSlash("/base")},
	} {
		if got := fullName(tt[0], tt[1]); got != tt[2] {
			t.Errorf("fullName(%q, %q) = %q, want %q", tt[0], tt[1], got, tt[2])
		}
	}
}
