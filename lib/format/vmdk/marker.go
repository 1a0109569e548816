package vmdk

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

// Kinds of markers without data ("Stream-Optimized Compressed Sparse Extents").
const (
	markerEnd       = 0
	markerTable     = 1
	markerDirectory = 2
	markerFooter    = 3
)

// markerLen is the part of a marker that says something; the rest of its sector is padding.
const markerLen = 16

// A marker begins a sector of a stream: with a size, it is the start of a grain of that many bytes, and value its sector
// in the disk; without, it is followed by value sectors of what its kind says.
type marker struct {
	value uint64
	size  uint32
	kind  uint32
}

func parseMarker(b []byte) marker {
	le := binary.LittleEndian
	return marker{value: le.Uint64(b), size: le.Uint32(b[8:]), kind: le.Uint32(b[12:])}
}

// A stream follows the markers of a disk whose tables lie behind its grains. The tables that pass must say what the
// markers said: of each table's entries only a sum is held, keyed so that a file cannot be made to fit it.
type stream struct {
	h    *sparseHeader
	seed maphash.Seed
	mem  *budget

	state streamState
	at    int64         // of the marker
	want  []image.Range // of what follows it; the first is asked for
	m     marker        // the one at at

	grains map[uint32]*grains // by table number
	tables []passedTable      // in the order of the file
	gd     int64              // bytes, of the directory that is passing
	gds    []int64            // of those that have passed
	footer int64              // where the footer says that the directory is; 0 before it
	end    int64              // of the stream, once the end-of-stream marker has passed
}

type streamState uint8

const (
	streamMarker streamState = iota // the first grainMarkerLen bytes of a marker
	streamKind                      // the kind of a marker without a size
	streamTable
	streamDirectory
	streamFooter
	streamEnded
)

// grains are those of one table that have passed.
type grains struct {
	seen [gtesPerTable / 64]uint64
	sum  uint64
}

// A passedTable is a grain table at a sector of the file.
type passedTable struct {
	at  uint32
	sum uint64
}

const (
	grainsOverhead = 8 + gtesPerTable/8 + 8 + 32 // with its place in the map, about
	maxDirectories = 2                           // the directory, and the redundant one
)

func newStream(h *sparseHeader, mem *budget) (*stream, error) {
	start, ok := bytes64(h.overhead)
	off, n, err := h.descriptorRange()
	switch {
	case err != nil:
		return nil, err
	case !ok || start < off+n:
		return nil, corrupt("metadata of %d sectors, which the descriptor passes", h.overhead)
	}
	s := &stream{h: h, seed: maphash.MakeSeed(), mem: mem, at: start, grains: map[uint32]*grains{}}
	s.expect(streamMarker, image.Range{Start: start, Length: grainMarkerLen})
	return s, nil
}

func (s *stream) expect(state streamState, r image.Range) {
	s.state, s.want = state, append(s.want[:0], r)
}

// next is the range that the stream needs; false at its end.
func (s *stream) next() (image.Range, bool) {
	if s.state == streamEnded {
		return image.Range{}, false
	}
	return s.want[0], true
}

// learn takes the range that next returned.
func (s *stream) learn(p []byte, runs []image.Run) ([]image.Run, error) {
	switch s.state {
	case streamMarker:
		s.m = parseMarker(append(p[:grainMarkerLen:grainMarkerLen], 0, 0, 0, 0))
		if s.m.size == 0 {
			s.expect(streamKind, image.Range{Start: s.at + grainMarkerLen, Length: markerLen - grainMarkerLen})
			return runs, nil
		}
		return s.grain(runs)
	case streamKind:
		s.m.kind = binary.LittleEndian.Uint32(p)
		return runs, s.metadata()
	case streamTable:
		return runs, s.table(p)
	case streamDirectory:
		return runs, s.directory(p)
	case streamFooter:
		return runs, s.readFooter(p)
	}
	return runs, fmt.Errorf("vmdk: learnt behind the end: %w", errdef.ErrUsage)
}

// grain takes a grain's marker: its data follow at once.
func (s *stream) grain(runs []image.Run) ([]image.Run, error) {
	h := s.h
	n := int64(s.m.size)
	switch {
	case s.footer != 0 || len(s.gds) > 0:
		return nil, s.fail("a grain behind the grain directory")
	case s.m.value >= h.capacity || s.m.value%h.grain != 0:
		return nil, s.fail("grain of sector %d, the disk has %d and grains of %d", s.m.value, h.capacity, h.grain)
	case n > 2*h.grainSize()-grainMarkerLen:
		return nil, s.fail("grain of %d bytes", n)
	}
	no := s.m.value / h.grain
	if err := s.note(uint32(no/gtesPerTable), int(no%gtesPerTable)); err != nil {
		return nil, err
	}
	guest := int64(s.m.value) * sector
	run := image.Run{
		Guest: guest, Length: min(h.grainSize(), h.size()-guest),
		Stored: s.at + grainMarkerLen, StoredLength: n, Packed: true,
	}
	return append(runs, run), s.goOn(grainMarkerLen + n)
}

// note remembers that entry i of a table must be the grain at s.at.
func (s *stream) note(no uint32, i int) error {
	at := s.at / sector
	if at > 1<<32-1 {
		return s.fail("grain at sector %d, which no table can tell", at)
	}
	g := s.grains[no]
	if g == nil {
		if err := s.mem.take("list of passed grains", grainsOverhead); err != nil {
			return err
		}
		g = new(grains)
		s.grains[no] = g
	}
	if g.seen[i/64]>>(i%64)&1 != 0 {
		return s.fail("grain of sector %d is there twice", s.m.value)
	}
	g.seen[i/64] |= 1 << (i % 64)
	g.sum += s.mix(i, uint32(at))
	return nil
}

// mix makes a number of one entry of a table.
func (s *stream) mix(i int, at uint32) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint32(b[:], uint32(i))
	binary.LittleEndian.PutUint32(b[4:], at)
	return maphash.Bytes(s.seed, b[:])
}

// goOn goes n bytes ahead, to the next sector.
func (s *stream) goOn(n int64) error {
	s.at += (n + sector - 1) &^ (sector - 1)
	s.expect(streamMarker, image.Range{Start: s.at, Length: grainMarkerLen})
	return nil
}

// metadata takes a marker without data of its own.
func (s *stream) metadata() error {
	h := s.h
	body := s.at + sector
	tables := h.tables()
	want := map[uint32]uint64{markerTable: gtesPerTable * 4 / sector, markerDirectory: uint64((tables*4 + sector - 1) / sector), markerFooter: 1, markerEnd: 0}
	n, ok := want[s.m.kind]
	switch {
	case !ok:
		return s.fail("marker of kind %d", s.m.kind)
	case s.m.value != n:
		return s.fail("marker of kind %d with %d sectors, want %d", s.m.kind, s.m.value, n)
	}
	switch s.m.kind {
	case markerTable:
		if s.footer != 0 {
			return s.fail("a grain table behind the footer")
		}
		s.expect(streamTable, image.Range{Start: body, Length: gtesPerTable * 4})
	case markerDirectory:
		if s.footer != 0 || len(s.gds) == maxDirectories {
			return s.fail("one more grain directory")
		}
		s.gd = body
		s.expect(streamDirectory, image.Range{Start: body, Length: min(tables*4, image.MaxWant)})
	case markerFooter:
		if s.footer != 0 {
			return s.fail("one more footer")
		}
		s.expect(streamFooter, image.Range{Start: body, Length: sector})
	case markerEnd:
		return s.finish(body)
	}
	return nil
}

// table takes a grain table.
func (s *stream) table(p []byte) error {
	body := s.at + sector
	if body/sector > 1<<32-1 {
		return s.fail("grain table at sector %d", body/sector)
	}
	if err := s.mem.take("list of passed tables", 16); err != nil {
		return err
	}
	t := passedTable{at: uint32(body / sector)}
	for i := range gtesPerTable {
		at := binary.LittleEndian.Uint32(p[4*i:])
		if at != 0 && (at != gteZero || s.h.flags&flagZeroGrains == 0) {
			t.sum += s.mix(i, at)
		}
	}
	s.tables = append(s.tables, t)
	return s.goOn(sector + gtesPerTable*4)
}

// directory takes a piece of a grain directory and compares it with what has passed.
func (s *stream) directory(p []byte) error {
	r := s.want[0]
	first := (r.Start - s.gd) / 4
	for i := range len(p) / 4 {
		at, no := binary.LittleEndian.Uint32(p[4*i:]), first+int64(i)
		sum := uint64(0)
		if at != 0 {
			k, ok := slices.BinarySearchFunc(s.tables, at, func(t passedTable, at uint32) int { return cmp.Compare(t.at, at) })
			if !ok {
				return s.fail("directory entry %d is sector %d, where no grain table has passed", no, at)
			}
			sum = s.tables[k].sum
		}
		passed := uint64(0)
		if g := s.grains[uint32(no)]; g != nil {
			passed = g.sum
		}
		if sum != passed {
			return s.fail("grain table %d at sector %d is not that of the grains that have passed", no, at)
		}
	}
	total := s.h.tables() * 4
	if end := r.End() - s.gd; end < total {
		s.expect(streamDirectory, image.Range{Start: r.End(), Length: min(total-end, image.MaxWant)})
		return nil
	}
	s.gds = append(s.gds, s.gd)
	return s.goOn(sector + total)
}

func (s *stream) readFooter(p []byte) error {
	if s.h.gd != gdAtEnd {
		return s.fail("a footer, but the header has the place of the grain directory")
	}
	f, err := s.h.withFooter(p)
	if err != nil {
		return err
	}
	gd, ok := bytes64(f.gd)
	if !ok || !slices.Contains(s.gds, gd) {
		return s.fail("the footer tells of a grain directory at sector %d, where none has passed", f.gd)
	}
	s.footer = gd
	return s.goOn(2 * sector)
}

// finish takes the end-of-stream marker.
func (s *stream) finish(end int64) error {
	switch {
	case s.h.gd == gdAtEnd && s.footer == 0:
		return s.fail("the stream ends without a footer")
	case s.h.gd != gdAtEnd && !slices.Contains(s.gds, int64(s.h.gd)*sector):
		return s.fail("the header tells of a grain directory at sector %d, where none has passed", s.h.gd)
	}
	s.state, s.end = streamEnded, end
	return nil
}

func (s *stream) fail(format string, args ...any) error {
	return corrupt("marker at %d: %s", s.at, fmt.Sprintf(format, args...))
}
