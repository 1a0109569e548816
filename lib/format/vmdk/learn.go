package vmdk

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"sort"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/span"
)

// A learner is an image.Learner for a disk that is one file. Where the tables lie before the grains it asks for header,
// descriptor, grain directory and grain tables. Where they lie behind them, as in a stream that VMware writes, it goes from
// marker to marker.
type learner struct {
	mem      *budget
	h        *sparseHeader
	unpacker unpacker
	err      error // that a Learn returned

	descriptor image.Range // empty once it was learnt
	markers    *stream     // follows the markers, or nil
	e          *extent     // else
	directory  image.Range // what is left of the grain directory
	order      []int32     // numbers of the tables that are needed, by their place in the file
	done       []uint64    // bits of those in order that were learnt
	low        int         // all before it in order were learnt
	stored     int64       // the blob must have
}

var _ image.Measurer = (*learner)(nil)

// NewLearner returns a Learner for a disk that is one file: a sparse extent with a descriptor inside.
func NewLearner(o Options) image.Learner {
	return &learner{mem: &budget{limits: o.Limits.WithDefaults()}}
}

// Size is the virtual size; -1 before the header was learnt.
func (l *learner) Size() int64 {
	if l.h == nil {
		return -1
	}
	return l.h.size()
}

// Next returns the lowest range at or behind from that is needed.
func (l *learner) Next(from int64) (image.Range, bool) {
	var best image.Range
	take := func(r image.Range) {
		if r.Length > 0 && r.Start >= from && (best.Length == 0 || r.Start < best.Start) {
			best = r
		}
	}
	switch {
	case l.h == nil:
		take(image.Range{Length: sparseHeaderLen})
		return best, best.Length > 0
	case l.markers != nil:
		if r, ok := l.markers.next(); ok {
			take(r)
		}
	case l.directory.Length > 0:
		r := l.directory
		r.Length = min(r.Length, image.MaxWant)
		take(r)
	default:
		if i, ok := l.nextTable(from); ok {
			take(l.tableRange(i))
		}
	}
	take(l.descriptor)
	return best, best.Length > 0
}

// nextTable finds the first table in order that lies at or behind from and was not learnt.
func (l *learner) nextTable(from int64) (int, bool) {
	i := l.low
	if from > 0 {
		i = max(i, sort.Search(len(l.order), func(i int) bool { return l.tableRange(i).Start >= from }))
	}
	for i < len(l.order) {
		if word := ^l.done[i/64] >> (i % 64); word != 0 {
			i += bits.TrailingZeros64(word)
			return i, i < len(l.order)
		}
		i = (i/64 + 1) * 64
	}
	return 0, false
}

func (l *learner) tableRange(i int) image.Range {
	return image.Range{Start: int64(l.e.gd[l.order[i]]) * sector, Length: l.e.tableBytes()}
}

// Learn takes the bytes of a range that Next returned.
func (l *learner) Learn(r image.Range, p []byte, runs []image.Run) ([]image.Run, error) {
	if l.err != nil {
		return nil, l.err
	}
	runs, l.err = l.learn(r, p, runs)
	return runs, l.err
}

func (l *learner) learn(r image.Range, p []byte, runs []image.Run) ([]image.Run, error) {
	if int64(len(p)) != r.Length {
		return nil, fmt.Errorf("vmdk: learn %d bytes of a range of %d: %w", len(p), r.Length, errdef.ErrUsage)
	}
	if l.h == nil {
		return runs, l.header(p)
	}
	if r == l.descriptor {
		l.descriptor = image.Range{}
		_, err := parseEmbedded(p, false)
		return runs, err
	}
	if l.markers != nil {
		return l.markers.learn(p, runs)
	}
	if l.directory.Length > 0 {
		return runs, l.learnDirectory(r, p)
	}
	i := sort.Search(len(l.order), func(i int) bool { return l.tableRange(i).Start >= r.Start })
	if i == len(l.order) || l.tableRange(i) != r || l.done[i/64]>>(i%64)&1 != 0 {
		return nil, fmt.Errorf("vmdk: range [%d,+%d) was not asked for: %w", r.Start, r.Length, errdef.ErrUsage)
	}
	l.done[i/64] |= 1 << (i % 64)
	for l.low < len(l.order) && l.done[l.low/64]>>(l.low%64)&1 != 0 {
		l.low++
	}
	return l.table(int64(l.order[i]), p, runs)
}

func (l *learner) header(p []byte) error {
	h, err := parseSparse(p)
	if err != nil {
		return err
	}
	if err := l.mem.limits.CheckVirtualSize(h.size()); err != nil {
		return fmt.Errorf("vmdk: %w", err)
	}
	off, n, err := h.descriptorRange()
	if err != nil {
		return err
	}
	l.h, l.descriptor = h, image.Range{Start: off, Length: n}
	if h.packed() {
		l.unpacker.init(h.grainSize())
	}
	if h.packed() && h.markers() && h.gd >= h.overhead {
		l.markers, err = newStream(h, l.mem)
		return err
	}
	gd, err := h.directory()
	if err != nil {
		return err
	}
	if err := l.mem.take("grain directory", h.tables()*4); err != nil {
		return err
	}
	// The stored size is not known: whoever gives the ranges finds out whether they lie in the file.
	l.e = &extent{
		size: h.size(), stored: maxStored, layout: layout4, tableBits: 9,
		grainBits: uint(bits.TrailingZeros64(h.grain)) + 9, areas: h.areas(),
		zeroGrains: h.flags&flagZeroGrains != 0, packed: h.packed(), markers: h.markers(),
	}
	l.e.gd = make([]uint32, 0, h.tables())
	l.directory = image.Range{Start: gd, Length: 4 * h.tables()}
	return nil
}

// maxStored is behind all that an entry of 32 bits can tell.
const maxStored = 1 << 42

// learnDirectory takes a piece of the grain directory.
func (l *learner) learnDirectory(r image.Range, p []byte) error {
	if r.Start != l.directory.Start || r.Length > l.directory.Length {
		return fmt.Errorf("vmdk: range [%d,+%d) was not asked for: %w", r.Start, r.Length, errdef.ErrUsage)
	}
	for ; len(p) >= 4; p = p[4:] {
		l.e.gd = append(l.e.gd, binary.LittleEndian.Uint32(p))
	}
	l.directory.Start += r.Length
	if l.directory.Length -= r.Length; l.directory.Length > 0 {
		return nil
	}
	if err := l.e.checkDirectory(l.mem); err != nil {
		return err
	}
	used := 0
	for _, at := range l.e.gd {
		if at != 0 {
			used++
		}
	}
	if err := l.mem.take("order of grain tables", int64(used)*4); err != nil {
		return err
	}
	l.order = make([]int32, 0, used)
	for i, at := range l.e.gd {
		if at != 0 {
			l.order = append(l.order, int32(i))
		}
	}
	slices.SortFunc(l.order, func(a, b int32) int { return cmp.Compare(l.e.gd[a], l.e.gd[b]) })
	l.done = make([]uint64, (used+63)/64)
	return nil
}

// table makes runs of grain table i.
func (l *learner) table(i int64, p []byte, runs []image.Run) ([]image.Run, error) {
	e := l.e
	end := min((i+1)*e.reach(), e.size)
	for off := i * e.reach(); off < end; {
		s, err := e.spanTable(p[(off-i*e.reach())>>e.grainBits*4:], off)
		if err != nil {
			return nil, fmt.Errorf("guest offset %d: %w", off, err)
		}
		s.N = min(s.N, end-off)
		off += s.N
		switch s.Kind {
		case span.Data:
			l.stored = max(l.stored, s.Host+s.N)
		case span.Packed:
			l.stored = max(l.stored, s.Host+1)
		default:
			continue
		}
		runs = append(runs, s.Run())
	}
	return runs, nil
}

// Finish checks what only the end tells.
func (l *learner) Finish(stored int64) error {
	switch {
	case l.err != nil:
		return l.err
	case l.h == nil:
		return corrupt("no header in %d bytes", stored)
	case l.markers == nil:
		if n, ok := bytes64(l.h.overhead); !ok || n > stored {
			return corrupt("metadata of %d sectors pass the end of the stored file (%d bytes)", l.h.overhead, stored)
		}
		if l.stored > stored {
			return corrupt("grain up to %d lies past the end of the stored file (%d bytes)", l.stored, stored)
		}
		return nil
	case l.markers.state != streamEnded:
		return corrupt("the stream ends at %d without an end-of-stream marker", stored)
	case l.markers.end != stored:
		return corrupt("the stream ends at %d, the stored file has %d bytes", l.markers.end, stored)
	}
	return nil
}

// Unpack decodes a packed run into dst.
func (l *learner) Unpack(dst, stored []byte) error {
	_, err := l.UnpackMeasured(dst, stored)
	return err
}

// UnpackMeasured is Unpack and tells how many of the stored bytes are the grain's.
func (l *learner) UnpackMeasured(dst, stored []byte) (int, error) {
	if l.h == nil || int64(len(dst)) > l.h.grainSize() {
		return 0, fmt.Errorf("vmdk: unpack into %d bytes: %w", len(dst), errdef.ErrUsage)
	}
	// The runs of a stream begin behind the marker.
	return l.unpacker.unpack(dst, stored, l.h.grainSize(), l.h.markers() && l.markers == nil)
}

// A refusing learner says of a descriptor, as soon as it sees that, that it cannot be read from a stream.
type refusing struct{}

// NewDescriptorLearner returns a Learner that refuses whatever it sees: a descriptor in a stream has no files beside it.
func NewDescriptorLearner() image.Learner { return refusing{} }

func (refusing) Next(from int64) (image.Range, bool) { return image.Range{Length: 1}, from <= 0 }
func (refusing) Size() int64                         { return -1 }
func (refusing) Finish(int64) error                  { return errNoSiblings("") }
func (refusing) Unpack(_, _ []byte) error            { return errNoSiblings("") }
func (refusing) Learn(image.Range, []byte, []image.Run) ([]image.Run, error) {
	return nil, errNoSiblings("")
}
