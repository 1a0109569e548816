// Package vhd reads the footer that makes a raw disk a fixed VHD (Virtual PC, Hyper-V, Azure; qemu-img calls it vpc).
//
// A fixed VHD is the disk's bytes and then one sector: the footer. So a reader of the disk needs nothing but its size,
// and that has two conventions: Virtual PC's guests see the CHS geometry, others the footer's current size. Parse
// follows qemu, which tells by the application that made the file.
//
// Fields and checksum: "Virtual Hard Disk Image Format Specification" 1.0, Microsoft 2006.
package vhd

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cdictl/cdictl/lib/errdef"
)

// FooterSize is the length of a footer: the last sector of the file.
const FooterSize = 512

// Cookie begins a footer.
const Cookie = "conectix"

// Type says how a VHD stores its disk.
type Type uint32

// The types in use.
const (
	Fixed        Type = 2
	Dynamic      Type = 3
	Differencing Type = 4
)

// String returns the type's name.
func (t Type) String() string {
	switch t {
	case Fixed:
		return "fixed"
	case Dynamic:
		return "dynamic"
	case Differencing:
		return "differencing"
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Offsets in the footer; all numbers are big-endian.
const (
	offVersion     = 12
	offCreator     = 28
	offCurrentSize = 48
	offCylinders   = 56
	offHeads       = 58
	offSectors     = 59
	offType        = 60
	offChecksum    = 64
)

const (
	sector = 512
	// maxGeometry is the largest CHS geometry in sectors: it says nothing but "this large or larger".
	maxGeometry = 65535 * 16 * 255
)

// Peek returns the disk type of a footer, or of the copy of it that begins a dynamic VHD; ok is false if b does not
// begin with the cookie. Nothing else is checked.
func Peek(b []byte) (t Type, ok bool) {
	if len(b) < offType+4 || !bytes.HasPrefix(b, []byte(Cookie)) {
		return 0, false
	}
	return Type(binary.BigEndian.Uint32(b[offType:])), true
}

// A Footer is what a footer says.
type Footer struct {
	Type Type
	// Creator is the application that made the file, four bytes.
	Creator string
	// CurrentSize is the size of the disk's bytes in the file.
	CurrentSize int64
	// GeometrySize is the size that the CHS geometry gives.
	GeometrySize int64
	// VirtualSize is the one of both that counts.
	VirtualSize int64
}

// Parse reads and checks the footer of a fixed VHD: tail is the last FooterSize bytes of a file of stored bytes.
// A footer that does not fit the file is errdef.ErrCorrupt.
func Parse(tail []byte, stored int64) (Footer, error) {
	if len(tail) != FooterSize || stored < FooterSize || !bytes.HasPrefix(tail, []byte(Cookie)) {
		return Footer{}, fmt.Errorf("vpc: the file does not end with a footer: %w", errdef.ErrCorrupt)
	}
	if want, got := binary.BigEndian.Uint32(tail[offChecksum:]), Checksum(tail); got != want {
		return Footer{}, fmt.Errorf("vpc: footer checksum is %#08x, its bytes give %#08x: %w", want, got, errdef.ErrCorrupt)
	}
	if v := binary.BigEndian.Uint16(tail[offVersion:]); v != 1 {
		return Footer{}, fmt.Errorf("vpc: footer version %d is not 1: %w", v, errdef.ErrUnsupported)
	}
	current := binary.BigEndian.Uint64(tail[offCurrentSize:])
	data := stored - FooterSize
	f := Footer{
		Type:        Type(binary.BigEndian.Uint32(tail[offType:])),
		Creator:     string(tail[offCreator : offCreator+4]),
		CurrentSize: data, // equal, or it is an error below
		GeometrySize: int64(binary.BigEndian.Uint16(tail[offCylinders:])) *
			int64(tail[offHeads]) * int64(tail[offSectors]) * sector,
	}
	if f.Type != Fixed {
		return Footer{}, fmt.Errorf("vpc: disk type is %s, not fixed: %w", f.Type, errdef.ErrUnsupported)
	}
	if current != uint64(data) {
		return Footer{}, fmt.Errorf("vpc: footer tells a size of %d bytes, the file has %d before it: %w", current, data, errdef.ErrCorrupt)
	}
	f.VirtualSize = f.CurrentSize &^ (sector - 1)
	if sizedByGeometry(f.Creator) && f.GeometrySize != maxGeometry*sector {
		f.VirtualSize = f.GeometrySize
	}
	if f.VirtualSize > data {
		return Footer{}, fmt.Errorf("vpc: geometry of %d bytes is larger than the %d bytes of the file: %w", f.VirtualSize, data, errdef.ErrCorrupt)
	}
	return f, nil
}

// sizedByGeometry reports whether an application means the CHS geometry; all others mean the footer's current size.
// This is what qemu does since 10.0. Before, it had a list of those that mean the current size, and disks of others
// (Azure's exports, VirtualBox) came out cut to the geometry: never lose the end of a disk to a list.
func sizedByGeometry(creator string) bool { return creator == "vpc " || creator == "qemu" }

// Checksum is the one's complement of the sum of the footer's bytes without the checksum's own.
func Checksum(footer []byte) uint32 {
	var sum uint32
	for i, b := range footer {
		if i < offChecksum || i >= offChecksum+4 {
			sum += uint32(b)
		}
	}
	return ^sum
}
