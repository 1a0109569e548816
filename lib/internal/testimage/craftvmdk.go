package testimage

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"slices"
)

// Numbers of the specification ("Virtual Disk Format 5.0"), and of ESX formats.
const (
	vmdkSector          = 512
	vmdkMagic           = "KDMV"
	vmdkMagicCOWD       = "COWD"
	vmdkMagicSE         = "\xbe\xba\xfe\xca\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"
	vmdkNewlines        = 1 << 0
	vmdkZeroGrains      = 1 << 2
	vmdkCompressed      = 1 << 16
	vmdkMarkers         = 1 << 17
	vmdkEntries         = 512
	vmdkZero            = 1
	vmdkAtEnd           = 1<<64 - 1
	vmdkDeflate         = 1
	vmdkMarkerLen       = 16
	vmdkGrainMarkerLen  = 12
	vmdkMarkTable       = 1
	vmdkMarkDirectory   = 2
	vmdkMarkFooter      = 3
	vmdkSEVolatileMagic = 0xcafecafe
	vmdkSEZero          = 2 << 60
	vmdkSEUnmapped      = 1 << 60
	vmdkSEAllocated     = 3 << 60
)

// A VMDKMarker goes before each part of a streamOptimized disk.
type VMDKMarker struct {
	Value uint64
	Size  uint32
	Kind  uint32
}

// A VMDK is a file made byte by byte. Crafted disks have grains of 4 KiB, and two grain tables: the second stands for
// what is behind 2 MiB.
type VMDK []byte

// U32 returns a copy with a number in it.
func (c VMDK) U32(off int, v uint32) VMDK {
	c = slices.Clone(c)
	binary.LittleEndian.PutUint32(c[off:], v)
	return c
}

// U64 is as U32.
func (c VMDK) U64(off int, v uint64) VMDK {
	c = slices.Clone(c)
	binary.LittleEndian.PutUint64(c[off:], v)
	return c
}

// Text is as U32.
func (c VMDK) Text(off int, s string) VMDK {
	c = slices.Clone(c)
	copy(c[off:], s)
	return c
}

// At grows c to off and puts b there.
func (c VMDK) At(off int, b []byte) VMDK {
	if len(c) < off+len(b) {
		c = append(c, make([]byte, off+len(b)-len(c))...)
	}
	copy(c[off:], b)
	return c
}

// Sizes of the VMDK files.
const (
	VMDKGrain = 4096
	VMDKSize  = 2<<20 + 3*VMDKGrain - 512 // two tables, and a last grain that the disk's end cuts
)

// VMDKDisk is what the VMDK files have: data in grains 1 to 3, zeros in 5, data in 7, 511, 513 and 514, else nothing.
func VMDKDisk() []byte {
	disk := make([]byte, VMDKSize+512)
	for _, g := range []int{1, 2, 3, 7, 511, 513, 514} {
		part := disk[g*VMDKGrain:][:VMDKGrain]
		x := uint32(g)
		for j := range part {
			part[j] = byte(g*37 + j/(g%5+1))
			if j < 600 {
				x = x*1664525 + 1013904223
				part[j] = byte(x >> 24)
			}
		}
	}
	return disk[:VMDKSize]
}

func vmdkGrain(disk []byte, g int) []byte {
	b := make([]byte, VMDKGrain)
	copy(b, disk[g*VMDKGrain:])
	return b
}

// VMDKDescriptor is a descriptor with these extent lines.
func VMDKDescriptor(createType string, extents ...string) string {
	s := "# Disk DescriptorFile\nversion=1\nCID=1234abcd\nparentCID=ffffffff\ncreateType=\"" + createType + "\"\n\n# Extent description\n"
	for _, x := range extents {
		s += x + "\n"
	}
	return s + "\n#DDB\nddb.adapterType = \"ide\"\n"
}

// vmdkHeader makes a hosted sparse extent's vmdkHeader; places are sectors.
func vmdkHeader(version, flags uint32, capacity, rgd, gd, overhead uint64, algorithm uint16) VMDK {
	c := make(VMDK, vmdkSector)
	copy(c, vmdkMagic)
	c = c.U32(4, version).U32(8, flags|vmdkNewlines).U64(12, capacity).U64(20, VMDKGrain/vmdkSector)
	c = c.U64(28, 1).U64(36, 2).U32(44, vmdkEntries).U64(48, rgd).U64(56, gd).U64(64, overhead).Text(73, "\n \r\n")
	binary.LittleEndian.PutUint16(c[77:], algorithm)
	return c
}

// Sectors of what CraftSparseVMDK makes.
const (
	vmdkDescriptor = 1
	VMDKDirectory  = 3
	VMDKTable      = 4
	vmdkTable1     = 8
	vmdkGrains     = 16
)

// CraftSparseVMDK makes a monolithicSparse disk. Grain 1 lies behind 2 and 3, which are neighbours; the last one ends with the
// disk, and the file with it.
func CraftSparseVMDK() (VMDK, []byte) {
	disk := VMDKDisk()
	c := vmdkHeader(2, vmdkZeroGrains, VMDKSize/vmdkSector, 0, VMDKDirectory, vmdkGrains, 0)
	c = c.At(vmdkDescriptor*vmdkSector, []byte(VMDKDescriptor("monolithicSparse", fmt.Sprintf("RW %d SPARSE \"x.vmdk\"", VMDKSize/vmdkSector))))
	c = c.At(vmdkGrains*vmdkSector, nil)
	c = c.U32(VMDKDirectory*vmdkSector, VMDKTable).U32(VMDKDirectory*vmdkSector+4, vmdkTable1)
	c = c.GTE(5, vmdkZero)
	for i, g := range []int{2, 3, 1, 7, 511, 513, 514} {
		at := vmdkGrains + i*VMDKGrain/vmdkSector
		b := vmdkGrain(disk, g)
		if g == 514 {
			b = b[:VMDKGrain-512]
		}
		c = c.At(at*vmdkSector, b).GTE(g, uint32(at))
	}
	return c, disk
}

// GTE sets entry i of the disk's tables, where CraftSparseVMDK has them.
func (c VMDK) GTE(i int, at uint32) VMDK {
	if i < vmdkEntries {
		return c.U32(VMDKTable*vmdkSector+4*i, at)
	}
	return c.U32(vmdkTable1*vmdkSector+4*(i-vmdkEntries), at)
}

// A VMDKStream is how CraftStreamVMDK makes a streamOptimized disk.
type VMDKStream struct {
	InHeader  bool  // the header has the place of the grain directory, as if somebody had gone back
	Redundant bool  // a second directory, with tables of its own, goes before
	Grains    []int // in this order; nil: ascending
	Edit      func(*VMDKEdit)
}

// A VMDKEdit is what a hostile stream says otherwise.
type VMDKEdit struct {
	Marker  func(n int, m *VMDKMarker)   // of marker n
	Body    func(i int, p []byte) []byte // of the i-th compressed grain
	Entry   func(table, i int, at uint32) uint32
	GD      func(i int, at uint32) uint32
	Footer  func(VMDK) VMDK
	NoGD    bool
	NoEOS   bool
	Trailer []byte
}

func packVMDK(b []byte) []byte {
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// CraftStreamVMDK makes a streamOptimized disk with the directory and the footer at its end, as VMware does.
func CraftStreamVMDK(shape VMDKStream) (VMDK, []byte) {
	disk := VMDKDisk()
	var e VMDKEdit
	if shape.Edit != nil {
		shape.Edit(&e)
	}
	const overhead = 8
	grains := shape.Grains
	if grains == nil {
		grains = []int{1, 2, 3, 7, 511, 513, 514}
	}
	gd := uint64(vmdkAtEnd)
	head := vmdkHeader(3, vmdkCompressed|vmdkMarkers|vmdkZeroGrains, VMDKSize/vmdkSector, 0, gd, overhead, vmdkDeflate)
	c := slices.Clone(head)
	c = c.At(vmdkDescriptor*vmdkSector, []byte(VMDKDescriptor("streamOptimized", fmt.Sprintf("RW %d SPARSE \"x.vmdk\"", VMDKSize/vmdkSector))))
	c = c.At(overhead*vmdkSector, nil)
	n := 0
	put := func(m VMDKMarker, body []byte) int {
		if e.Marker != nil {
			e.Marker(n, &m)
		}
		n++
		at := len(c)
		b := make([]byte, vmdkMarkerLen)
		binary.LittleEndian.PutUint64(b, m.Value)
		binary.LittleEndian.PutUint32(b[8:], m.Size)
		if m.Size == 0 {
			binary.LittleEndian.PutUint32(b[12:], m.Kind)
			b = append(b, make([]byte, vmdkSector-vmdkMarkerLen)...)
		} else {
			b = b[:vmdkGrainMarkerLen]
		}
		c = append(append(c, b...), body...)
		c = append(c, make([]byte, -len(c)&(vmdkSector-1))...)
		return at / vmdkSector
	}
	tables := make([][]byte, 2)
	for i := range tables {
		tables[i] = make([]byte, vmdkEntries*4)
	}
	set := func(g int, at uint32) {
		t, i := g/vmdkEntries, g%vmdkEntries
		if e.Entry != nil {
			at = e.Entry(t, i, at)
		}
		binary.LittleEndian.PutUint32(tables[t][4*i:], at)
	}
	set(5, vmdkZero)
	flush := func(t int) uint32 {
		return uint32(put(VMDKMarker{Value: 4, Kind: vmdkMarkTable}, tables[t])) + 1
	}
	at := make([]uint32, 2)
	for k, g := range grains {
		p := packVMDK(vmdkGrain(disk, g))
		if e.Body != nil {
			p = e.Body(k, p)
		}
		set(g, uint32(put(VMDKMarker{Value: uint64(g) * VMDKGrain / vmdkSector, Size: uint32(len(p))}, p)))
		if shape.Grains == nil && (k+1 == len(grains) || grains[k+1]/vmdkEntries != g/vmdkEntries) && !shape.Redundant {
			at[g/vmdkEntries] = flush(g / vmdkEntries)
		}
	}
	directory := func() uint64 {
		b := make([]byte, 8)
		for i := range 2 {
			if at[i] == 0 {
				at[i] = flush(i)
			}
			if e.GD != nil {
				at[i] = e.GD(i, at[i])
			}
			binary.LittleEndian.PutUint32(b[4*i:], at[i])
		}
		return uint64(put(VMDKMarker{Value: 1, Kind: vmdkMarkDirectory}, b)) + 1
	}
	if shape.Redundant {
		directory()
		at = make([]uint32, 2)
	}
	if !e.NoGD {
		gd = directory()
	} else {
		gd = 4
	}
	if shape.InHeader {
		c = c.U64(56, gd)
	} else {
		f := head.U64(56, gd)
		if e.Footer != nil {
			f = e.Footer(f)
		}
		put(VMDKMarker{Value: 1, Kind: vmdkMarkFooter}, f)
	}
	if !e.NoEOS {
		put(VMDKMarker{}, nil)
	}
	return append(c, e.Trailer...), disk
}

// CraftCOWD makes an ESX Server sparse extent with grains of 512 bytes, whose tables stand for 2 MiB as well, and has the
// data of the VMDK disk.
func CraftCOWD() (VMDK, []byte) {
	disk := VMDKDisk()
	const gd, gt, data = 4, 8, 72
	c := make(VMDK, data*vmdkSector)
	copy(c, vmdkMagicCOWD)
	c = c.U32(4, 1).U32(8, 3).U32(12, VMDKSize/vmdkSector).U32(16, 1).U32(20, gd).U32(24, 2)
	c = c.U32(gd*vmdkSector, gt).U32(gd*vmdkSector+4, gt+32)
	at := data
	for i := range VMDKSize / vmdkSector {
		b := disk[i*vmdkSector:][:vmdkSector]
		if len(bytes.Trim(b, "\x00")) == 0 {
			continue
		}
		c = c[:len(c):len(c)]
		binary.LittleEndian.PutUint32(c[gt*vmdkSector+4*i:], uint32(at))
		c = append(c, b...)
		at++
	}
	return c, disk
}

// Sectors of what CraftSE makes.
const (
	VMDKSEVolatile  = 1
	VMDKSEDirectory = 2
	vmdkSETables    = 8
	vmdkSEGrains    = 80
)

// CraftSE makes a seSparse extent with the data of the VMDK disk: one table, whose number is 0.
func CraftSE() (VMDK, []byte) {
	disk := VMDKDisk()
	c := make(VMDK, vmdkSEGrains*vmdkSector)
	copy(c, vmdkMagicSE)
	for i, v := range map[int]uint64{
		2: VMDKSize / vmdkSector, 3: 8, 4: 64, 10: VMDKSEVolatile, 11: 1, 16: VMDKSEDirectory, 17: 1, 18: vmdkSETables, 19: 64, 24: vmdkSEGrains, 25: 8 * 4200,
	} {
		c = c.U64(8*i, v)
	}
	c = c.U64(VMDKSEVolatile*vmdkSector, vmdkSEVolatileMagic).U64(VMDKSEDirectory*vmdkSector, 1<<60)
	c = c.SEEntry(5, vmdkSEZero).SEEntry(6, vmdkSEUnmapped|7)
	for i, g := range []int{2, 3, 1, 7, 511, 513, 514} {
		c = c.At((vmdkSEGrains+8*i)*vmdkSector, vmdkGrain(disk, g)).SEEntry(g, vmdkSEAllocated|uint64(i)<<48)
	}
	return c, disk
}

// SEEntry returns a copy with another entry of the table.
func (c VMDK) SEEntry(i int, v uint64) VMDK { return c.U64(vmdkSETables*vmdkSector+8*i, v) }
