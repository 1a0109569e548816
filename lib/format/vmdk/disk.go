package vmdk

import (
	"fmt"
	"sort"

	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/blob"
	"github.com/cdictl/cdictl/lib/internal/span"
	"github.com/cdictl/cdictl/lib/internal/tables"
)

// A disk is its extents, one behind the other, open for reading. It is safe for concurrent use.
type disk struct {
	*span.Disk
	extents  []*extent
	size     int64
	cid      uint32
	grain    int64         // the largest of a compressed extent; 0 without one
	tables   *tables.Cache // grain tables, by their number in the disk
	unpacker unpacker
}

// newDisk puts the extents behind each other.
func newDisk(extents []*extent, o Options) *disk {
	d := &disk{extents: extents}
	gap := max(o.Gap, 0)
	n, largest := int64(0), int64(1)
	for i, e := range extents {
		e.no, e.start, e.firstTable = i, d.size, n
		d.size += e.size
		n += int64(len(e.gd))
		if len(e.gd) > 0 {
			largest = max(largest, e.tableBytes())
		}
		if e.packed {
			d.grain = max(d.grain, e.grain())
		}
	}
	d.tables = tables.New(tables.Options{
		Format: "vmdk", What: "grain table", Largest: largest, Metadata: o.Limits.Metadata, Gap: gap, Find: d.findTable,
	})
	d.unpacker.init(d.grain)
	d.Disk = span.NewDisk(span.Options{
		Format: "vmdk", Size: d.size, Unit: d.grain, Gap: gap,
		Find: func() span.Finder { return &cursor{d: d} },
		Read: func(file int, p []byte, off int64, what string) error {
			return blob.ReadFull("vmdk", extents[file].ra, p, off, what)
		},
		Unpack: func(dst, stored []byte, s span.Span) error {
			e := extents[s.File]
			_, err := d.unpacker.unpack(dst, stored, e.grain(), e.markers)
			return err
		},
	})
	return d
}

// at returns the extent that holds byte off of the disk.
func (d *disk) at(off int64) *extent {
	if len(d.extents) == 1 {
		return d.extents[0]
	}
	return d.extents[sort.Search(len(d.extents), func(i int) bool { return d.extents[i].end() > off })]
}

// findTable tells where a grain table is stored, see [tables.Options].
func (d *disk) findTable(no int64) (p tables.Place, next int64) {
	e := d.extents[sort.Search(len(d.extents), func(i int) bool {
		return d.extents[i].firstTable+int64(len(d.extents[i].gd)) > no
	})]
	i := no - e.firstTable
	if e.gd[i] != 0 {
		p = tables.Place{File: e.ra, At: int64(e.gd[i]) * sector, Size: e.tableBytes()}
	}
	if i+1 == int64(len(e.gd)) {
		return p, -1
	}
	return p, no + 1
}

// A cursor looks up spans and remembers the table it looked at. It is for one goroutine.
type cursor struct {
	d    *disk
	no   int64 // of the table + 1; 0 is none
	data []byte
}

// Span returns a span that begins at off and does not pass end: as long as one table, a run of empty directory entries or
// a flat extent's file can tell. 0 ≤ off < end ≤ size.
func (c *cursor) Span(off, end int64) (span.Span, error) {
	e := c.d.at(off)
	end = min(end, e.end())
	s, err := c.inExtent(e, off, end)
	switch {
	case err == nil:
		s.N = min(s.N, end-off)
		return s, nil
	case e.name != "":
		return span.Span{}, fmt.Errorf("extent file %q, guest offset %d: %w", e.name, off, err)
	}
	return span.Span{}, fmt.Errorf("guest offset %d: %w", off, err)
}

func (c *cursor) inExtent(e *extent, off, end int64) (span.Span, error) {
	in := off - e.start
	if e.layout == layoutFlat {
		return e.spanFlat(in, end-off)
	}
	i := in / e.reach()
	if e.gd[i] == 0 {
		last := (end - 1 - e.start) / e.reach()
		for i++; i <= last && e.gd[i] == 0; i++ {
		}
		return span.Span{File: e.no, Kind: span.Hole, Guest: off, N: i*e.reach() - in}, nil
	}
	if no := e.firstTable + i; c.no != no+1 {
		data, err := c.d.tables.Get(no)
		if err != nil {
			return span.Span{}, err
		}
		c.no, c.data = no+1, data
	}
	first := in >> e.grainBits & (1<<e.tableBits - 1)
	n := min(1<<e.tableBits-first, (end-1-e.start)>>e.grainBits-in>>e.grainBits+1)
	entry := e.layout.entryBytes()
	return e.spanTable(c.data[first*entry:][:n*entry], in)
}

// spanFlat tells the run of at most n bytes at byte in of a flat extent.
func (e *extent) spanFlat(in, n int64) (span.Span, error) {
	s := span.Span{File: e.no, Kind: span.Data, Guest: e.start + in, N: n, Host: e.flat + in}
	if e.holes == nil {
		return s, nil
	}
	x, err := image.Next(e.holes, s.Host, n)
	if err != nil {
		return span.Span{}, err
	}
	s.N = x.Length
	switch x.Kind {
	case image.Hole:
		s.Kind = span.Hole
	case image.Zero:
		s.Kind = span.Zero
	case image.Data:
	default:
		return span.Span{}, corrupt("flat extent with a run that is %v", x.Kind)
	}
	return s, nil
}
