package testimage

import (
	"archive/tar"
	"encoding/binary"
	"fmt"
	"strings"
)

// A Tar is an archive made field by field, for what package archive/tar does not write.
type Tar []byte

// Member appends a member whose size field is as given; its content is padded.
func (r Tar) Member(name string, kind byte, size []byte, content string) Tar {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:136], size)
	copy(b[136:], "00000000000\x00")
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	r = append(append(r, sum8(b)...), content...)
	return append(r, make([]byte, -len(content)&511)...)
}

// File appends a good one.
func (r Tar) File(name, content string) Tar {
	return r.Member(name, tar.TypeReg, octal(len(content)), content)
}

// Pax appends records for the next member.
func (r Tar) Pax(records string) Tar {
	return r.Member("pax", tar.TypeXHeader, octal(len(records)), records)
}

// End appends the end mark.
func (r Tar) End() Tar { return append(r, make([]byte, 1024)...) }

func octal(n int) []byte { return fmt.Appendf(nil, "%011o\x00", n) }

// base256 is a size as GNU tar writes large ones: big-endian, behind a set bit; the top two bits are the sign of eleven bytes.
func base256(high uint32, low uint64) []byte {
	b := binary.BigEndian.AppendUint32(nil, high|1<<31)
	return binary.BigEndian.AppendUint64(b, low)
}

// record is a pax record with its right length.
func record(key, value string) string {
	total := len(key) + len(value) + 3
	n := total + 1
	for n != total+len(fmt.Sprint(n)) {
		n++
	}
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

// sum8 sets the checksum of a header.
func sum8(b []byte) []byte {
	copy(b[148:], "        ")
	n := 0
	for _, c := range b {
		n += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", n))
	return b
}

// OVFHead is the start of a description.
const OVFHead = `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">`

// OVF describes disks: "name" or "name attr=…" of the Disk element.
func OVF(disks ...string) string {
	s := OVFHead + "<References>"
	for i, d := range disks {
		name, more, _ := strings.Cut(d, " ")
		if !strings.Contains(more, "file:") {
			more = ""
		}
		s += fmt.Sprintf(`<File ovf:href="%s" ovf:id="file%d" ovf:size="7" %s/>`, name, i+1, strings.ReplaceAll(more, "file:", "ovf:"))
	}
	s += "</References><DiskSection><Info>Disks</Info>"
	for i, d := range disks {
		_, more, _ := strings.Cut(d, " ")
		if strings.Contains(more, "file:") {
			more = ""
		}
		s += fmt.Sprintf(`<Disk ovf:capacity="16" ovf:capacityAllocationUnits="byte * 2^30" ovf:diskId="vmdisk%d" ovf:fileRef="file%d" %s/>`, i+1, i+1, more)
	}
	return s + `<Disk ovf:capacity="1" ovf:diskId="blank"/></DiskSection><VirtualSystem ovf:id="vm"><Name>a &lt; b</Name></VirtualSystem></Envelope>`
}
