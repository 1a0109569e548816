package vmdk

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/blob"
)

// Flags of a sparse extent's header. A reader must know those of the upper half.
const (
	flagNewlines   uint32 = 1 << 0
	flagRedundant  uint32 = 1 << 1
	flagZeroGrains uint32 = 1 << 2
	flagCompressed uint32 = 1 << 16
	flagMarkers    uint32 = 1 << 17
	flagsMustKnow  uint32 = 0xffff_0000
)

const (
	sparseHeaderLen = sector
	gtesPerTable    = 512 // in hosted sparse extents
	gteZero         = 1   // a zeroed grain, with flagZeroGrains
	gdAtEnd         = 1<<64 - 1
	algoDeflate     = 1

	minGrain       = 8       // sectors, by the specification
	maxGrain       = 1 << 21 // sectors, QEMU's bound
	maxPackedGrain = 2 << 20 // bytes: a grain is decoded in memory by each worker. VMware writes 64 KiB
	maxEmbedded    = 1 << 20 // bytes of an embedded descriptor. Tools reserve 10 KiB
)

// sparseHeader is the header of a hosted sparse extent ("Hosted Sparse Extents"), of which parseSparse has checked what
// follows from itself.
type sparseHeader struct {
	version, flags      uint32
	capacity, grain     uint64 // sectors
	descOffset, descLen uint64 // sectors
	rgd, gd, overhead   uint64 // sectors
	algorithm           uint16
	footer              bool // gd comes from the footer, which lies in the last but one sector
}

func (h *sparseHeader) size() int64      { return int64(h.capacity) * sector }
func (h *sparseHeader) grainSize() int64 { return int64(h.grain) * sector }
func (h *sparseHeader) packed() bool     { return h.algorithm == algoDeflate }
func (h *sparseHeader) markers() bool    { return h.flags&flagMarkers != 0 }

// tables is the number of grain tables that the capacity needs.
func (h *sparseHeader) tables() int64 {
	coverage := h.grain * gtesPerTable
	return int64(h.capacity/coverage) + min(1, int64(h.capacity%coverage))
}

// parseSparse reads a header of sparseHeaderLen bytes. It follows no offset.
func parseSparse(b []byte) (*sparseHeader, error) {
	le := binary.LittleEndian
	h := &sparseHeader{
		version: le.Uint32(b[4:]), flags: le.Uint32(b[8:]), capacity: le.Uint64(b[12:]), grain: le.Uint64(b[20:]),
		descOffset: le.Uint64(b[28:]), descLen: le.Uint64(b[36:]), rgd: le.Uint64(b[48:]), gd: le.Uint64(b[56:]),
		overhead: le.Uint64(b[64:]), algorithm: le.Uint16(b[77:]),
	}
	gtes := le.Uint32(b[44:])
	switch {
	case !hasMagic(b, Magic):
		return nil, corrupt("no magic of a sparse extent: %q", b[:4])
	case h.version == 0:
		return nil, corrupt("version 0")
	case h.version > 3:
		return nil, unsupported("version %d, known are 1 to 3", h.version)
	case h.flags&flagsMustKnow&^(flagCompressed|flagMarkers) != 0:
		return nil, unsupported("unknown flags %#x", h.flags&flagsMustKnow&^(flagCompressed|flagMarkers))
	case h.flags&flagNewlines != 0 && string(b[73:77]) != "\n \r\n":
		return nil, errdef.WithHint(corrupt("line ends in the header are %q: the file was transferred as text", b[73:77]),
			"transfer it again, in binary mode")
	case h.algorithm > algoDeflate:
		return nil, unsupported("compression algorithm %d", h.algorithm)
	case h.packed() != (h.flags&flagCompressed != 0):
		return nil, corrupt("compression algorithm %d disagrees with flags %#x", h.algorithm, h.flags)
	case h.capacity == 0:
		return nil, unsupported("capacity 0: the file holds no part of a disk")
	case gtes != gtesPerTable:
		return nil, unsupported("grain tables of %d entries, known are those of %d", gtes, gtesPerTable)
	case h.grain < minGrain || h.grain > maxGrain || h.grain&(h.grain-1) != 0:
		return nil, corrupt("grain size of %d sectors is no power of two in %d..%d", h.grain, minGrain, maxGrain)
	case h.packed() && h.grainSize() > maxPackedGrain:
		return nil, unsupported("compressed grains of %d bytes, more than %d", h.grainSize(), maxPackedGrain)
	}
	if _, ok := bytes64(h.capacity); !ok {
		return nil, corrupt("capacity of %d sectors", h.capacity)
	}
	return h, nil
}

// sparseHeader reads the header and, where it says so and the file is known to its end, the footer.
func (p prefix) sparseHeader() (*sparseHeader, error) {
	b, err := p.At(0, sparseHeaderLen, "header")
	if err != nil {
		return nil, err
	}
	h, err := parseSparse(b)
	if err != nil || h.gd != gdAtEnd || p.Size < 0 {
		return h, err
	}
	// "Stream-Optimized Compressed Sparse Extents": footer marker, footer and end-of-stream marker end the file.
	const n = 3 * sector
	if p.Size%sector != 0 || p.Size < sparseHeaderLen+n {
		return nil, corrupt("a file of %d bytes cannot end in a footer", p.Size)
	}
	if b, err = p.At(p.Size-n, n, "footer"); err != nil {
		return nil, err
	}
	if m := parseMarker(b); m.size != 0 || m.kind != markerFooter {
		return nil, corrupt("no footer marker at %d: the file is cut short, or goes on behind its end", p.Size-n)
	}
	if m := parseMarker(b[2*sector:]); m != (marker{}) {
		return nil, corrupt("no end-of-stream marker at %d", p.Size-sector)
	}
	return h.withFooter(b[sector : 2*sector])
}

// withFooter takes the place of the grain directory from the footer, which else must say what the header says.
func (h *sparseHeader) withFooter(b []byte) (*sparseHeader, error) {
	f, err := parseSparse(b)
	switch {
	case err != nil:
		return nil, fmt.Errorf("footer: %w", err)
	case f.gd == gdAtEnd:
		return nil, corrupt("footer without a grain directory: it is at sector %#x, which means in the footer", f.gd)
	}
	for _, v := range []struct {
		name           string
		header, footer uint64
	}{
		{"capacity", h.capacity, f.capacity}, {"grain size", h.grain, f.grain}, {"flags", uint64(h.flags), uint64(f.flags)},
		{"compression", uint64(h.algorithm), uint64(f.algorithm)}, {"version", uint64(h.version), uint64(f.version)},
	} {
		if v.header != v.footer {
			return nil, corrupt("footer and header disagree: %s %d and %d", v.name, v.footer, v.header)
		}
	}
	g := *h
	g.gd, g.footer = f.gd, true
	return &g, nil
}

// embedded reads the descriptor inside of a sparse extent and refuses what is not all of a disk.
func (p prefix) embedded(h *sparseHeader, parent bool) (*descriptor, error) {
	off, n, err := h.descriptorRange()
	if err != nil {
		return nil, err
	}
	b, err := p.At(off, n, "descriptor")
	if err != nil {
		return nil, err
	}
	return parseEmbedded(b, parent)
}

// descriptorRange is where the embedded descriptor lies.
func (h *sparseHeader) descriptorRange() (off, n int64, err error) {
	off, ok := bytes64(h.descOffset)
	switch {
	case h.descOffset == 0 || h.descLen == 0:
		return 0, 0, errdef.WithHint(unsupported("this file is one extent of a disk, not a disk: it has no descriptor (%d sectors at %d)", h.descLen, h.descOffset), hintDescriptor)
	case !ok:
		return 0, 0, corrupt("descriptor at sector %d", h.descOffset)
	case h.descLen > maxEmbedded/sector:
		return 0, 0, corrupt("embedded descriptor of %d sectors is longer than %d bytes", h.descLen, maxEmbedded)
	}
	return off, int64(h.descLen) * sector, nil
}

func parseEmbedded(b []byte, parent bool) (*descriptor, error) {
	d, err := parseDescriptor(b)
	if err != nil {
		return nil, err
	}
	if err := d.readable(parent); err != nil {
		return nil, err
	}
	if len(d.extents) != 1 {
		return nil, errdef.WithHint(unsupported("this file is one of the %d extents of a disk", len(d.extents)),
			"put the disk into one file first: vmware-vdiskmanager -r IN -t 0 OUT")
	}
	return d, nil
}

// newSparse makes a sparse extent of a file with header h, and reads its grain directory.
func newSparse(ctx context.Context, ra io.ReaderAt, stored int64, h *sparseHeader, mem *budget) (*extent, error) {
	if n, ok := bytes64(h.overhead); !ok || n > stored {
		return nil, corrupt("metadata of %d sectors pass the end of the stored file (%d bytes)", h.overhead, stored)
	}
	gd, err := h.directory()
	if err != nil {
		return nil, err
	}
	e := &extent{
		size: h.size(), ra: ra, stored: stored, layout: layout4,
		grainBits: uint(bits.TrailingZeros64(h.grain)) + 9, tableBits: 9,
		zeroGrains: h.flags&flagZeroGrains != 0, packed: h.packed(), markers: h.markers(),
	}
	e.areas = h.areas()
	if err := e.readDirectory(ctx, gd, h.tables(), mem); err != nil {
		return nil, err
	}
	return e, nil
}

// directory is where the grain directory lies.
func (h *sparseHeader) directory() (int64, error) {
	gd, ok := bytes64(h.gd)
	if !ok || h.gd == 0 {
		return 0, corrupt("grain directory at sector %d", h.gd)
	}
	if off, n, err := h.descriptorRange(); err == nil && gd < off+n && off < gd+4*h.tables() {
		return 0, corrupt("grain directory at %d overlaps the descriptor", gd)
	}
	return gd, nil
}

// areas are those parts of the file that can hold no grain.
func (h *sparseHeader) areas() []area {
	l := []area{{0, sparseHeaderLen, "the header"}}
	if off, n, err := h.descriptorRange(); err == nil {
		l = append(l, area{off, off + n, "the descriptor"})
	}
	if gd, ok := bytes64(h.gd); ok {
		l = append(l, area{gd, gd + 4*h.tables(), "the grain directory"})
	}
	return l
}

// readDirectory reads the n entries at off and checks them.
func (e *extent) readDirectory(ctx context.Context, off, n int64, mem *budget) error {
	entry := e.layout.entryBytes()
	if err := blob.Inside("vmdk", "grain directory", off, n*entry, e.stored); err != nil {
		return err
	}
	if err := mem.take("grain directory", n*4); err != nil {
		return err
	}
	e.gd = make([]uint32, n)
	buf := make([]byte, min(n*entry, 256<<10))
	for i := int64(0); i < n; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:min(int64(len(buf)), (n-i)*entry)]
		if err := blob.ReadFull("vmdk", e.ra, b, off+i*entry, "grain directory"); err != nil {
			return err
		}
		got := int64(len(b)) / entry
		if err := e.decodeDirectory(e.gd[i:i+got], b, i); err != nil {
			return err
		}
		i += got
	}
	return e.checkDirectory(mem)
}

// checkDirectory refuses tables outside of the file and tables that overlap: two entries with one table would make a
// small file into a large disk full of data, and no tool writes that.
func (e *extent) checkDirectory(mem *budget) error {
	sectors := uint32(e.tableBytes() / sector)
	ascending, used, last := true, int64(0), uint32(0)
	for i, at := range e.gd {
		if at == 0 {
			continue
		}
		if err := e.checkTable(int64(i), at); err != nil {
			return err
		}
		ascending = ascending && (used == 0 || at-last >= sectors && at > last)
		used, last = used+1, at
	}
	if ascending {
		return nil
	}
	if err := mem.take("grain directory out of order", used*4); err != nil {
		return err
	}
	defer func() { mem.used -= used * 4 }()
	all := make([]uint32, 0, used)
	for _, at := range e.gd {
		if at != 0 {
			all = append(all, at)
		}
	}
	slices.Sort(all)
	for i := 1; i < len(all); i++ {
		if all[i]-all[i-1] < sectors {
			return corrupt("grain tables at sectors %d and %d overlap", all[i-1], all[i])
		}
	}
	return nil
}

// checkTable checks where grain table i lies.
func (e *extent) checkTable(i int64, at uint32) error {
	off := int64(at) * sector
	if err := blob.Inside("vmdk", "grain table", off, e.tableBytes(), e.stored); err != nil {
		return err
	}
	for _, a := range e.areas {
		if off < a.end && off+e.tableBytes() > a.start {
			return corrupt("grain table %d at %d overlaps %s", i, off, a.what)
		}
	}
	return nil
}
