package content

import (
	"fmt"
	"strings"
	"unicode/utf16"
)

// fat is FAT12, FAT16 and FAT32: Microsoft's FAT specification 1.03, §3.1 to §3.5. The count of clusters tells which it is, and
// nothing else.
func fat(v *volume) *Filesystem {
	b := v.at(0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa || b[0] != 0xeb && b[0] != 0xe9 {
		return nil
	}
	sector, cluster := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, fats, roots := int64(le.Uint16(b[14:])), int64(b[16]), int64(le.Uint16(b[17:]))
	total, length := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if total == 0 {
		total = int64(le.Uint32(b[32:]))
	}
	if length == 0 {
		length = int64(le.Uint32(b[36:]))
	}
	if !powerOf2(sector) || sector < 512 || sector > 4096 || !powerOf2(cluster) || reserved == 0 || fats == 0 || fats > 4 || length == 0 ||
		b[21] != 0xf0 && b[21] < 0xf8 {
		return nil
	}
	root := reserved + fats*length // a sector
	data := root + (roots*32+sector-1)/sector
	if total <= data {
		return nil
	}
	f := &Filesystem{Type: "vfat", Version: "FAT32", Size: total * sector}
	more := b[66:] // BS_BootSig and what follows
	switch n := (total - data) / cluster; {
	case n < 4085:
		f.Version, more = "FAT12", b[38:]
	case n < 65525:
		f.Version, more = "FAT16", b[38:]
	case int64(le.Uint32(b[44:])) >= 2:
		root = data + (int64(le.Uint32(b[44:]))-2)*cluster
	}
	if more[0] == 0x28 || more[0] == 0x29 {
		f.UUID = fmt.Sprintf("%04X-%04X", le.Uint16(more[3:]), le.Uint16(more[1:]))
	}
	if more[0] == 0x29 {
		f.Label = fatLabel(more[5:16])
	}
	if f.Label == "" || f.Label == "NO NAME" { // Windows has it in the root folder only
		f.Label = fatLabel(fatEntry(v.at(root*sector, 512)))
	}
	return f
}

func powerOf2(n int64) bool { return n > 0 && n&(n-1) == 0 }

// fatEntry is the name of the entry that is the volume's label, in a part of the root folder (§6, §7).
func fatEntry(b []byte) []byte {
	const (
		volumeID = 0x08
		longName = 0x0f
		deleted  = 0xe5
	)
	for ; len(b) >= 32 && b[0] != 0; b = b[32:] {
		if b[0] != deleted && b[11]&0x3f != longName && b[11]&volumeID != 0 {
			return b[:11]
		}
	}
	return nil
}

// fatLabel is text in a code page that is not told: what is not ASCII is not known.
func fatLabel(b []byte) string {
	return strings.TrimRight(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '\ufffd'
		}
		return r
	}, text(b)), " ")
}

// exfat is Microsoft's exFAT specification, §3.1.
func exfat(v *volume) *Filesystem {
	b := v.at(0, 512)
	if b == nil || string(b[3:11]) != "EXFAT   " || b[108] < 9 || b[108] > 12 {
		return nil
	}
	return &Filesystem{
		Type: "exfat", Version: fmt.Sprintf("%d.%d", b[105], b[104]), Size: times(le.Uint64(b[72:]), 1<<b[108]),
		UUID: fmt.Sprintf("%04X-%04X", le.Uint16(b[102:]), le.Uint16(b[100:])),
	}
}

// ntfs has its serial number in the boot sector; fs/ntfs3/ntfs.h of the kernel, struct NTFS_BOOT.
func ntfs(v *volume) *Filesystem {
	b := v.at(0, 512)
	if b == nil || string(b[3:11]) != "NTFS    " {
		return nil
	}
	sector := int64(le.Uint16(b[11:]))
	if !powerOf2(sector) || sector < 256 || sector > 4096 {
		return nil
	}
	f := &Filesystem{Type: "ntfs", UUID: fmt.Sprintf("%016X", le.Uint64(b[72:])), Size: times(le.Uint64(b[40:]), uint64(sector))}
	cluster := int64(b[13])
	if b[13] > 0x80 { // 2 to the power of its negative
		cluster = 1 << min(-int(int8(b[13])), 12)
	}
	record := int64(int8(b[64])) * cluster * sector
	if int8(b[64]) < 0 {
		record = 1 << min(-int(int8(b[64])), 31)
	}
	at := times(le.Uint64(b[48:]), uint64(cluster*sector))
	if record < 512 || record > 4096 || at == 0 || at > 1<<56 {
		return f
	}
	f.Label = ntfsLabel(v.at(at+3*record, record)) // $Volume is the fourth file
	return f
}

// ntfsLabel is the attribute $VOLUME_NAME of a file record. The last two bytes of each of its sectors lie in an array of
// their own, so that a write that was cut is told; they are put back first.
func ntfsLabel(b []byte) string {
	if len(b) < 512 || string(b[:4]) != "FILE" {
		return ""
	}
	b = append([]byte(nil), b...)
	fixes, n := int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
	for i := 1; i < n && i*512 <= len(b) && fixes+2*i+2 <= len(b); i++ {
		copy(b[i*512-2:i*512], b[fixes+2*i:])
	}
	const (
		volumeName = 0x60
		end        = 0xffffffff
	)
	for at := int(le.Uint16(b[20:])); at+24 <= len(b) && le.Uint32(b[at:]) != end; {
		length := int64(le.Uint32(b[at+4:]))
		if length < 24 || length > int64(len(b)-at) {
			return ""
		}
		a := b[at:][:length]
		size, from := int64(le.Uint32(a[16:])), int64(le.Uint16(a[20:]))
		if le.Uint32(a) == volumeName && a[8] == 0 && from <= length && size <= length-from {
			units := make([]uint16, 0, size/2)
			for v := a[from : from+size]; len(v) >= 2; v = v[2:] {
				units = append(units, le.Uint16(v))
			}
			return string(utf16.Decode(units))
		}
		at += int(length)
	}
	return ""
}
