package qcow2

import (
	"fmt"
	"io"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
)

// maxBatch is how many stored bytes of compressed clusters are read at once. One cluster may have more.
const maxBatch = 1 << 20

// A batch is compressed clusters whose stored bytes lie together.
type batch struct {
	spans []span
	buf   []byte
}

// recent is the compressed cluster that was last read in part: the next read probably wants the rest of it.
type recent struct {
	mu   sync.Mutex
	host int64 // 0 is none
	data []byte
}

// ReadAt reads from the disk; holes and zeros read as zeros.
func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	return d.read(p, off, func(p []byte, _ int64) error {
		clear(p)
		return nil
	})
}

// read is ReadAt; hole fills p with what the disk has at off where this image has a hole.
func (d *disk) read(p []byte, off int64, hole func(p []byte, off int64) error) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("qcow2: read at negative offset %d: %w", off, errdef.ErrUsage)
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
		dst := p[done:][:sp.n]
		switch sp.kind {
		case spanHole:
			err = hole(dst, sp.guest)
		case spanZero:
			clear(dst)
		case spanData:
			if err = d.readFull(dst, sp.host, "data"); err != nil {
				err = fmt.Errorf("guest offset %d: %w", sp.guest, err)
			}
		case spanPacked:
			var n int
			n, err = d.readPacked(p[done:], sp, &s)
			done += n
			dst = nil
		}
		if err != nil {
			return done, err
		}
		done += len(dst)
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

// readPacked reads the compressed cluster first and those behind it in s that are stored near it, into p, which begins
// at first. It returns how many bytes of p are done.
func (d *disk) readPacked(p []byte, first span, s *scan) (int, error) {
	if first.n < d.cluster() && d.fromRecent(p[:first.n], first) {
		return int(first.n), nil
	}
	b := d.batches.Get().(*batch)
	defer d.batches.Put(b)
	b.spans = append(b.spans[:0], first)
	start, end := first.host, first.host+first.packed
	for {
		t, ok := s.peek()
		if !ok || t.kind != spanPacked || t.host < start || t.host > end+d.gap || max(end, t.host+t.packed)-start > maxBatch {
			break
		}
		s.take()
		b.spans = append(b.spans, t)
		end = max(end, t.host+t.packed)
	}
	if int64(cap(b.buf)) < end-start {
		b.buf = make([]byte, end-start)
	}
	buf := b.buf[:end-start]
	if err := d.readFull(buf, start, "compressed clusters"); err != nil {
		return 0, fmt.Errorf("guest offset %d: %w", first.guest, err)
	}
	done := 0
	for _, t := range b.spans {
		if err := d.unpackSpan(p[done:][:t.n], t, buf[t.host-start:][:t.packed]); err != nil {
			return done, fmt.Errorf("qcow2: guest offset %d, host offset %d: %w", t.guest, t.host, err)
		}
		done += int(t.n)
	}
	return done, nil
}

// unpackSpan decodes stored into dst, which is the whole cluster or the part of it that t tells.
func (d *disk) unpackSpan(dst []byte, t span, stored []byte) error {
	if t.n == d.cluster() {
		return d.unpacker.unpack(dst, stored)
	}
	in := t.guest & (d.cluster() - 1)
	r := &d.recent
	if !r.mu.TryLock() {
		whole := d.unpacker.clusters.Get().(*[]byte)
		defer d.unpacker.clusters.Put(whole)
		if err := d.unpacker.unpack(*whole, stored); err != nil {
			return err
		}
		copy(dst, (*whole)[in:])
		return nil
	}
	defer r.mu.Unlock()
	if r.data == nil {
		r.data = make([]byte, d.cluster())
	}
	if r.host != t.host {
		r.host = 0
		if err := d.unpacker.unpack(r.data, stored); err != nil {
			return err
		}
		r.host = t.host
	}
	copy(dst, r.data[in:])
	return nil
}

// fromRecent copies t from the cluster that was last read in part, if it is that.
func (d *disk) fromRecent(dst []byte, t span) bool {
	r := &d.recent
	if !r.mu.TryLock() {
		return false
	}
	defer r.mu.Unlock()
	if r.host != t.host {
		return false
	}
	copy(dst, r.data[t.guest&(d.cluster()-1):])
	return true
}
