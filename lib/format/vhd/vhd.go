// Package vhd reads VHDs (Virtual PC, Hyper-V, Azure, XenServer; qemu-img calls them vpc): the footer of a fixed one
// and all of a dynamic one. A differencing one is refused by its parent's name.
//
// It follows the "Virtual Hard Disk Image Format Specification" 1.0, Microsoft 2006; the sections have no numbers.
//
// A fixed VHD is the disk's bytes and then one sector: the footer ("Hard Disk Footer Format"). So a reader of the
// disk needs nothing but its size, and that has two conventions: Virtual PC's guests see the CHS geometry, others the
// footer's current size. This package follows qemu, which tells by the application that made the file.
//
// A dynamic VHD begins with a copy of the footer. It leads to a header ("Dynamic Disk Header Format"), that to the
// BAT ("Block Allocation Table"), and that to blocks, each behind a bitmap of its sectors ("Data Blocks").
//
// By the specification a sector whose bit is not set was never written and reads as zeros. Qemu does not look at the
// bitmaps and reads what is stored; so does this package. All known writers store zeros there.
//
// It is stricter than qemu, which warns of a wrong footer checksum and looks neither at the header's checksum nor at
// the footer at the end: here they must be right and agree, and no two blocks may overlap. A file whose end was cut
// off is never taken for a whole one.
package vhd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

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
	offDataOffset  = 16
	offCreator     = 28
	offCurrentSize = 48
	offCylinders   = 56
	offHeads       = 58
	offSectors     = 59
	offType        = 60
	offChecksum    = 64
	offUUID        = 68
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
	// CurrentSize is the size of the disk; of a fixed one that of its bytes in the file.
	CurrentSize int64
	// GeometrySize is the size that the CHS geometry gives.
	GeometrySize int64
	// VirtualSize is the one of both that counts.
	VirtualSize int64
	// DataOffset is where the header of a disk that is not fixed lies; not checked.
	DataOffset uint64
	// UUID of the disk: differencing ones name their parent by it.
	UUID [16]byte
}

// Parse reads and checks the footer of a fixed VHD: tail is the last FooterSize bytes of a file of stored bytes.
// A footer that does not fit the file is errdef.ErrCorrupt.
func Parse(tail []byte, stored int64) (Footer, error) {
	if len(tail) != FooterSize || stored < FooterSize || !bytes.HasPrefix(tail, []byte(Cookie)) {
		return Footer{}, fmt.Errorf("vpc: the file of %d bytes does not end with a footer: %w", stored, errdef.ErrCorrupt)
	}
	f, err := parse(tail)
	if err != nil {
		return Footer{}, err
	}
	data := stored - FooterSize
	if f.Type != Fixed {
		return Footer{}, fmt.Errorf("vpc: disk type is %s, not fixed: %w", f.Type, errdef.ErrUnsupported)
	}
	if f.CurrentSize != data {
		return Footer{}, fmt.Errorf("vpc: footer tells a size of %d bytes, the file has %d before it: %w", f.CurrentSize, data, errdef.ErrCorrupt)
	}
	if f.VirtualSize > data {
		return Footer{}, fmt.Errorf("vpc: geometry of %d bytes is larger than the %d bytes of the file: %w", f.VirtualSize, data, errdef.ErrCorrupt)
	}
	return f, nil
}

// parse reads and checks a footer of any type, or the copy of one: b has the cookie and FooterSize bytes.
func parse(b []byte) (Footer, error) {
	be := binary.BigEndian
	if want, got := be.Uint32(b[offChecksum:]), Checksum(b); got != want {
		return Footer{}, fmt.Errorf("vpc: footer checksum is %#08x, its bytes give %#08x: %w", want, got, errdef.ErrCorrupt)
	}
	if v := be.Uint16(b[offVersion:]); v != 1 {
		return Footer{}, fmt.Errorf("vpc: footer version %d is not 1: %w", v, errdef.ErrUnsupported)
	}
	current := be.Uint64(b[offCurrentSize:])
	if current > math.MaxInt64 {
		return Footer{}, fmt.Errorf("vpc: footer tells a size of %d bytes: %w", current, errdef.ErrCorrupt)
	}
	f := Footer{
		Type:         Type(be.Uint32(b[offType:])),
		Creator:      string(b[offCreator : offCreator+4]),
		CurrentSize:  int64(current),
		GeometrySize: int64(be.Uint16(b[offCylinders:])) * int64(b[offHeads]) * int64(b[offSectors]) * sector,
		DataOffset:   be.Uint64(b[offDataOffset:]),
		UUID:         [16]byte(b[offUUID:]),
	}
	f.VirtualSize = f.CurrentSize &^ (sector - 1)
	if sizedByGeometry(f.Creator) && f.GeometrySize != maxGeometry*sector {
		f.VirtualSize = f.GeometrySize
	}
	return f, nil
}

// sizedByGeometry reports whether an application means the CHS geometry; all others mean the footer's current size.
// This is what qemu does since 10.0. Before, it had a list of those that mean the current size, and disks of others
// (Azure's exports, VirtualBox) came out cut to the geometry: never lose the end of a disk to a list.
func sizedByGeometry(creator string) bool { return creator == "vpc " || creator == "qemu" }

// Checksum is the one's complement of the sum of the footer's bytes without the checksum's own.
func Checksum(footer []byte) uint32 { return checksum(footer, offChecksum) }

// checksum sums a structure whose checksum stands at off.
func checksum(p []byte, off int) uint32 {
	var sum uint32
	for _, b := range p {
		sum += uint32(b)
	}
	for _, b := range p[off : off+4] {
		sum -= uint32(b)
	}
	return ^sum
}
