package vmdk

import (
	"fmt"
	"io"
	"sort"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

// A disk is its extents, one behind the other, open for reading. It is safe for concurrent use.
type disk struct {
	extents  []*extent
	size     int64
	cid      uint32
	grain    int64 // the largest of a compressed extent; 0 without one
	tables   *cache
	unpacker unpacker
	gap      int64
	batches  sync.Pool // of *batch
	recent   recent
}

// newDisk puts the extents behind each other.
func newDisk(extents []*extent, o Options) *disk {
	d := &disk{extents: extents, gap: max(o.Gap, 0)}
	tables := int64(0)
	for _, e := range extents {
		e.start, e.firstTable = d.size, tables
		d.size += e.size
		tables += int64(len(e.gd))
		if e.packed {
			d.grain = max(d.grain, e.grain())
		}
	}
	d.tables = newCache(d, o.Limits.Metadata)
	d.unpacker.init(d.grain)
	d.batches.New = func() any { return new(batch) }
	return d
}

// Size is the virtual size.
func (d *disk) Size() int64 { return d.size }

// ClusterSize is what is decoded at once: reads of whole grains decode nothing twice. It is 0 without compressed grains.
func (d *disk) ClusterSize() int64 { return d.grain }

// Close does nothing: one file is the caller's.
func (d *disk) Close() error { return nil }

// at returns the extent that holds byte off of the disk.
func (d *disk) at(off int64) *extent {
	if len(d.extents) == 1 {
		return d.extents[0]
	}
	return d.extents[sort.Search(len(d.extents), func(i int) bool { return d.extents[i].end() > off })]
}

// query checks the range of a question for extents and returns its end.
func (d *disk) query(off, n int64) (int64, error) {
	if off < 0 || n <= 0 || off >= d.size {
		return 0, fmt.Errorf("vmdk: query [%d,+%d) in a disk of %d bytes: %w", off, n, d.size, errdef.ErrUsage)
	}
	return off + min(n, d.size-off), nil
}

// A cursor looks up spans and remembers the table it looked at. It is for one goroutine.
type cursor struct {
	d    *disk
	no   int64 // of the table + 1; 0 is none
	data []byte
}

// span returns a span that begins at off and does not pass end: as long as one table, a run of empty directory entries or
// a flat extent's file can tell. 0 ≤ off < end ≤ size.
func (c *cursor) span(off, end int64) (span, error) {
	e := c.d.at(off)
	end = min(end, e.end())
	s, err := c.inExtent(e, off, end)
	switch {
	case err == nil:
		s.n = min(s.n, end-off)
		return s, nil
	case e.name != "":
		return span{}, fmt.Errorf("extent file %q, guest offset %d: %w", e.name, off, err)
	}
	return span{}, fmt.Errorf("guest offset %d: %w", off, err)
}

func (c *cursor) inExtent(e *extent, off, end int64) (span, error) {
	in := off - e.start
	if e.layout == layoutFlat {
		return e.spanFlat(in, end-off)
	}
	i := in / e.reach()
	if e.gd[i] == 0 {
		last := (end - 1 - e.start) / e.reach()
		for i++; i <= last && e.gd[i] == 0; i++ {
		}
		return span{e: e, kind: spanHole, guest: off, n: i*e.reach() - in}, nil
	}
	if no := e.firstTable + i; c.no != no+1 {
		data, err := c.d.tables.get(e, i)
		if err != nil {
			return span{}, err
		}
		c.no, c.data = no+1, data
	}
	first := in >> e.grainBits & (1<<e.tableBits - 1)
	n := min(1<<e.tableBits-first, (end-1-e.start)>>e.grainBits-in>>e.grainBits+1)
	entry := e.layout.entryBytes()
	return e.spanTable(c.data[first*entry:][:n*entry], in)
}

// spanFlat tells the run of at most n bytes at byte in of a flat extent.
func (e *extent) spanFlat(in, n int64) (span, error) {
	s := span{e: e, kind: spanData, guest: e.start + in, n: n, host: e.flat + in}
	if e.holes == nil {
		return s, nil
	}
	x, err := image.Next(e.holes, s.host, n)
	if err != nil {
		return span{}, err
	}
	s.n = x.Length
	switch x.Kind {
	case image.Hole:
		s.kind = spanHole
	case image.Zero:
		s.kind = spanZero
	case image.Data:
	default:
		return span{}, corrupt("flat extent with a run that is %v", x.Kind)
	}
	return s, nil
}

// NextExtent returns the extent that begins at off, no longer than max.
func (d *disk) NextExtent(off, max int64) (image.Extent, error) {
	end, err := d.query(off, max)
	if err != nil {
		return image.Extent{}, err
	}
	c := cursor{d: d}
	s, err := c.span(off, end)
	if err != nil {
		return image.Extent{}, err
	}
	x := image.Extent{Start: off, Length: s.n, Kind: s.kind.kind()}
	for x.End() < end {
		t, wrong := c.span(x.End(), end)
		if wrong != nil || t.kind.kind() != x.Kind {
			break // what is wrong behind this extent is for the next question
		}
		x.Length += t.n
	}
	return x, nil //nolint:nilerr // as said
}

// ReadAt reads from the disk; holes and zeros read as zeros.
func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	return d.read(p, off, func(p []byte, _ int64) error {
		clear(p)
		return nil
	})
}

// read is ReadAt; hole fills p with what the disk has at off where no file of its own has anything.
func (d *disk) read(p []byte, off int64, hole func(p []byte, off int64) error) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("vmdk: read at negative offset %d: %w", off, errdef.ErrUsage)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off >= d.size {
		return 0, io.EOF
	}
	want := len(p)
	p = p[:min(int64(len(p)), d.size-off)]
	s := scan{c: cursor{d: d}, pos: off, end: off + int64(len(p))}
	for done := 0; done < len(p); {
		sp, err := s.next()
		if err != nil {
			return done, err
		}
		n := int(sp.n)
		switch sp.kind {
		case spanHole:
			err = hole(p[done:][:n], sp.guest)
		case spanZero:
			clear(p[done:][:n])
		case spanData:
			err = readFull(sp.e.ra, p[done:][:n], sp.host, "data")
		case spanPacked:
			n, err = d.readPacked(p[done:], sp, &s)
		}
		if err != nil {
			return done, fmt.Errorf("guest offset %d: %w", sp.guest, err)
		}
		done += n
	}
	if len(p) < want {
		return len(p), io.EOF
	}
	return len(p), nil
}

// A scan goes through the spans of a range and joins what belongs together.
type scan struct {
	c        cursor
	pos, end int64
	ahead    span // the span at pos, if it has a length
}

// peek returns the span at pos without going on; false at the end, or where the tables are wrong, which next will say.
func (s *scan) peek() (span, bool) {
	if s.ahead.n == 0 && s.pos < s.end {
		if sp, err := s.c.span(s.pos, s.end); err == nil {
			s.ahead = sp
		}
	}
	return s.ahead, s.ahead.n > 0
}

func (s *scan) take() {
	s.pos += s.ahead.n
	s.ahead = span{}
}

func (s *scan) next() (span, error) {
	sp := s.ahead
	if sp.n == 0 {
		var err error
		if sp, err = s.c.span(s.pos, s.end); err != nil {
			return span{}, err
		}
		s.ahead = sp
	}
	s.take()
	for sp.kind != spanPacked {
		t, ok := s.peek()
		if !ok || !sp.followedBy(t) {
			break
		}
		s.take()
		sp.n += t.n
	}
	return sp, nil
}
