package vhdx

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"unicode/utf16"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

// Known items (§2.6.2).
var (
	guidFileParameters = parseGUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
	guidVirtualSize    = parseGUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
	guidDiskID         = parseGUID("BECA12AB-B2E6-4523-93EF-C309E000C746")
	guidLogical        = parseGUID("8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
	guidPhysical       = parseGUID("CDA348C7-445D-4471-9CC9-E9885251C556")
	guidParentLocator  = parseGUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")
)

// itemSizes are the lengths of the items that every file has.
var itemSizes = map[guid]int64{guidFileParameters: 8, guidVirtualSize: 8, guidDiskID: 16, guidLogical: 4, guidPhysical: 4}

const (
	metaTableSize  = 64 * kib
	maxItem        = mib
	itemIsUser     = 1
	itemIsRequired = 4

	leaveAllocated = 1 // file parameters
	hasParent      = 2

	minBlock = mib
	maxBlock = 256 * mib
	// sectorsPerBitmap is how many sectors a bitmap block covers: those of a chunk (§2.5).
	sectorsPerBitmap = 1 << 23
)

// A metaTable tells where the items are. Ranges are offsets in the file.
type metaTable struct {
	items map[guid]image.Range
	span  image.Range // that holds all items
}

// parseMetaTable reads the table at the start of region r (§2.6.1).
func parseMetaTable(b []byte, r region) (*metaTable, error) {
	le := binary.LittleEndian
	if !bytes.HasPrefix(b, []byte("metadata")) {
		return nil, corrupt("the metadata at %d have no signature", r.offset)
	}
	n := le.Uint16(b[10:])
	if n > maxEntries {
		return nil, corrupt("table of %d metadata items, more than %d", n, maxEntries)
	}
	t := &metaTable{items: map[guid]image.Range{}}
	for e := b[32:]; n > 0; n, e = n-1, e[32:] {
		id, offset, length, flags := guid(e[:16]), int64(le.Uint32(e[16:])), int64(le.Uint32(e[20:])), le.Uint32(e[24:])
		size, system := itemSizes[id]
		if flags&itemIsUser != 0 || !system && id != guidParentLocator {
			if flags&itemIsRequired != 0 {
				return nil, unsupported("metadata item %s must be known to read the file, and is not", id)
			}
			continue
		}
		switch _, twice := t.items[id]; {
		case twice:
			return nil, corrupt("metadata item %s is there twice", id)
		case offset < metaTableSize || offset > r.length-length || length == 0 || length > maxItem:
			return nil, corrupt("metadata item %s at %d (%d bytes) does not lie in the region of %d bytes", id, offset, length, r.length)
		case system && length != size:
			return nil, corrupt("metadata item %s has %d bytes, not %d", id, length, size)
		}
		t.add(id, image.Range{Start: r.offset + offset, Length: length})
	}
	for id := range itemSizes {
		if _, ok := t.items[id]; !ok {
			return nil, corrupt("metadata item %s is missing", id)
		}
	}
	if t.span.Length > image.MaxWant {
		return nil, unsupported("metadata items are spread over %d bytes, more than %d", t.span.Length, image.MaxWant)
	}
	return t, nil
}

func (t *metaTable) add(id guid, r image.Range) {
	t.items[id] = r
	if t.span.Length == 0 {
		t.span = r
	}
	start, end := min(t.span.Start, r.Start), max(t.span.End(), r.End())
	t.span = image.Range{Start: start, Length: end - start}
}

// metadata is what the items say.
type metadata struct {
	size     int64
	block    int64
	logical  int64
	physical int64
	fixed    bool
	diskID   guid
	differs  bool // from a parent
	parent   string
}

// parse reads the items out of t's span in b.
func (t *metaTable) parse(b []byte) (*metadata, error) {
	le := binary.LittleEndian
	item := func(id guid) []byte {
		r := t.items[id]
		return b[r.Start-t.span.Start:][:r.Length]
	}
	params, size := item(guidFileParameters), le.Uint64(item(guidVirtualSize))
	block, flags := le.Uint32(params), le.Uint32(params[4:])
	m := &metadata{
		block: int64(block), fixed: flags&leaveAllocated != 0, differs: flags&hasParent != 0,
		logical: int64(le.Uint32(item(guidLogical))), physical: int64(le.Uint32(item(guidPhysical))),
		diskID: guid(item(guidDiskID)),
	}
	switch {
	case bits.OnesCount32(block) != 1 || block < minBlock || block > maxBlock:
		return nil, corrupt("block size %d is no power of two in %d..%d", block, minBlock, maxBlock)
	case m.logical != 512 && m.logical != 4096:
		return nil, corrupt("logical sector size %d is neither 512 nor 4096", m.logical)
	case m.physical != 512 && m.physical != 4096:
		return nil, corrupt("physical sector size %d is neither 512 nor 4096", m.physical)
	case size > math.MaxInt64 || int64(size)%m.logical != 0:
		return nil, corrupt("virtual size %d is no multiple of the sector size %d", size, m.logical)
	}
	m.size = int64(size)
	if !m.differs {
		return m, nil
	}
	if _, ok := t.items[guidParentLocator]; !ok {
		return nil, corrupt("differencing disk without a parent locator")
	}
	m.parent = parentName(item(guidParentLocator))
	return m, nil
}

// readable refuses a disk whose blocks are not all its own.
func (m *metadata) readable() error {
	if !m.differs {
		return nil
	}
	return errdef.WithHint(fmt.Errorf("vhdx: differencing disk with the parent %q: %w", m.parent, errdef.ErrUnsupported),
		"merge it into its parent first: Merge-VHD in Hyper-V")
}

// blocks is the number of blocks of the disk.
func (m *metadata) blocks() int64 { return (m.size + m.block - 1) / m.block }

// chunk is the number of blocks between two entries for bitmaps in the BAT.
func (m *metadata) chunk() int64 { return sectorsPerBitmap * m.logical / m.block }

// batEntries is the number of entries that the BAT of a disk without a parent has.
func (m *metadata) batEntries() int64 {
	n := m.blocks()
	if n == 0 {
		return 0
	}
	return n + (n-1)/m.chunk()
}

// parentName picks the most telling entry of a parent locator (§2.6.2.6). What is wrong in it is left out: it is for
// a person to read and not to be trusted.
func parentName(b []byte) string {
	const head, entry = 20, 12
	le := binary.LittleEndian
	if len(b) < head {
		return ""
	}
	text := func(off uint32, n uint16) string {
		if uint64(off)+uint64(n) > uint64(len(b)) {
			return ""
		}
		p := b[off:][:n&^1]
		u := make([]uint16, 0, len(p)/2)
		for ; len(p) > 0; p = p[2:] {
			u = append(u, le.Uint16(p))
		}
		return string(utf16.Decode(u))
	}
	values := map[string]string{}
	for n, e := le.Uint16(b[18:]), b[head:]; n > 0 && len(e) >= entry && len(values) < 100; n, e = n-1, e[entry:] {
		values[text(le.Uint32(e), le.Uint16(e[8:]))] = text(le.Uint32(e[4:]), le.Uint16(e[10:]))
	}
	for _, key := range []string{"relative_path", "absolute_win32_path", "volume_path", "parent_linkage"} {
		if v := values[key]; v != "" {
			return v
		}
	}
	return ""
}
