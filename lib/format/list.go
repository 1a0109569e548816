package format

import (
	"bytes"

	"github.com/cdictl/cdictl/lib/format/qcow2"
	"github.com/cdictl/cdictl/lib/format/vhd"
	"github.com/cdictl/cdictl/lib/format/vmdk"
	"github.com/cdictl/cdictl/lib/image"
)

// Hints of refused formats.
const (
	hintConvert = "convert it first: qemu-img convert -O qcow2 IN OUT"
	hintUnpack  = "unpack it first and import the disk inside"

	hintUntar      = "unpack it first (tar xf) and import the disk inside"
	hintDescriptor = "name the disk's descriptor, the small .vmdk text file beside it"
)

// list makes the formats in the order of Detect. It is a function because a format that has a backing chain detects the
// formats of the files below. What is told by its head comes before what is told by its end: the last sector of a
// qcow2 file may be the last sector of a VHD that somebody keeps inside.
func list() []Format {
	return []Format{
		// qcow1 shares its magic with qcow2 and is told by its version.
		refuse("qcow", "qcow version 1", hintConvert, "", func(head, _ []byte) bool {
			return at(head, 0, "QFI\xfb\x00\x00\x00\x01")
		}),
		// Whatever else has the magic is qcow2 that Open may find wrong: cut behind the magic, or a version that does not exist.
		{Name: "qcow2", Title: "QEMU copy-on-write", Readable: true, Random: true,
			match: head(0, qcow2.Magic), open: openQcow2, describe: describeQcow2, learn: learnQcow2, write: writeQcow2, grow: growQcow2},
		refuse("vhdx", "Hyper-V virtual disk", hintConvert, "", head(0, "vhdxfile")),
		{Name: "vmdk", Title: "VMware virtual disk", Readable: true, Random: true,
			match: head(0, vmdk.Magic), open: openVMDK, describe: describeVMDK, learn: learnVMDK},
		refuse("vmdk", "VMware ESX sparse disk", hintDescriptor, "one extent of a disk, not a disk", head(0, vmdk.MagicCOWD)),
		refuse("vmdk", "VMware SE sparse disk", hintDescriptor, "one extent of a disk, not a disk", head(0, vmdk.MagicSE)),
		{Name: "vmdk", Title: "VMware disk descriptor", Readable: true, Random: true,
			match: func(head, _ []byte) bool { return vmdk.MatchDescriptor(head) }, open: openVMDK, describe: describeVMDK,
			learn: func(Options) image.Learner { return vmdk.NewDescriptorLearner() }},
		refuse("vdi", "VirtualBox disk", hintConvert, "", head(0x40, "\x7f\x10\xda\xbe")),
		refuse("qed", "QEMU enhanced disk", hintConvert, "", head(0, "QED\x00")),
		refuse("parallels", "Parallels disk", hintConvert, "", any2(head(0, "WithoutFreeSpace"), head(0, "WithouFreSpacExt"))),
		refuse("bochs", "Bochs growing disk", hintConvert, "", head(0, "Bochs Virtual HD Image")),
		refuse("cloop", "compressed loop", hintConvert, "", head(0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop ")),
		refuse("luks", "LUKS encrypted disk", "decrypt it first, for example with qemu-img convert and a --object secret",
			"encrypted", head(0, "LUKS\xba\xbe")),
		refuse("vma", "Proxmox backup", "extract the disk first: vma extract", "", head(0, "VMA\x00")),
		refuse("simg", "Android sparse image", "convert it first: simg2img IN OUT", "", head(0, "\x3a\xff\x26\xed\x01\x00")),
		refuse("ewf", "EnCase evidence", "export it first: ewfexport -f raw IN", "",
			any2(any2(head(0, "EVF\t\r\n\xff\x00"), head(0, "LVF\t\r\n\xff\x00")), head(0, "EVF2\r\n\x81\x00"))),
		refuse("wim", "Windows imaging", "apply it to a disk first: a WIM holds files, not a disk", "", head(0, "MSWIM\x00\x00\x00")),
		refuse("zip", "zip archive", hintUnpack, "", any2(head(0, "PK\x03\x04"), head(0, "PK\x05\x06"))),
		refuse("7z", "7-Zip archive", hintUnpack, "", head(0, "7z\xbc\xaf\x27\x1c")),
		refuse("rar", "RAR archive", hintUnpack, "", head(0, "Rar!\x1a\x07")),
		refuse("lz4", "LZ4 stream", hintUnpack, "", head(0, "\x04\x22\x4d\x18")),
		refuse("lzip", "lzip stream", hintUnpack, "", head(0, "LZIP\x01")),
		asArchive(refuse("ova", "OVF package", hintUntar, "", func(head, _ []byte) bool {
			return at(head, 257, "ustar") && bytes.HasSuffix(tarName(head), []byte(".ovf"))
		})),
		asArchive(refuse("tar", "tar archive", hintUntar, "", head(257, "ustar"))),
		refuse("ovf", "OVF descriptor", "import the disk that it names, or the .ova file", "it names the files of disks and is none itself", isOVF),
		{Name: "vpc", Title: "fixed VHD", Readable: true,
			match: isFixedVHD, open: openVHD, describe: describeVHD, size: sizeVHD},
		refuse("vpc", "dynamic or differencing VHD", hintConvert, "", isVHD),
		refuse("vpc", "VHD", "append one zero byte to the file and try again", "its footer has 511 bytes, as before Virtual PC 2004",
			func(_, tail []byte) bool {
				return len(tail) == vhd.FooterSize && at(tail, 1, vhd.Cookie+"\x00\x00\x00")
			}),
		refuse("dmg", "Apple disk image", "convert it first: qemu-img convert -f dmg -O qcow2 IN OUT", "", func(_, tail []byte) bool {
			return len(tail) == TailSize && at(tail, 0, "koly")
		}),
		{Name: "raw", Title: "raw disk", Readable: true,
			match: func(_, _ []byte) bool { return true }, open: openRaw, describe: describeRaw, size: sizeRaw, grow: growRaw},
	}
}

func refuse(name, title, hint, why string, match func(head, tail []byte) bool) Format {
	return Format{Name: name, Title: title, hint: hint, why: why, match: match}
}

func asArchive(f Format) Format {
	f.Archive = true
	return f
}

// at reports whether b has magic at off.
func at(b []byte, off int, magic string) bool {
	return len(b) >= off+len(magic) && string(b[off:off+len(magic)]) == magic
}

func head(off int, magic string) func(head, tail []byte) bool {
	return func(head, _ []byte) bool { return at(head, off, magic) }
}

func any2(a, b func(head, tail []byte) bool) func(head, tail []byte) bool {
	return func(head, tail []byte) bool { return a(head, tail) || b(head, tail) }
}

// isFixedVHD recognises a footer at the end, of any type but those that have more structure than a footer. A file that
// begins with a fixed footer is one too: opening it tells what is wrong with it.
func isFixedVHD(head, tail []byte) bool {
	if t, ok := vhd.Peek(head); ok {
		return t == vhd.Fixed
	}
	t, ok := vhd.Peek(tail)
	return ok && len(tail) == vhd.FooterSize && t != vhd.Dynamic && t != vhd.Differencing
}

func isVHD(head, tail []byte) bool {
	return at(head, 0, vhd.Cookie) || len(tail) == vhd.FooterSize && at(tail, 0, vhd.Cookie)
}

// isOVF recognises an OVF descriptor: XML with the element Envelope of the OVF name space.
func isOVF(head, _ []byte) bool {
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n")
	return bytes.HasPrefix(text, []byte("<")) && bytes.Contains(text[:min(len(text), 4096)], []byte("Envelope")) &&
		bytes.Contains(text[:min(len(text), 4096)], []byte("/ovf/envelope/"))
}

// tarName is the name of an archive's first member: an OVF package begins with its description.
func tarName(head []byte) []byte {
	name, _, _ := bytes.Cut(head[:100], []byte{0})
	return name
}
