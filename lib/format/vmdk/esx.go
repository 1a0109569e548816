package vmdk

import (
	"context"
	"encoding/binary"
	"math/bits"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/blob"
	"github.com/cdictl/cdictl/lib/internal/span"
)

// ESX Server sparse extents ("COWD", also called vmfsSparse) and seSparse.

const (
	cowdHeaderLen   = 2048
	cowdTableBits   = 12 // 4,096 entries
	maxCOWDGrain    = maxGrain
	seGrainSectors  = 8
	seTableSectors  = 64
	seTableBits     = 12 // 4,096 entries of 8 bytes
	seVolatileMagic = 0xcafecafe
)

// newCOWD opens an ESX Server sparse extent ("ESX Server Sparse Extents").
func newCOWD(ctx context.Context, p prefix, mem *budget) (*extent, error) {
	b, err := p.At(0, cowdHeaderLen, "header")
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	version, sectors, grain := le.Uint32(b[4:]), le.Uint32(b[12:]), le.Uint32(b[16:])
	gd, gdes := le.Uint32(b[20:]), le.Uint32(b[24:])
	switch {
	case version != 1:
		return nil, unsupported("COWD version %d, known is 1", version)
	case sectors == 0:
		return nil, corrupt("COWD extent without sectors")
	case grain == 0 || grain > maxCOWDGrain || grain&(grain-1) != 0:
		return nil, corrupt("grain size of %d sectors is no power of two up to %d", grain, maxCOWDGrain)
	case gd == 0:
		return nil, corrupt("grain directory at sector 0")
	}
	e := &extent{
		size: int64(sectors) * sector, ra: p.Blob, stored: p.Size, layout: layout4,
		grainBits: uint(bits.TrailingZeros32(grain)) + 9, tableBits: cowdTableBits,
	}
	need := (e.size + e.reach() - 1) / e.reach()
	if int64(gdes) < need {
		return nil, corrupt("grain directory of %d entries, %d are needed", gdes, need)
	}
	at := int64(gd) * sector
	e.areas = []area{{0, cowdHeaderLen, "the header"}, {at, at + 4*need, "the grain directory"}}
	if err := e.readDirectory(ctx, at, need, mem); err != nil {
		return nil, err
	}
	return e, nil
}

// newSE opens a seSparse extent. All numbers are of 64 bits, all places are sectors; what QEMU does not know to be is
// refused, as there.
func newSE(ctx context.Context, p prefix, mem *budget) (*extent, error) {
	b, err := p.At(0, sector, "header")
	if err != nil {
		return nil, err
	}
	if !hasMagic(b, MagicSE[:8]) {
		return nil, corrupt("no magic of a seSparse extent")
	}
	field := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	switch {
	case !hasMagic(b, MagicSE):
		return nil, unsupported("seSparse version %#x, known is 2.1", field(1))
	case field(2) == 0:
		return nil, corrupt("seSparse extent without sectors")
	case field(3) != seGrainSectors:
		return nil, unsupported("grain size of %d sectors, known is %d", field(3), seGrainSectors)
	case field(4) != seTableSectors:
		return nil, unsupported("grain tables of %d sectors, known are those of %d", field(4), seTableSectors)
	case !zero(b[40:80]) || !zero(b[26*8:]):
		return nil, unsupported("flags or reserved fields of the header are set")
	}
	places := make([]int64, 26) // bytes; of the volatile header, the directory, the tables and the grains
	for _, i := range []int{2, 10, 16, 17, 18, 19, 24, 25} {
		n, ok := bytes64(field(i))
		if !ok {
			return nil, corrupt("field %d of the header is %d sectors", i, field(i))
		}
		places[i] = n
	}
	v, err := p.At(places[10], sector, "volatile header")
	if err != nil {
		return nil, err
	}
	switch {
	case binary.LittleEndian.Uint64(v) != seVolatileMagic:
		return nil, corrupt("no magic in the volatile header at %d", places[10])
	case !zero(v[24:32]):
		return nil, errdef.WithHint(unsupported("the extent has a journal to replay"), "start and stop the virtual machine once, or clone the disk")
	case !zero(v[32:]):
		return nil, unsupported("reserved fields of the volatile header are set")
	}
	e := &extent{
		size: places[2], ra: p.Blob, stored: p.Size, layout: layoutSE, grainBits: 12, tableBits: seTableBits,
		seTables: places[18], seGrains: places[24], seGrainsN: places[25],
		areas: []area{{0, sector, "the header"}},
	}
	if err := blob.Inside("vmdk", "area of grain tables", places[18], places[19], p.Size); err != nil {
		return nil, err
	}
	e.seTablesN = places[19]
	need := e.size / e.reach()
	if e.size%e.reach() != 0 {
		need++
	}
	if places[17]/8 < need {
		return nil, corrupt("grain directory of %d entries, %d are needed", places[17]/8, need)
	}
	if err := e.readDirectory(ctx, places[16], need, mem); err != nil {
		return nil, err
	}
	return e, nil
}

// Bits of seSparse entries: the top four tell the kind.
const (
	seKind      uint64 = 0xf << 60
	seUnmapped  uint64 = 1 << 60 // of a grain; of a table it means that there is one
	seZero      uint64 = 2 << 60
	seAllocated uint64 = 3 << 60
)

// decodeSE makes sectors of directory entries: the low half is the number of a table.
func (e *extent) decodeSE(dst []uint32, b []byte, i int64) error {
	for k := range dst {
		x := binary.LittleEndian.Uint64(b[8*k:])
		if x == 0 {
			dst[k] = 0
			continue
		}
		if x>>32 != seUnmapped>>32 {
			return corrupt("grain directory entry %d is %#x", i+int64(k), x)
		}
		at := int64(x&0xffff_ffff) * e.tableBytes()
		if at+e.tableBytes() > e.seTablesN {
			return corrupt("grain table %d lies outside of their area of %d bytes", x&0xffff_ffff, e.seTablesN)
		}
		s := (e.seTables + at) / sector
		if s > 1<<32-1 {
			return corrupt("grain table at sector %d", s)
		}
		dst[k] = uint32(s)
	}
	return nil
}

// entrySE is entry for seSparse.
func (e *extent) entrySE(tab []byte, grain int64) (span.Kind, int64, error) {
	x := binary.LittleEndian.Uint64(tab)
	switch x & seKind {
	case 0:
		if x != 0 {
			return 0, 0, corrupt("grain table entry %#x", x)
		}
		return span.Hole, 0, nil
	case seUnmapped, seZero:
		return span.Zero, 0, nil
	case seAllocated:
	default:
		return 0, 0, corrupt("grain table entry %#x", x)
	}
	// The number of the grain is rotated: its low 12 bits stand above its high 48.
	no := x>>48&0xfff | x<<12&(1<<60-1)
	if no >= uint64(e.seGrainsN)>>e.grainBits {
		return 0, 0, corrupt("grain %d lies outside of their area of %d bytes", no, e.seGrainsN)
	}
	at := int64(no) << e.grainBits
	if at > e.stored-e.seGrains {
		return 0, 0, corrupt("grain %d lies past the end of the stored file (%d bytes)", no, e.stored)
	}
	return span.Data, e.seGrains + at, e.checkHost(e.seGrains+at, min(e.grain(), e.size-grain))
}

func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
