package content

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strings"
)

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

// recognisers in the order in which they look: those that read no more than the start first.
var recognisers = []func(v *volume) *Filesystem{
	luks, xfs, squashfs, lvm, raid, ext, f2fs, erofs, bitLocker, ntfs, exfat, fat,
	btrfs, ufs, swap, zfs, iso9660,
}

// recognise tells the filesystem at the start of v.
func (v *volume) recognise() *Filesystem {
	for _, look := range recognisers {
		if f := look(v); f != nil {
			return f
		}
	}
	return nil
}

// bootSector says that the first sector is the filesystem's own: it has the mark of an MBR, and code where that has its table.
func (f *Filesystem) bootSector() bool {
	switch f.Type {
	case "vfat", "ntfs", "exfat", "BitLocker":
		return true
	}
	return false
}

// is reports whether magic lies at off.
func (v *volume) is(off int64, magic string) bool {
	return string(v.at(off, int64(len(magic)))) == magic
}

// uuid is a UUID as text, "" for one of zeros.
func uuid(b []byte) string {
	if zeros(b[:16]) {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// times is a×b as a size, 0 if that is none.
func times(a, b uint64) int64 {
	hi, lo := bits.Mul64(a, b)
	if hi != 0 || lo > math.MaxInt64 {
		return 0
	}
	return int64(lo)
}

// luks: the header of LUKS 1 and 2 begins alike, and has the UUID at 168 (LUKS2 On-Disk Format 1.1 §2.1).
func luks(v *volume) *Filesystem {
	b := v.at(0, 512)
	if b == nil || string(b[:6]) != "LUKS\xba\xbe" {
		return nil
	}
	f := &Filesystem{Type: "crypto_LUKS", Version: fmt.Sprint(be.Uint16(b[6:])), UUID: text(b[168:208])}
	if strings.Trim(f.UUID, "0123456789abcdefABCDEF-") != "" {
		f.UUID = ""
	}
	if f.Version == "2" {
		f.Label = text(b[24:72])
	}
	return f
}

// xfs: struct xfs_dsb of the kernel's fs/xfs/libxfs/xfs_format.h.
func xfs(v *volume) *Filesystem {
	b := v.at(0, 264)
	if b == nil || string(b[:4]) != "XFSB" {
		return nil
	}
	return &Filesystem{Type: "xfs", Label: text(b[108:120]), UUID: uuid(b[32:]), Size: times(uint64(be.Uint32(b[4:])), be.Uint64(b[8:]))}
}

// squashfs: struct squashfs_super_block of fs/squashfs/squashfs_fs.h.
func squashfs(v *volume) *Filesystem {
	b := v.at(0, 96)
	if b == nil || string(b[:4]) != "hsqs" {
		return nil
	}
	return &Filesystem{Type: "squashfs", Version: fmt.Sprintf("%d.%d", le.Uint16(b[28:]), le.Uint16(b[30:])), Size: times(le.Uint64(b[40:]), 1)}
}

// lvm: the label of a physical volume is in one of the first four sectors; struct label_header of LVM2's lib/label/label.h, and
// pv_header behind it.
func lvm(v *volume) *Filesystem {
	for sector := int64(0); sector < 4; sector++ {
		b := v.at(sector*512, 512)
		if b == nil || string(b[:8]) != "LABELONE" || le.Uint64(b[8:]) != uint64(sector) || string(b[24:32]) != "LVM2 001" {
			continue
		}
		f := &Filesystem{Type: "LVM2_member", Version: "LVM2 001"}
		if at := le.Uint32(b[20:]); at >= 32 && at <= 512-40 {
			f.Size = times(le.Uint64(b[at+32:]), 1)
			f.UUID = lvmID(string(b[at : at+32]))
		}
		return f
	}
	return nil
}

// lvmID puts dashes into 32 letters and digits, as LVM shows them.
func lvmID(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z') }) {
		return ""
	}
	return strings.Join([]string{s[:6], s[6:10], s[10:14], s[14:18], s[18:22], s[22:26], s[26:]}, "-")
}

// raid: version 1.1 has its superblock at the start, 1.2 at 4 KiB; struct mdp_superblock_1 of
// include/uapi/linux/raid/md_p.h. Version 1.0 and 0.90 have it at the end, and what is at the start is what is on it.
func raid(v *volume) *Filesystem {
	for _, at := range []int64{0, 4096} {
		b := v.at(at, 256)
		if b == nil || le.Uint32(b) != 0xa92b4efc || le.Uint32(b[4:]) != 1 {
			continue
		}
		version := "1.1"
		if at > 0 {
			version = "1.2"
		}
		return &Filesystem{Type: "linux_raid_member", Version: version, Label: text(b[32:64]), UUID: uuid(b[16:])}
	}
	return nil
}

// ext: struct ext4_super_block, Documentation/filesystems/ext4/super.rst of the kernel. Which of the three it is follows
// from the features that ext2 and ext3 do not know.
func ext(v *volume) *Filesystem {
	b := v.at(1024, 1024)
	if b == nil || le.Uint16(b[56:]) != 0xef53 || le.Uint32(b[24:]) > 6 {
		return nil
	}
	const (
		hasJournal  = 0x4
		journalDev  = 0x8
		wide        = 0x80
		ext3RO      = 0x1 | 0x2 | 0x4  // sparse_super, large_file, btree_dir
		ext3Incompt = 0x2 | 0x4 | 0x10 // filetype, recover, meta_bg
	)
	compat, incompat, ro := le.Uint32(b[92:]), le.Uint32(b[96:]), le.Uint32(b[100:])
	f := &Filesystem{Type: "ext2", Label: text(b[120:136]), UUID: uuid(b[104:])}
	switch {
	case incompat&journalDev != 0:
		f.Type = "jbd"
	case incompat&^ext3Incompt != 0 || ro&^ext3RO != 0:
		f.Type = "ext4"
	case compat&hasJournal != 0:
		f.Type = "ext3"
	}
	blocks := uint64(le.Uint32(b[4:]))
	if incompat&wide != 0 {
		blocks |= uint64(le.Uint32(b[0x150:])) << 32
	}
	f.Size = times(blocks, 1024<<le.Uint32(b[24:]))
	return f
}

// f2fs: struct f2fs_super_block of include/linux/f2fs_fs.h.
func f2fs(v *volume) *Filesystem {
	b := v.at(1024, 1280)
	if b == nil || le.Uint32(b) != 0xf2f52010 || le.Uint32(b[16:]) != 12 {
		return nil
	}
	return &Filesystem{Type: "f2fs", Label: utf16Text(b[124:1148]), UUID: uuid(b[108:]), Size: times(le.Uint64(b[36:]), 4096)}
}

// erofs: struct erofs_super_block of fs/erofs/erofs_fs.h.
func erofs(v *volume) *Filesystem {
	b := v.at(1024, 128)
	if b == nil || le.Uint32(b) != 0xe0f5e1e2 || b[12] < 9 || b[12] > 16 {
		return nil
	}
	return &Filesystem{Type: "erofs", Label: text(b[64:80]), UUID: uuid(b[48:]), Size: times(uint64(le.Uint32(b[36:])), 1<<b[12])}
}

func bitLocker(v *volume) *Filesystem {
	if !v.is(3, "-FVE-FS-") {
		return nil
	}
	return &Filesystem{Type: "BitLocker"}
}

// btrfs: struct btrfs_super_block of include/uapi/linux/btrfs_tree.h. It says where it is, so a copy of another is told.
func btrfs(v *volume) *Filesystem {
	const at = 64 << 10
	b := v.at(at, 1024)
	if b == nil || string(b[0x40:0x48]) != "_BHRfS_M" || le.Uint64(b[0x30:]) != at {
		return nil
	}
	return &Filesystem{Type: "btrfs", Label: text(b[0x12b:0x22b]), UUID: uuid(b[0x20:]), Size: times(le.Uint64(b[0x70:]), 1)}
}

// ufs: struct fs of FreeBSD's sys/ufs/ffs/fs.h, version 2, whose superblock is at 64 KiB, in small ones at 8.
func ufs(v *volume) *Filesystem {
	for _, at := range []int64{8 << 10, 64 << 10} {
		b := v.at(at, 1376)
		if b == nil || le.Uint32(b[1372:]) != 0x19540119 {
			continue
		}
		return &Filesystem{Type: "ufs", Version: "2", Label: text(b[680:712]), UUID: fmt.Sprintf("%08x%08x", le.Uint32(b[144:]), le.Uint32(b[148:]))}
	}
	return nil
}

// swap: union swap_header of include/linux/swap.h; the mark is at the end of the first page, the rest at 1 KiB.
func swap(v *volume) *Filesystem {
	for _, page := range []int64{4 << 10, 8 << 10, 64 << 10} {
		if !v.is(page-10, "SWAPSPACE2") {
			continue
		}
		b := v.at(1024, 512)
		if b == nil || le.Uint32(b) != 1 {
			return nil // a hibernated system, or the old format
		}
		return &Filesystem{Type: "swap", Version: "1", Label: text(b[28:44]), UUID: uuid(b[12:]), Size: times(uint64(le.Uint32(b[4:]))+1, uint64(page))}
	}
	return nil
}

// iso9660: ECMA-119 §8.4, the primary volume descriptor in the first sector behind the system area.
func iso9660(v *volume) *Filesystem {
	b := v.at(32<<10, 2048)
	if b == nil || string(b[:7]) != "\x01CD001\x01" {
		return nil
	}
	return &Filesystem{Type: "iso9660", Label: text(b[40:72]), Size: times(uint64(le.Uint32(b[80:])), uint64(le.Uint16(b[128:])))}
}
