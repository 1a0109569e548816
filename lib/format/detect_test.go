package format

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

// placed returns n zero bytes with magic at off.
func placed(n, off int, magic string) []byte {
	b := make([]byte, n)
	copy(b[off:], magic)
	return b
}

func TestDetectMagic(t *testing.T) {
	tarOf := func(name string) []byte {
		b := placed(2048, 257, "ustar\x0000")
		copy(b, name)
		return b
	}
	tests := []struct {
		name       string
		head, tail []byte
		want       string
		title      string // a part of it, where formats share a name
		refused    bool
	}{
		{"nothing", nil, nil, "raw", "", false},
		{"zeros", make([]byte, PeekSize), make([]byte, TailSize), "raw", "", false},
		{"boot sector", placed(4096, 510, "\x55\xaa"), nil, "raw", "", false},
		{"cut inside the magic", []byte("QFI"), nil, "raw", "", false},
		{"qcow1", []byte("QFI\xfb\x00\x00\x00\x01"), nil, "qcow", "", true},
		{"qcow2 v2", []byte("QFI\xfb\x00\x00\x00\x02"), nil, "qcow2", "", false},
		{"qcow2 v3", []byte("QFI\xfb\x00\x00\x00\x03"), nil, "qcow2", "", false},
		{"qcow2 of the future", []byte("QFI\xfb\x00\x00\x00\x09"), nil, "qcow2", "", false},
		{"qcow2 version 0", []byte("QFI\xfb\x00\x00\x00\x00"), nil, "qcow2", "", false},
		{"qcow2 cut behind the magic", []byte("QFI\xfb\x00"), nil, "qcow2", "", false},
		{"vhdx", []byte("vhdxfile"), nil, "vhdx", "", false},
		{"vmdk sparse", []byte("KDMV\x01"), nil, "vmdk", "virtual disk", false},
		{"vmdk COWD", []byte("COWD\x01"), nil, "vmdk", "ESX", true},
		{"vmdk SE sparse", []byte("\xbe\xba\xfe\xca\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"), nil, "vmdk", "SE", true},
		{"Mach-O for two machines", []byte("\xca\xfe\xba\xbe\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00"), nil, "raw", "", false},
		{"vmdk text", []byte("# Disk DescriptorFile\nversion=1\n"), nil, "vmdk", "descriptor", false},
		{"vmdk text, CRLF, comments", []byte("#x\r\n\r\n# disk descriptorfile\r\n"), nil, "vmdk", "descriptor", false},
		{"vmdk text without title", []byte("# made by hand\nversion=3\n"), nil, "vmdk", "descriptor", false},
		{"vmdk text, zeros behind", append([]byte("# Disk DescriptorFile"), make([]byte, 100)...), nil, "vmdk", "descriptor", false},
		{"a script", []byte("# Copyright\necho\n"), nil, "raw", "", false},
		{"vdi", placed(512, 0x40, "\x7f\x10\xda\xbe"), nil, "vdi", "", false},
		{"qed", []byte("QED\x00"), nil, "qed", "", true},
		{"parallels", []byte("WithoutFreeSpace"), nil, "parallels", "", true},
		{"parallels extended", []byte("WithouFreSpacExt"), nil, "parallels", "", true},
		{"bochs", []byte("Bochs Virtual HD Image\x00"), nil, "bochs", "", true},
		{"cloop", []byte("#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0"), nil, "cloop", "", true},
		{"luks", []byte("LUKS\xba\xbe\x00\x02"), nil, "luks", "", true},
		{"vma", []byte("VMA\x00\x00\x00\x00\x01"), nil, "vma", "", true},
		{"simg", []byte("\x3a\xff\x26\xed\x01\x00\x00\x00"), nil, "simg", "", true},
		{"ewf", []byte("EVF\x09\x0d\x0a\xff\x00\x01"), nil, "ewf", "", true},
		{"ewf logical", []byte("LVF\x09\x0d\x0a\xff\x00\x01"), nil, "ewf", "", true},
		{"ewf2", []byte("EVF2\x0d\x0a\x81\x00"), nil, "ewf", "", true},
		{"wim", []byte("MSWIM\x00\x00\x00"), nil, "wim", "", true},
		{"zip", []byte("PK\x03\x04"), nil, "zip", "", true},
		{"empty zip", []byte("PK\x05\x06"), nil, "zip", "", true},
		{"7z", []byte("7z\xbc\xaf\x27\x1c"), nil, "7z", "", true},
		{"rar", []byte("Rar!\x1a\x07\x01\x00"), nil, "rar", "", true},
		{"lz4", []byte("\x04\x22\x4d\x18"), nil, "lz4", "", true},
		{"lzip", []byte("LZIP\x01"), nil, "lzip", "", true},
		{"tar", tarOf("disk.img"), nil, "tar", "", true},
		{"ova", tarOf("vm.ovf"), nil, "ova", "", true},
		{"fixed vhd", make([]byte, 4096), placed(512, 0, "conectix"+strings.Repeat("\x00", 55)+"\x02"), "vpc", "fixed", false},
		{"dynamic vhd", placed(4096, 0, "conectix"+strings.Repeat("\x00", 55)+"\x03"), nil, "vpc", "dynamic", false},
		{"differencing vhd", placed(4096, 0, "conectix"+strings.Repeat("\x00", 55)+"\x04"), nil, "vpc", "dynamic", false},
		{"dynamic vhd that lost its head", make([]byte, 4096), placed(512, 0, "conectix"+strings.Repeat("\x00", 55)+"\x03"), "vpc", "dynamic", false},
		{"vhd of a wrong type", make([]byte, 4096), placed(512, 0, "conectix"+strings.Repeat("\x00", 55)+"\x07"), "vpc", "fixed", false},
		{"cut in the vhd's head", []byte("conectix"), []byte("conectix"), "vpc", "dynamic", false},
		{"footer of 511 bytes", make([]byte, 4096), placed(512, 1, "conectix\x00\x00\x00\x00"), "vpc", "VHD", true},
		{"qcow2 whose last sector is a footer", []byte("QFI\xfb\x00\x00\x00\x03"), placed(512, 0, "conectix"+strings.Repeat("\x00", 55)+"\x02"), "qcow2", "", false},
		{"footer in a tail that is no sector", make([]byte, 300), placed(300, 0, "conectix"+strings.Repeat("\x00", 55)+"\x02"), "raw", "", false},
		{"dmg", make([]byte, 4096), placed(512, 0, "koly"), "dmg", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Detect(tt.head, tt.tail)
			if f.Name != tt.want || !strings.Contains(f.Title, tt.title) || f.Readable == tt.refused {
				t.Fatalf("got %s (%s), readable %v", f.Name, f.Title, f.Readable)
			}
			if !tt.refused {
				if err != nil {
					t.Error(err)
				}
				return
			}
			_, openErr := f.Open(t.Context(), bytes.NewReader(tt.head), int64(len(tt.head)), Options{})
			_, describeErr := f.Describe(t.Context(), bytes.NewReader(tt.head), int64(len(tt.head)), Options{})
			for _, err := range []error{err, openErr, describeErr} {
				if !errors.Is(err, errdef.ErrUnsupported) || !strings.HasPrefix(err.Error(), tt.want+" (") || errdef.Hint(err) == "" {
					t.Errorf("refused with %v, hint %q", err, errdef.Hint(err))
				}
			}
		})
	}
}

// A header that starts right and goes wrong is an error, and never raw.
func TestHalfRightIsNotRaw(t *testing.T) {
	fixed := withFooter(make([]byte, 4096), "win ", 0, 0, 0)
	bad := bytes.Clone(fixed)
	bad[len(bad)-1] = 1 // the checksum no longer holds
	tests := map[string]struct {
		b    []byte
		want error
	}{
		"qcow2 cut behind the magic": {[]byte("QFI\xfb"), errdef.ErrUnsupported},
		"qcow2 version 0":            {append([]byte("QFI\xfb\x00\x00\x00\x00"), make([]byte, 200)...), nil},
		"qcow2 version 9":            {append([]byte("QFI\xfb\x00\x00\x00\x09"), make([]byte, 200)...), errdef.ErrUnsupported},
		"qcow2 of zeros":             {append([]byte("QFI\xfb\x00\x00\x00\x03"), make([]byte, 200)...), errdef.ErrCorrupt},
		"vhd with a wrong checksum":  {bad, errdef.ErrCorrupt},
		"vhd with a wrong size":      {append(make([]byte, 512), fixed...), errdef.ErrCorrupt},
		"vhd's footer at the start":  {append(bytes.Clone(fixed[4096:]), make([]byte, 1000)...), errdef.ErrCorrupt},
		"vhd of nothing":             {withFooter(nil, "win ", 0, 0, 0)[:511], errdef.ErrCorrupt},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			writeFile(t, path, tt.b)
			_, f, err := open(t, path, Options{})
			if f.Name == "raw" || err == nil || tt.want != nil && !errors.Is(err, tt.want) || errdef.ExitCode(err) != 12 {
				t.Errorf("format %s, error %v, want %v", f.Name, err, tt.want)
			}
		})
	}
}

func TestByName(t *testing.T) {
	for name, ok := range map[string]bool{"raw": true, "qcow2": true, "vpc": true, "vmdk": true, "qcow": false, "": false, "host_device": false} {
		f, err := ByName(name)
		if (err == nil) != ok || ok && f.Name != name {
			t.Errorf("ByName(%q) = %s, %v", name, f, err)
		}
		if err != nil && !errors.Is(err, errdef.ErrUnsupported) {
			t.Errorf("ByName(%q): %v", name, err)
		}
	}
}

func TestFormatsIsACopy(t *testing.T) {
	l := Formats()
	if last := l[len(l)-1]; last.Name != "raw" {
		t.Errorf("the last format is %s", last)
	}
	l[0].Name = "changed"
	if Formats()[0].Name == "changed" {
		t.Error("the list can be changed from outside")
	}
	for _, f := range l {
		if f.Readable != (f.open != nil) || f.Readable != (f.describe != nil) || f.Readable == f.Random != (f.size == nil) || f.Title == "" {
			t.Errorf("%s (%s) is not whole", f, f.Title)
		}
	}
}

// What qemu-img makes and we do not read is refused; what it makes of qcow2 is recognised.
func TestDetectQemu(t *testing.T) {
	need(t, "qemu-img")
	dir := t.TempDir()
	for i, tt := range []struct {
		format, options string
		refused         bool
	}{
		{"qcow2", "compat=0.10", false}, {"qcow2", "compat=1.1", false}, {"raw", "", false},
		{"qcow", "", true}, {"qed", "", true}, {"vdi", "", false}, {"vhdx", "", false}, {"parallels", "", true},
		{"vmdk", "subformat=monolithicSparse", false}, {"vmdk", "subformat=streamOptimized", false},
		{"vmdk", "subformat=monolithicFlat", false}, {"vmdk", "subformat=twoGbMaxExtentSparse", false},
		{"vpc", "subformat=dynamic", false}, {"vpc", "subformat=fixed", false}, {"vpc", "subformat=fixed,force_size=on", false},
	} {
		t.Run(tt.format+" "+tt.options, func(t *testing.T) {
			path := filepath.Join(dir, fmt.Sprint("disk", i))
			args := []string{"create", "-q", "-f", tt.format}
			if tt.options != "" {
				args = append(args, "-o", tt.options)
			}
			run(t, dir, "qemu-img", append(args, path, "3M")...)
			_, f, err := open(t, path, Options{})
			if f.Name != tt.format || errors.Is(err, errdef.ErrUnsupported) != tt.refused || !tt.refused && err != nil {
				t.Errorf("format %s, error %v", f, err)
			}
		})
	}
}

func FuzzDetect(f *testing.F) {
	f.Add([]byte("QFI\xfb\x00\x00\x00\x03"), []byte{})
	f.Add([]byte("# Disk DescriptorFile\n"), []byte(nil))
	f.Add(placed(600, 257, "ustar"), placed(512, 0, "conectix"))
	f.Add(withFooter(nil, "qemu", 1, 1, 1), withFooter(nil, "qemu", 1, 1, 1))
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		got, err := Detect(head, tail)
		if got.Name == "" || got.Readable != (err == nil) || err != nil && !errors.Is(err, errdef.ErrUnsupported) {
			t.Fatalf("Detect = %q, %v", got.Name, err)
		}
		if err != nil {
			return
		}
		// Opening what was detected fails in a class of its own or works; it never panics.
		img, err := got.Open(t.Context(), bytes.NewReader(head), int64(len(head)), Options{})
		if err != nil {
			if code := errdef.ExitCode(err); code == 1 {
				t.Errorf("error of no class: %v", err)
			}
			return
		}
		defer img.Close()
		if img.Size() > 0 {
			if x, err := img.NextExtent(0, img.Size()); err == nil && (x.Length <= 0 || x.Length > img.Size()) {
				t.Errorf("extent %+v of %d", x, img.Size())
			}
		}
	})
}
