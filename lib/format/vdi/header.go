package vdi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Type says how an image stores its disk.
type Type uint32

// The types of VirtualBox.
const (
	Dynamic      Type = 1
	Static       Type = 2
	Undo         Type = 3
	Differencing Type = 4
)

// String returns the type's name.
func (t Type) String() string {
	switch t {
	case Dynamic:
		return "dynamic"
	case Static:
		return "static"
	case Undo:
		return "undo"
	case Differencing:
		return "differencing"
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Offsets in the header; all numbers are little-endian.
const (
	headerSize = 512 // read; the header itself has less

	offVersion    = 0x44
	offHeaderSize = 0x48
	offType       = 0x4c
	offComment    = 0x54
	commentSize   = 256
	offMap        = 0x154
	offData       = 0x158
	offSectorSize = 0x168
	offDiskSize   = 0x170
	offBlockSize  = 0x178
	offBlockExtra = 0x17c
	offBlocks     = 0x180
	offAllocated  = 0x184
	offUUID       = 0x188
	offLink       = 0x1a8
	offParent     = 0x1b8
)

const (
	sector       = 512
	version      = 1<<16 | 1
	minHeader    = 0x180   // without the geometry that later versions add
	minBlockSize = 4 << 10 // smaller ones make maps larger than any limit, and nobody
	maxBlockSize = 1 << 30 // writes them
)

// A header is checked in itself.
type header struct {
	typ          Type
	comment      string
	mapAt        int64
	dataAt       int64
	size         int64
	block        int64
	extra        uint32
	blocks       uint32
	allocated    uint32
	uuid         [16]byte
	link, parent [16]byte
}

// parseHeader reads and checks the headerSize bytes in b.
func parseHeader(b []byte) (*header, error) {
	le := binary.LittleEndian
	if string(b[MagicOffset:MagicOffset+4]) != Magic {
		return nil, unsupported("no signature")
	}
	if v := le.Uint32(b[offVersion:]); v != version {
		return nil, unsupported("version %d.%d is not 1.1", v>>16, v&0xffff)
	}
	if n := le.Uint32(b[offHeaderSize:]); n < minHeader {
		return nil, corrupt("header length %d is below %d", n, minHeader)
	}
	comment, _, _ := bytes.Cut(b[offComment:][:commentSize], []byte{0})
	size, block := le.Uint64(b[offDiskSize:]), le.Uint32(b[offBlockSize:])
	h := &header{
		typ: Type(le.Uint32(b[offType:])), comment: string(comment),
		mapAt: int64(le.Uint32(b[offMap:])), dataAt: int64(le.Uint32(b[offData:])),
		block: int64(block), extra: le.Uint32(b[offBlockExtra:]),
		blocks: le.Uint32(b[offBlocks:]), allocated: le.Uint32(b[offAllocated:]),
		uuid: [16]byte(b[offUUID:]), link: [16]byte(b[offLink:]), parent: [16]byte(b[offParent:]),
	}
	switch n := le.Uint32(b[offSectorSize:]); {
	case n != sector:
		return nil, unsupported("sector size %d is not %d", n, sector)
	case bits.OnesCount32(block) != 1 || block < minBlockSize || block > maxBlockSize:
		return nil, unsupported("block size %d is no power of two in %d..%d", block, minBlockSize, maxBlockSize)
	case size > uint64(h.blocks)*uint64(block):
		return nil, corrupt("disk size %d is more than the %d blocks of %d bytes that the map has", size, h.blocks, block)
	}
	// VBoxManage convertfromraw makes images of any size; the disk has whole sectors, as in qemu-img.
	h.size = int64((size + sector - 1) &^ (sector - 1))
	switch {
	case h.mapAt < headerSize || h.mapAt%sector != 0:
		return nil, corrupt("block map offset %d lies in the header or on no sector", h.mapAt)
	case h.dataAt < headerSize || h.dataAt%sector != 0:
		return nil, corrupt("data offset %d lies in the header or on no sector", h.dataAt)
	}
	return h, nil
}

// readable refuses an image whose blocks are not all its own, and one that this package cannot read.
func (h *header) readable() error {
	switch {
	case h.typ != Dynamic && h.typ != Static || h.parentName() != "":
		parent := h.parentName()
		if parent == "" {
			parent = "unknown"
		}
		return errdef.WithHint(unsupported("%s image with the parent %s (type %d)", h.typ, parent, uint32(h.typ)),
			"make one image of the chain first: VBoxManage clonemedium disk IN OUT --format VDI")
	case h.extra != 0:
		return unsupported("%d bytes of extra data before each block", h.extra)
	}
	return nil
}

// parentName is the UUID of the image below, empty if there is none. The link is the parent's too.
func (h *header) parentName() string {
	for _, u := range [][16]byte{h.parent, h.link} {
		if u != [16]byte{} {
			return formatUUID(u)
		}
	}
	return ""
}

// formatUUID writes a UUID as VirtualBox does: the first three groups are little-endian numbers.
func formatUUID(u [16]byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(u[:]), le.Uint16(u[4:]), le.Uint16(u[6:]), u[8:10], u[10:])
}
