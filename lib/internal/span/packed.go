package span

import (
	"fmt"
	"sync"
)

// maxBatch is how many stored bytes of packed units are read at once. One unit may have more.
const maxBatch = 1 << 20

// A batch is packed units whose stored bytes lie together.
type batch struct {
	spans []Span
	buf   []byte
}

// recent is the unit that was last read in part: the next read probably wants the rest of it.
type recent struct {
	mu    sync.Mutex
	first int64 // the unit's First, + 1; 0 is none
	data  []byte
}

// readPacked reads the packed unit first and those behind it in s that are stored near it, into p, which begins at first. It
// returns how many bytes of p are done.
func (d *Disk) readPacked(p []byte, first Span, s *scan) (int, error) {
	if !first.whole() && d.fromRecent(p[:first.N], first) {
		return int(first.N), nil
	}
	b := d.batches.Get().(*batch)
	defer d.batches.Put(b)
	b.spans = append(b.spans[:0], first)
	start, end := first.Host, first.Host+first.Packed
	for {
		t, ok := s.peek()
		if !ok || t.Kind != Packed || t.File != first.File || t.Host < start || t.Host > end+d.o.Gap || max(end, t.Host+t.Packed)-start > maxBatch {
			break
		}
		s.take()
		b.spans = append(b.spans, t)
		end = max(end, t.Host+t.Packed)
	}
	if int64(cap(b.buf)) < end-start {
		b.buf = make([]byte, end-start)
	}
	buf := b.buf[:end-start]
	if err := d.o.Read(first.File, buf, start, "compressed data"); err != nil {
		return 0, fmt.Errorf("guest offset %d: %w", first.Guest, err)
	}
	done := 0
	for _, t := range b.spans {
		if err := d.unpack(p[done:][:t.N], t, buf[t.Host-start:][:t.Packed]); err != nil {
			return done, fmt.Errorf("%s: guest offset %d, stored at %d: %w", d.o.Format, t.Guest, t.Host, err)
		}
		done += int(t.N)
	}
	return done, nil
}

// unpack decodes stored into dst, which is the whole unit or the part of it that t tells.
func (d *Disk) unpack(dst []byte, t Span, stored []byte) error {
	if t.whole() {
		return d.o.Unpack(dst, stored, t)
	}
	in := t.Guest - t.First
	r := &d.recent
	if !r.mu.TryLock() {
		unit := d.units.Get().(*[]byte)
		defer d.units.Put(unit)
		if err := d.o.Unpack((*unit)[:t.Length], stored, t); err != nil {
			return err
		}
		copy(dst, (*unit)[in:])
		return nil
	}
	defer r.mu.Unlock()
	if r.data == nil {
		r.data = make([]byte, d.o.Unit)
	}
	if r.first != t.First+1 {
		r.first = 0
		if err := d.o.Unpack(r.data[:t.Length], stored, t); err != nil {
			return err
		}
		r.first = t.First + 1
	}
	copy(dst, r.data[in:])
	return nil
}

// fromRecent copies t from the unit that was last read in part, if it is that.
func (d *Disk) fromRecent(dst []byte, t Span) bool {
	r := &d.recent
	if !r.mu.TryLock() {
		return false
	}
	defer r.mu.Unlock()
	if r.first != t.First+1 {
		return false
	}
	copy(dst, r.data[t.Guest-t.First:])
	return true
}
