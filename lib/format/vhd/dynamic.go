package vhd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf16"

	"github.com/cdictl/cdictl/lib/errdef"
)

// "Dynamic Disk Header Format": its length, cookie, and the offsets in it.
const (
	headerSize   = 1024
	headerCookie = "cxsparse"

	offTable       = 16
	offHeaderVer   = 24
	offEntries     = 28
	offBlockSize   = 32
	offHeaderSum   = 36
	offParentUUID  = 40
	offParentName  = 64
	parentNameSize = 512
)

// A header is the dynamic disk header, checked in itself.
type header struct {
	table   uint64 // offset of the BAT
	entries uint32 // that the BAT has
	block   int64
	parent  string // of a differencing disk
}

// parseHeader reads and checks the headerSize bytes in b.
func parseHeader(b []byte) (header, error) {
	be := binary.BigEndian
	if !bytes.HasPrefix(b, []byte(headerCookie)) {
		return header{}, corrupt("the dynamic disk header has no cookie but %q", b[:min(len(b), len(headerCookie))])
	}
	if want, got := be.Uint32(b[offHeaderSum:]), checksum(b, offHeaderSum); got != want {
		return header{}, corrupt("header checksum is %#08x, its bytes give %#08x", want, got)
	}
	if v := be.Uint16(b[offHeaderVer:]); v != 1 {
		return header{}, fmt.Errorf("vpc: header version %d is not 1: %w", v, errdef.ErrUnsupported)
	}
	size := be.Uint32(b[offBlockSize:])
	if bits.OnesCount32(size) != 1 || size < sector {
		return header{}, corrupt("block size %d is no power of two of at least %d", size, sector)
	}
	return header{
		table:   be.Uint64(b[offTable:]),
		entries: be.Uint32(b[offEntries:]),
		block:   int64(size),
		parent:  parentName(b),
	}, nil
}

// parentName is the file name of the parent, as the image has it ("Parent Unicode Name", big-endian UTF-16). Where it
// is empty, the parent's UUID names it. It is for a person to read and not to be trusted.
func parentName(b []byte) string {
	var name []uint16
	for p := b[offParentName:][:parentNameSize]; len(p) > 0; p = p[2:] {
		c := binary.BigEndian.Uint16(p)
		if c == 0 {
			break
		}
		name = append(name, c)
	}
	if len(name) == 0 {
		return formatUUID([16]byte(b[offParentUUID:]))
	}
	return string(utf16.Decode(name))
}

func formatUUID(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// bitmapSize is the length of the bitmap before a block: one bit for each sector, whole sectors.
func bitmapSize(block int64) int64 {
	return (block/sector/8 + sector - 1) &^ (sector - 1)
}

// readable refuses a disk whose blocks are not all its own.
func readable(f Footer, h header) error {
	if f.Type != Differencing {
		return nil
	}
	return errdef.WithHint(fmt.Errorf("vpc: differencing disk with the parent %q: %w", h.parent, errdef.ErrUnsupported),
		"merge it into its parent first: Merge-VHD in Hyper-V, vhd-util coalesce in XenServer")
}

// agree checks the footer at the end of a dynamic disk against the copy at its start: the last FooterSize bytes of
// the file are in tail. Before Virtual PC 2004 a footer had one byte less ("Hard Disk Footer Format"). It returns the
// footer's length.
func agree(head, tail []byte) (int64, error) {
	n := int64(FooterSize)
	if !bytes.HasPrefix(tail, []byte(Cookie)) {
		n--
		tail = append(bytes.Clone(tail[1:]), head[FooterSize-1])
	}
	if !bytes.HasPrefix(tail, []byte(Cookie)) {
		return 0, errdef.WithHint(corrupt("the file does not end with a footer but with %q", tail[:len(Cookie)]), "its end was cut off, or something was appended: fetch it again")
	}
	a, err := parse(head)
	if err != nil {
		return 0, err
	}
	b, err := parse(tail)
	if err != nil {
		return 0, fmt.Errorf("at the end: %w", err)
	}
	if a != b {
		return 0, corrupt("footer and its copy disagree: %+v at the end, %+v at the start", b, a)
	}
	return n, nil
}

// corrupt says in what way an image is wrong.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("vpc: "+format+": %w", append(args, errdef.ErrCorrupt)...)
}
