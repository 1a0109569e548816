package testimage

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"slices"
	"strings"
	"unicode/utf16"
)

// Where a crafted VHDX has what.
const (
	VHDXHeader1  = 64 << 10
	VHDXHeader2  = 128 << 10
	VHDXRegions1 = 192 << 10
	VHDXRegions2 = 256 << 10
	VHDXLog      = 1 * mib
	VHDXMeta     = 2 * mib
	VHDXItems    = VHDXMeta + 64<<10 // file parameters, size at +8, disk ID at +16, logical sector at +32, physical at +36, locator at +40
	VHDXBAT      = 3 * mib
	VHDXData     = 4 * mib
)

// Block states.
const (
	VHDXNotPresent = 0
	VHDXUndefined  = 1
	VHDXZero       = 2
	VHDXUnmapped   = 3
	VHDXPresent    = 6
	VHDXPartial    = 7
)

// A VHDX is a file made byte by byte, for what qemu-img cannot write. Its header checksums are set by Seal.
type VHDX struct {
	B []byte
	// Disk is what must be read.
	Disk []byte
	// LogID is the GUID of its log's entries.
	LogID [16]byte
	// Sequence of the next log entry.
	Sequence uint64
	sector   int64
}

// CraftVHDX makes a disk of seven blocks of 1 MiB, of which the last is three sectors: data, hole, zero, data stored
// before the first, unmapped, undefined, data that ends where the disk ends. sector is 512 or 4096. With a parent it
// is a differencing disk.
func CraftVHDX(sector int64, parent string) *VHDX {
	return craftVHDX(sector, parent, VHDXData+2*mib+3*sector, [][2]uint64{
		{VHDXPresent, 5}, {VHDXNotPresent, 0}, {VHDXZero, 0}, {VHDXPresent, 4}, {VHDXUnmapped, 9}, {VHDXUndefined, 4}, {VHDXPresent, 6},
	})
}

// CraftSmallVHDX makes a disk of three sectors.
func CraftSmallVHDX(sector int64, parent string) *VHDX {
	return craftVHDX(sector, parent, VHDXData+3*sector, [][2]uint64{{VHDXPresent, 4}})
}

// craftVHDX makes a file of the given length. blocks are states and places in MiB.
func craftVHDX(sector int64, parent string, stored int64, blocks [][2]uint64) *VHDX {
	v := &VHDX{B: make([]byte, stored), LogID: [16]byte{1, 2, 3, 4}, Sequence: 7, sector: sector}
	size := int64(len(blocks)-1)*mib + 3*sector
	v.Disk = make([]byte, size)
	copy(v.B, "vhdxfile")
	le := binary.LittleEndian
	for i, at := range []int{VHDXHeader1, VHDXHeader2} {
		copy(v.B[at:], "head")
		le.PutUint64(v.B[at+8:], uint64(10+i))
		le.PutUint16(v.B[at+66:], 1)
		le.PutUint32(v.B[at+68:], mib)
		le.PutUint64(v.B[at+72:], VHDXLog)
	}
	for _, at := range []int{VHDXRegions1, VHDXRegions2} {
		copy(v.B[at:], "regi")
		le.PutUint32(v.B[at+8:], 2)
		v.region(at+16, "2DC27766-F623-4200-9D64-115E9BFD4A08", VHDXBAT)
		v.region(at+48, "8B7CA206-4790-4B9A-B8FE-575F050F886E", VHDXMeta)
	}
	v.metadata(size, parent)
	for i, e := range blocks {
		v.Entry(i, e[0], e[1])
		if e[0] == VHDXPresent {
			block := v.Disk[i*mib : min((i+1)*mib, len(v.Disk))]
			for j := range block {
				block[j] = byte(i + 1 + j/(i+3))
			}
			copy(v.B[e[1]<<20:], block)
		}
	}
	return v.Seal()
}

func (v *VHDX) region(at int, id string, offset uint64) {
	v.guid(at, id)
	binary.LittleEndian.PutUint64(v.B[at+16:], offset)
	binary.LittleEndian.PutUint32(v.B[at+24:], mib)
	binary.LittleEndian.PutUint32(v.B[at+28:], 1)
}

func (v *VHDX) metadata(size int64, parent string) {
	le := binary.LittleEndian
	copy(v.B[VHDXMeta:], "metadata")
	n := 0
	item := func(id string, offset, length uint32) {
		at := VHDXMeta + 32 + 32*n
		v.guid(at, id)
		le.PutUint32(v.B[at+16:], 64<<10+offset)
		le.PutUint32(v.B[at+20:], length)
		le.PutUint32(v.B[at+24:], 4)
		n++
		le.PutUint16(v.B[VHDXMeta+10:], uint16(n))
	}
	item("CAA16737-FA36-4D43-B3B6-33F0AA44E76B", 0, 8)
	item("2FA54224-CD1B-4876-B211-5DBED83BF4B8", 8, 8)
	item("BECA12AB-B2E6-4523-93EF-C309E000C746", 16, 16)
	item("8141BF1D-A96F-4709-BA47-F233A8FAAB5F", 32, 4)
	item("CDA348C7-445D-4471-9CC9-E9885251C556", 36, 4)
	le.PutUint32(v.B[VHDXItems:], mib)
	le.PutUint64(v.B[VHDXItems+8:], uint64(size))
	le.PutUint32(v.B[VHDXItems+32:], uint32(v.sector))
	le.PutUint32(v.B[VHDXItems+36:], 4096)
	if parent == "" {
		return
	}
	le.PutUint32(v.B[VHDXItems+4:], 2)
	key, value := utf16le("relative_path"), utf16le(parent)
	locator := make([]byte, 32)
	le.PutUint16(locator[18:], 1)
	le.PutUint32(locator[20:], 32)
	le.PutUint32(locator[24:], uint32(32+len(key)))
	le.PutUint16(locator[28:], uint16(len(key)))
	le.PutUint16(locator[30:], uint16(len(value)))
	locator = slices.Concat(locator, key, value)
	copy(v.B[VHDXItems+40:], locator)
	item("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C", 40, uint32(len(locator)))
}

func utf16le(s string) (b []byte) {
	for _, c := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return b
}

// guid writes one as it is stored: the first three groups are little-endian numbers.
func (v *VHDX) guid(at int, s string) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil {
		panic(err)
	}
	slices.Reverse(b[:4])
	slices.Reverse(b[4:6])
	slices.Reverse(b[6:8])
	copy(v.B[at:], b)
}

// U16 writes a number, and returns v.
func (v *VHDX) U16(at int, n uint16) *VHDX { binary.LittleEndian.PutUint16(v.B[at:], n); return v }

// U32 is as U16.
func (v *VHDX) U32(at int, n uint32) *VHDX { binary.LittleEndian.PutUint32(v.B[at:], n); return v }

// U64 is as U16.
func (v *VHDX) U64(at int, n uint64) *VHDX { binary.LittleEndian.PutUint64(v.B[at:], n); return v }

// Entry writes an entry of the BAT.
func (v *VHDX) Entry(i int, state, mib uint64) *VHDX { return v.U64(VHDXBAT+8*i, mib<<20|state) }

// Seal sets the checksums of headers and tables of regions.
func (v *VHDX) Seal() *VHDX {
	for at, n := range map[int]int{VHDXHeader1: 4096, VHDXHeader2: 4096, VHDXRegions1: 64 << 10, VHDXRegions2: 64 << 10} {
		seal(v.B[at:][:n])
	}
	return v
}

func seal(b []byte) {
	binary.LittleEndian.PutUint32(b[4:], 0)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// A VHDXWrite is what a log entry writes: at a multiple of 4 KiB, 4 KiB of data, or Zeros if there is none.
type VHDXWrite struct {
	At    uint64
	Data  []byte
	Zeros uint64
}

// LogEntry makes a log entry with the next sequence number, whose tail is the entry at tail.
func (v *VHDX) LogEntry(tail uint32, writes ...VHDXWrite) []byte {
	le := binary.LittleEndian
	e := make([]byte, (64+32*len(writes)+4095)/4096*4096)
	copy(e, "loge")
	le.PutUint32(e[12:], tail)
	le.PutUint64(e[16:], v.Sequence)
	le.PutUint32(e[24:], uint32(len(writes)))
	copy(e[32:], v.LogID[:])
	le.PutUint64(e[48:], uint64(len(v.B)))
	le.PutUint64(e[56:], uint64(len(v.B)))
	for i, w := range writes {
		d := e[64+32*i:][:32]
		le.PutUint64(d[16:], w.At)
		le.PutUint64(d[24:], v.Sequence)
		if w.Data == nil {
			copy(d, "zero")
			le.PutUint64(d[8:], w.Zeros)
			continue
		}
		copy(d, "desc")
		copy(d[4:8], w.Data[4092:])
		copy(d[8:16], w.Data)
		s := slices.Clone(w.Data[:4096])
		copy(s, "data")
		le.PutUint32(s[4:], uint32(v.Sequence>>32))
		le.PutUint32(s[4092:], uint32(v.Sequence))
		e = append(e, s...)
	}
	v.Sequence++
	return SealLogEntry(e)
}

// SealLogEntry sets the length and the checksum of an entry that was changed.
func SealLogEntry(e []byte) []byte {
	binary.LittleEndian.PutUint32(e[8:], uint32(len(e)))
	seal(e)
	return e
}

// PutLog writes an entry into the ring of the log, at an offset in it, and says in the headers that the log is in use. It
// returns the offset behind.
func (v *VHDX) PutLog(at int, e []byte) int {
	for i := 0; i < len(e); i += 4096 {
		copy(v.B[VHDXLog+(at+i)%mib:], e[i:i+4096])
	}
	for _, h := range []int{VHDXHeader1, VHDXHeader2} {
		copy(v.B[h+48:], v.LogID[:])
	}
	v.Seal()
	return (at + len(e)) % mib
}

// Headers changes the two headers.
func (v *VHDX) Headers(change func(at int)) *VHDX {
	change(VHDXHeader1)
	change(VHDXHeader2)
	return v.Seal()
}

// Regions changes the two tables of regions.
func (v *VHDX) Regions(change func(at int)) *VHDX {
	change(VHDXRegions1)
	change(VHDXRegions2)
	return v.Seal()
}

// Logged puts entries into the log, one behind the other.
func (v *VHDX) Logged(entries ...[]byte) *VHDX {
	at := 0
	for _, e := range entries {
		at = v.PutLog(at, e)
	}
	return v
}

// DirtyVHDX is CraftVHDX, not closed.
func DirtyVHDX(sector int64) *VHDX { return CraftVHDX(sector, "").Dirty() }

// Dirty makes a file of one that was not closed: its BAT stands only in the log, behind an entry that was already written
// down, in a ring that begins near its end.
func (v *VHDX) Dirty() *VHDX {
	want := slices.Clone(v.B[VHDXBAT:][:4096])
	// Old news: by now it would do harm.
	at := v.PutLog(mib-3*4096, v.LogEntry(0, VHDXWrite{At: VHDXBAT, Data: make([]byte, 4096)}))
	first := uint32(at)
	// In the file: an empty BAT, behind it rubbish.
	clear(v.B[VHDXBAT:][:4096])
	v.Entry(600, VHDXPartial, 12345)
	half := slices.Clone(want)
	clear(half[:16])
	at = v.PutLog(at, v.LogEntry(first, VHDXWrite{At: VHDXBAT, Data: half}))
	at = v.PutLog(at, v.LogEntry(first, VHDXWrite{At: VHDXBAT + 4096, Zeros: 8192}, VHDXWrite{At: VHDXBAT, Data: want}))
	v.PutLog(at, v.LogEntry(first))
	return v
}
