package vmdk

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"slices"
)

// A crafted is a file made byte by byte. Crafted disks have grains of 4 KiB, and two grain tables: the second stands for
// what is behind 2 MiB.
type crafted []byte

func (c crafted) u32(off int, v uint32) crafted {
	c = slices.Clone(c)
	binary.LittleEndian.PutUint32(c[off:], v)
	return c
}

func (c crafted) u64(off int, v uint64) crafted {
	c = slices.Clone(c)
	binary.LittleEndian.PutUint64(c[off:], v)
	return c
}

func (c crafted) text(off int, s string) crafted {
	c = slices.Clone(c)
	copy(c[off:], s)
	return c
}

// at grows c to off and puts b there.
func (c crafted) at(off int, b []byte) crafted {
	if len(c) < off+len(b) {
		c = append(c, make([]byte, off+len(b)-len(c))...)
	}
	copy(c[off:], b)
	return c
}

const (
	craftGrain = 4096
	craftSize  = 2<<20 + 3*craftGrain - 512 // two tables, and a last grain that the disk's end cuts
)

// craftedDisk is what the crafted files have: data in grains 1 to 3, zeros in 5, data in 7, 511, 513 and 514, else nothing.
func craftedDisk() []byte {
	disk := make([]byte, craftSize+512)
	for _, g := range []int{1, 2, 3, 7, 511, 513, 514} {
		part := disk[g*craftGrain:][:craftGrain]
		x := uint32(g)
		for j := range part {
			part[j] = byte(g*37 + j/(g%5+1))
			if j < 600 {
				x = x*1664525 + 1013904223
				part[j] = byte(x >> 24)
			}
		}
	}
	return disk[:craftSize]
}

func craftedGrain(disk []byte, g int) []byte {
	b := make([]byte, craftGrain)
	copy(b, disk[g*craftGrain:])
	return b
}

// descriptorText is a descriptor with these extent lines.
func descriptorText(createType string, extents ...string) string {
	s := "# Disk DescriptorFile\nversion=1\nCID=1234abcd\nparentCID=ffffffff\ncreateType=\"" + createType + "\"\n\n# Extent description\n"
	for _, x := range extents {
		s += x + "\n"
	}
	return s + "\n#DDB\nddb.adapterType = \"ide\"\n"
}

// header makes a hosted sparse extent's header; places are sectors.
func header(version, flags uint32, capacity, rgd, gd, overhead uint64, algorithm uint16) crafted {
	c := make(crafted, sector)
	copy(c, Magic)
	c = c.u32(4, version).u32(8, flags|flagNewlines).u64(12, capacity).u64(20, craftGrain/sector)
	c = c.u64(28, 1).u64(36, 2).u32(44, gtesPerTable).u64(48, rgd).u64(56, gd).u64(64, overhead).text(73, "\n \r\n")
	binary.LittleEndian.PutUint16(c[77:], algorithm)
	return c
}

// Sectors of what craftSparse makes.
const (
	atDescriptor = 1
	atGD         = 3
	atGT0        = 4
	atGT1        = 8
	atGrains     = 16
)

// craftSparse makes a monolithicSparse disk. Grain 1 lies behind 2 and 3, which are neighbours; the last one ends with the
// disk, and the file with it.
func craftSparse() (crafted, []byte) {
	disk := craftedDisk()
	c := header(2, flagZeroGrains, craftSize/sector, 0, atGD, atGrains, 0)
	c = c.at(atDescriptor*sector, []byte(descriptorText("monolithicSparse", fmt.Sprintf("RW %d SPARSE \"x.vmdk\"", craftSize/sector))))
	c = c.at(atGrains*sector, nil)
	c = c.u32(atGD*sector, atGT0).u32(atGD*sector+4, atGT1)
	c = c.gte(5, gteZero)
	for i, g := range []int{2, 3, 1, 7, 511, 513, 514} {
		at := atGrains + i*craftGrain/sector
		b := craftedGrain(disk, g)
		if g == 514 {
			b = b[:craftGrain-512]
		}
		c = c.at(at*sector, b).gte(g, uint32(at))
	}
	return c, disk
}

// gte sets entry i of the disk's tables, where craftSparse has them.
func (c crafted) gte(i int, at uint32) crafted {
	if i < gtesPerTable {
		return c.u32(atGT0*sector+4*i, at)
	}
	return c.u32(atGT1*sector+4*(i-gtesPerTable), at)
}

// A streamShape is how craftStream makes a streamOptimized disk.
type streamShape struct {
	inHeader  bool  // the header has the place of the grain directory, as if somebody had gone back
	redundant bool  // a second directory, with tables of its own, goes before
	grains    []int // in this order; nil: ascending
	edit      func(*streamEdit)
}

// A streamEdit is what a hostile stream says otherwise.
type streamEdit struct {
	marker  func(n int, m *marker)       // of marker n
	body    func(i int, p []byte) []byte // of the i-th compressed grain
	entry   func(table, i int, at uint32) uint32
	gd      func(i int, at uint32) uint32
	footer  func(crafted) crafted
	noGD    bool
	noEOS   bool
	trailer []byte
}

func pack(b []byte) []byte {
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

// craftStream makes a streamOptimized disk with the directory and the footer at its end, as VMware does.
func craftStream(shape streamShape) (crafted, []byte) {
	disk := craftedDisk()
	var e streamEdit
	if shape.edit != nil {
		shape.edit(&e)
	}
	const overhead = 8
	grains := shape.grains
	if grains == nil {
		grains = []int{1, 2, 3, 7, 511, 513, 514}
	}
	gd := uint64(gdAtEnd)
	head := header(3, flagCompressed|flagMarkers|flagZeroGrains, craftSize/sector, 0, gd, overhead, algoDeflate)
	c := slices.Clone(head)
	c = c.at(atDescriptor*sector, []byte(descriptorText("streamOptimized", fmt.Sprintf("RW %d SPARSE \"x.vmdk\"", craftSize/sector))))
	c = c.at(overhead*sector, nil)
	n := 0
	put := func(m marker, body []byte) int {
		if e.marker != nil {
			e.marker(n, &m)
		}
		n++
		at := len(c)
		b := make([]byte, markerLen)
		binary.LittleEndian.PutUint64(b, m.value)
		binary.LittleEndian.PutUint32(b[8:], m.size)
		if m.size == 0 {
			binary.LittleEndian.PutUint32(b[12:], m.kind)
			b = append(b, make([]byte, sector-markerLen)...)
		} else {
			b = b[:grainMarkerLen]
		}
		c = append(append(c, b...), body...)
		c = append(c, make([]byte, -len(c)&(sector-1))...)
		return at / sector
	}
	tables := make([][]byte, 2)
	for i := range tables {
		tables[i] = make([]byte, gtesPerTable*4)
	}
	set := func(g int, at uint32) {
		t, i := g/gtesPerTable, g%gtesPerTable
		if e.entry != nil {
			at = e.entry(t, i, at)
		}
		binary.LittleEndian.PutUint32(tables[t][4*i:], at)
	}
	set(5, gteZero)
	flush := func(t int) uint32 {
		return uint32(put(marker{value: 4, kind: markerTable}, tables[t])) + 1
	}
	at := make([]uint32, 2)
	for k, g := range grains {
		p := pack(craftedGrain(disk, g))
		if e.body != nil {
			p = e.body(k, p)
		}
		set(g, uint32(put(marker{value: uint64(g) * craftGrain / sector, size: uint32(len(p))}, p)))
		if shape.grains == nil && (k+1 == len(grains) || grains[k+1]/gtesPerTable != g/gtesPerTable) && !shape.redundant {
			at[g/gtesPerTable] = flush(g / gtesPerTable)
		}
	}
	directory := func() uint64 {
		b := make([]byte, 8)
		for i := range 2 {
			if at[i] == 0 {
				at[i] = flush(i)
			}
			if e.gd != nil {
				at[i] = e.gd(i, at[i])
			}
			binary.LittleEndian.PutUint32(b[4*i:], at[i])
		}
		return uint64(put(marker{value: 1, kind: markerDirectory}, b)) + 1
	}
	if shape.redundant {
		directory()
		at = make([]uint32, 2)
	}
	if !e.noGD {
		gd = directory()
	} else {
		gd = 4
	}
	if shape.inHeader {
		c = c.u64(56, gd)
	} else {
		f := head.u64(56, gd)
		if e.footer != nil {
			f = e.footer(f)
		}
		put(marker{value: 1, kind: markerFooter}, f)
	}
	if !e.noEOS {
		put(marker{}, nil)
	}
	return append(c, e.trailer...), disk
}

// craftCOWD makes an ESX Server sparse extent with grains of 512 bytes, whose tables stand for 2 MiB as well, and has the
// data of the crafted disk.
func craftCOWD() (crafted, []byte) {
	disk := craftedDisk()
	const gd, gt, data = 4, 8, 72
	c := make(crafted, data*sector)
	copy(c, MagicCOWD)
	c = c.u32(4, 1).u32(8, 3).u32(12, craftSize/sector).u32(16, 1).u32(20, gd).u32(24, 2)
	c = c.u32(gd*sector, gt).u32(gd*sector+4, gt+32)
	at := data
	for i := range craftSize / sector {
		b := disk[i*sector:][:sector]
		if zero(b) {
			continue
		}
		c = c[:len(c):len(c)]
		binary.LittleEndian.PutUint32(c[gt*sector+4*i:], uint32(at))
		c = append(c, b...)
		at++
	}
	return c, disk
}

// Sectors of what craftSE makes.
const (
	atSEVolatile = 1
	atSEGD       = 2
	atSETables   = 8
	atSEGrains   = 80
)

// craftSE makes a seSparse extent with the data of the crafted disk: one table, whose number is 0.
func craftSE() (crafted, []byte) {
	disk := craftedDisk()
	c := make(crafted, atSEGrains*sector)
	copy(c, MagicSE)
	for i, v := range map[int]uint64{
		2: craftSize / sector, 3: 8, 4: 64, 10: atSEVolatile, 11: 1, 16: atSEGD, 17: 1, 18: atSETables, 19: 64, 24: atSEGrains, 25: 8 * 4200,
	} {
		c = c.u64(8*i, v)
	}
	c = c.u64(atSEVolatile*sector, seVolatileMagic).u64(atSEGD*sector, 1<<60)
	c = c.seEntry(5, seZero).seEntry(6, seUnmapped|7)
	for i, g := range []int{2, 3, 1, 7, 511, 513, 514} {
		c = c.at((atSEGrains+8*i)*sector, craftedGrain(disk, g)).seEntry(g, seAllocated|uint64(i)<<48)
	}
	return c, disk
}

func (c crafted) seEntry(i int, v uint64) crafted { return c.u64(atSETables*sector+8*i, v) }
