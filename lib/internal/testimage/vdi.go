package testimage

import "encoding/binary"

// Where a crafted VDI has what.
const (
	VDIMap  = 512
	VDIData = 1024
)

// A VDI is a file made byte by byte, for what qemu-img cannot write.
type VDI struct {
	B []byte
	// Disk is what must be read.
	Disk []byte
}

// CraftVDI makes a disk of five blocks of the given size, of which the last is three sectors less a few bytes: data
// stored last, never allocated, data, discarded, data that ends where the disk ends.
func CraftVDI(block int) *VDI {
	size := 4*block + 3*512
	v := &VDI{B: make([]byte, VDIData+3*block), Disk: make([]byte, size)}
	copy(v.B, "<<< made for a test >>>\n")
	v.U32(0x40, 0xbeda107f).U32(0x44, 1<<16|1).U32(0x48, 0x190).U32(0x4c, 1)
	copy(v.B[0x54:], "a comment")
	v.U32(0x154, VDIMap).U32(0x158, VDIData).U32(0x168, 512).U64(0x170, uint64(size-7))
	v.U32(0x178, uint32(block)).U32(0x180, 5).U32(0x184, 3)
	copy(v.B[0x188:], "an image's UUID.")
	for i, place := range []uint32{2, 0xffffffff, 0, 0xfffffffe, 1} {
		v.Entry(i, place)
		if place >= 0xfffffffe {
			continue
		}
		part := v.Disk[i*block : min((i+1)*block, size)]
		for j := range part {
			part[j] = byte(i + 1 + j/(i+3))
		}
		copy(v.B[VDIData+int(place)*block:], part)
	}
	return v
}

// U32 writes a number, and returns v.
func (v *VDI) U32(at int, n uint32) *VDI { binary.LittleEndian.PutUint32(v.B[at:], n); return v }

// U64 is as U32.
func (v *VDI) U64(at int, n uint64) *VDI { binary.LittleEndian.PutUint64(v.B[at:], n); return v }

// Entry writes an entry of the block map.
func (v *VDI) Entry(i int, place uint32) *VDI { return v.U32(VDIMap+4*i, place) }
