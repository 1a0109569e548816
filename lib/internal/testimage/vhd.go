package testimage

import (
	"encoding/binary"
	"unicode/utf16"
)

// Where a crafted dynamic VHD has what.
const (
	VHDHeader = 512
	VHDBAT    = 1536
	VHDData   = 2048
)

// VHDBlock is the size of its blocks; a bitmap of a sector lies before each.
const VHDBlock = 4096

// A VHD is a dynamic VHD made byte by byte, for what qemu-img cannot write. Seal sets its checksums and the footer at
// the end.
type VHD struct {
	B []byte
	// Disk is what must be read.
	Disk []byte
}

// CraftVHD makes a disk of five blocks of 4 KiB, of which the last is three sectors: data stored last, hole, data,
// hole, data. With a parent it is a differencing disk. creator is the application that made it, four bytes.
func CraftVHD(creator, parent string) *VHD {
	const size = 4*VHDBlock + 3*512
	v := &VHD{B: make([]byte, VHDData+3*(512+VHDBlock)+512), Disk: make([]byte, size)}
	copy(v.B, "conectix")
	v.U32(8, 2).U32(12, 0x10000).U64(16, VHDHeader).U64(40, size).U64(48, size).U32(60, 3)
	copy(v.B[28:], creator)
	v.B[57], v.B[58], v.B[59] = 1, 1, 35 // the same size in CHS
	copy(v.B[VHDHeader:], "cxsparse")
	v.U64(VHDHeader+8, 1<<64-1).U64(VHDHeader+16, VHDBAT).U32(VHDHeader+24, 0x10000).U32(VHDHeader+28, 5).U32(VHDHeader+32, VHDBlock)
	for i := range 128 { // the rest of the BAT's sector
		v.U32(VHDBAT+4*i, 1<<32-1)
	}
	for i, place := range map[int]int{0: 2, 2: 0, 4: 1} {
		at := VHDData + place*(512+VHDBlock)
		v.U32(VHDBAT+4*i, uint32(at/512))
		for j := range 512 {
			v.B[at+j] = 0xff
		}
		block := v.Disk[i*VHDBlock : min((i+1)*VHDBlock, size)]
		for j := range block {
			block[j] = byte(i + 1 + j/(i+3))
		}
		copy(v.B[at+512:], block)
	}
	if parent != "" {
		v.U32(60, 4)
		for i, c := range utf16.Encode([]rune(parent)) {
			binary.BigEndian.PutUint16(v.B[VHDHeader+64+2*i:], c)
		}
	}
	return v.Seal()
}

// U32 writes a number, and returns v.
func (v *VHD) U32(at int, n uint32) *VHD { binary.BigEndian.PutUint32(v.B[at:], n); return v }

// U64 is as U32.
func (v *VHD) U64(at int, n uint64) *VHD { binary.BigEndian.PutUint64(v.B[at:], n); return v }

// Entry writes an entry of the BAT.
func (v *VHD) Entry(i int, sector uint32) *VHD { return v.U32(VHDBAT+4*i, sector) }

// Seal sets the checksums, and copies the footer to the end.
func (v *VHD) Seal() *VHD {
	v.U32(64, 0).U32(64, onesSum(v.B[:512]))
	v.U32(VHDHeader+36, 0).U32(VHDHeader+36, onesSum(v.B[VHDHeader:][:1024]))
	copy(v.B[len(v.B)-512:], v.B[:512])
	return v
}

// OldFooter cuts the footer at the end to its length of before Virtual PC 2004.
func (v *VHD) OldFooter() *VHD {
	v.B = v.B[:len(v.B)-1]
	return v
}

func onesSum(b []byte) uint32 {
	var sum uint32
	for _, c := range b {
		sum += uint32(c)
	}
	return ^sum
}
