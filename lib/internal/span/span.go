// Package span reads a disk in spans: runs of its bytes that are holes, zeros, data in one piece of a stored file, or part of
// something compressed. The formats with tables have this in common. A format's [Finder] looks the spans up; a [Disk]
// reads them and tells its extents, [Runs] lists where they are stored, an [Overlay] has another disk under its holes.
package span

import (
	"iter"

	"github.com/cdictl/cdictl/lib/image"
)

// A Kind is what a span is stored as.
type Kind uint8

// The kinds.
const (
	Hole   Kind = iota // nowhere
	Zero               // as zeros, which take no place
	Data               // as it is
	Packed             // compressed
)

// Extent is the kind of an extent that a span is part of.
func (k Kind) Extent() image.Kind {
	switch k {
	case Hole:
		return image.Hole
	case Zero:
		return image.Zero
	}
	return image.Data
}

// A Span is N bytes of one kind at Guest.
type Span struct {
	Kind     Kind
	Guest, N int64
	// File is the number of the stored file that holds it, as [Options].Read knows it, and Host where that has the first byte
	// of Data, or of a packed unit. It is 0 for what is stored nowhere.
	File int
	Host int64
	// Packed is how many stored bytes a packed unit has at most. The span is all or part of the unit, which is decoded
	// whole: Length bytes at First.
	Packed, First, Length int64
}

// End is the offset behind the span.
func (s Span) End() int64 { return s.Guest + s.N }

// whole reports whether the span is all of its unit.
func (s Span) whole() bool { return s.Guest == s.First && s.N == s.Length }

// followedBy reports whether t goes on where s ends, in the disk and in the stored file.
func (s Span) followedBy(t Span) bool {
	return s.Kind == t.Kind && s.Kind != Packed && s.File == t.File && s.End() == t.Guest && (s.Kind != Data || s.Host+s.N == t.Host)
}

// Run is where the bytes of Data are stored, or those of the whole unit.
func (s Span) Run() image.Run {
	if s.Kind == Packed {
		return image.Run{Guest: s.First, Length: s.Length, Stored: s.Host, StoredLength: s.Packed, Packed: true}
	}
	return image.Run{Guest: s.Guest, Length: s.N, Stored: s.Host, StoredLength: s.N}
}

// A Finder looks up spans. It is for one goroutine, and may remember what it looked at.
type Finder interface {
	// Span returns a span that begins at off and does not pass end; 0 ≤ off < end ≤ size. The next one may go on with it.
	Span(off, end int64) (Span, error)
}

// Runs tells where the bytes of [off, off+n) of a disk in one stored file are, in guest order, see image.Mapper. A plain run
// is as long as bytes follow each other both in the disk and in the file.
func Runs(d *Disk, off, n int64) iter.Seq2[image.Run, error] {
	return func(yield func(image.Run, error) bool) {
		if n <= 0 || off == d.o.Size {
			return
		}
		end, err := d.query(off, n)
		if err != nil {
			yield(image.Run{}, err)
			return
		}
		for s := (scan{f: d.o.Find(), pos: off, end: end}); s.pos < end; {
			t, err := s.next()
			if err != nil {
				yield(image.Run{}, err)
				return
			}
			if t.Kind.Extent() == image.Data && !yield(t.Run(), nil) {
				return
			}
		}
	}
}

// A scan goes through the spans of a range and joins what belongs together.
type scan struct {
	f        Finder
	pos, end int64
	ahead    Span // the span at pos, if it has a length
}

// peek returns the span at pos without going on; false at the end, or where the tables are wrong, which next will say.
func (s *scan) peek() (Span, bool) {
	if s.ahead.N == 0 && s.pos < s.end {
		if t, err := s.f.Span(s.pos, s.end); err == nil {
			s.ahead = t
		}
	}
	return s.ahead, s.ahead.N > 0
}

// take goes on behind what peek returned.
func (s *scan) take() {
	s.pos += s.ahead.N
	s.ahead = Span{}
}

func (s *scan) next() (Span, error) {
	t := s.ahead
	if t.N == 0 {
		var err error
		if t, err = s.f.Span(s.pos, s.end); err != nil {
			return Span{}, err
		}
		s.ahead = t
	}
	s.take()
	for t.Kind != Packed {
		u, ok := s.peek()
		if !ok || !t.followedBy(u) {
			break
		}
		s.take()
		t.N += u.N
	}
	return t, nil
}
