package vmdk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/deflate"
)

// grainMarkerLen is the part of a grain's marker before its data: the grain's sector in the disk, and how many bytes
// of data there are.
const grainMarkerLen = 12

// An unpacker decodes compressed grains ("Stream-Optimized Compressed Sparse Extents"): zlib streams (RFC 1950). It is safe
// for concurrent use; decoders are kept for the next grain.
type unpacker struct {
	decoders sync.Pool // of *deflate.Decoder
	grains   sync.Pool // of *[]byte, one grain each
}

// init makes it ready for grains of up to that size.
func (u *unpacker) init(grain int64) {
	u.decoders.New = func() any { return new(deflate.Decoder) }
	u.grains.New = func() any {
		b := make([]byte, grain)
		return &b
	}
}

// unpack decodes stored, of a grain of that size, into dst; with a marker, stored begins with that. What a grain's end leaves of stored is not looked
// at. The sector in the marker is not looked at either: the tables say what the grain is. It returns how many bytes of
// stored the grain has.
func (u *unpacker) unpack(dst, stored []byte, grain int64, marker bool) (int, error) {
	used := 0
	if marker {
		if len(stored) < grainMarkerLen {
			return 0, corrupt("compressed grain of %d bytes has no marker", len(stored))
		}
		n := int64(binary.LittleEndian.Uint32(stored[8:]))
		stored = stored[grainMarkerLen:]
		if n == 0 || n > int64(len(stored)) {
			return 0, corrupt("marker of a compressed grain tells %d bytes, there is room for %d", n, len(stored))
		}
		stored, used = stored[:n], grainMarkerLen
	}
	if int64(len(dst)) == grain {
		n, err := u.zlib(dst, stored, len(dst))
		return used + n, err
	}
	whole := u.grains.Get().(*[]byte)
	defer u.grains.Put(whole)
	n, err := u.zlib((*whole)[:grain], stored, len(dst))
	if err != nil {
		return 0, err
	}
	copy(dst, *whole)
	return used + n, nil
}

// zlib decodes stored, of which at least need bytes must come, into dst, and returns how many bytes it took.
func (u *unpacker) zlib(dst, stored []byte, need int) (int, error) {
	be := binary.BigEndian
	if len(stored) < 2 || stored[0]&0xf != 8 || stored[0]>>4 > 7 || be.Uint16(stored)%31 != 0 || stored[1]&0x20 != 0 {
		return 0, corrupt("compressed grain is no zlib stream")
	}
	d := u.decoders.Get().(*deflate.Decoder)
	defer u.decoders.Put(d)
	out, err := d.DecodeAll(dst, stored[2:])
	switch {
	case errors.Is(err, deflate.ErrTruncated), err == nil && out < need:
		return 0, corrupt("compressed grain ends after %d of %d bytes", out, need)
	case err != nil:
		return 0, fmt.Errorf("vmdk: compressed grain, after %d of %d bytes: %w: %w", out, need, err, errdef.ErrCorrupt)
	}
	end := 2 + d.Used()
	if len(stored)-end < 4 || be.Uint32(stored[end:]) != adler32.Checksum(dst[:out]) {
		return 0, corrupt("compressed grain has a wrong checksum")
	}
	return end + 4, nil
}

// maxBatch is how many stored bytes of compressed grains are read at once. One grain may have more.
const maxBatch = 1 << 20

// A batch is compressed grains whose stored bytes lie together.
type batch struct {
	spans []span
	buf   []byte
}

// recent is the compressed grain that was last read in part: the next read probably wants the rest of it.
type recent struct {
	mu    sync.Mutex
	guest int64 // where its grain begins, + 1; 0 is none
	data  []byte
}

// readPacked reads the compressed grain first and those behind it in s that are stored near it, into p, which begins at
// first. It returns how many bytes of p are done.
func (d *disk) readPacked(p []byte, first span, s *scan) (int, error) {
	if !first.whole() && d.fromRecent(p[:first.n], first) {
		return int(first.n), nil
	}
	b := d.batches.Get().(*batch)
	defer d.batches.Put(b)
	b.spans = append(b.spans[:0], first)
	start, end := first.host, first.host+first.packed
	for {
		t, ok := s.peek()
		if !ok || t.kind != spanPacked || t.e != first.e || t.host < start || t.host > end+d.gap || max(end, t.host+t.packed)-start > maxBatch {
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
	if err := readFull(first.e.ra, buf, start, "compressed grains"); err != nil {
		return 0, err
	}
	done := 0
	for _, t := range b.spans {
		if err := d.unpackSpan(p[done:][:t.n], t, buf[t.host-start:][:t.packed]); err != nil {
			return done, fmt.Errorf("guest offset %d, stored at %d: %w", t.guest, t.host, err)
		}
		done += int(t.n)
	}
	return done, nil
}

// whole reports whether the span is all of its grain that the disk has.
func (s span) whole() bool {
	in := (s.guest - s.e.start) & (s.e.grain() - 1)
	return in == 0 && (s.n == s.e.grain() || s.end() == s.e.end())
}

// unpackSpan decodes stored into dst, which is the whole grain or the part of it that t tells.
func (d *disk) unpackSpan(dst []byte, t span, stored []byte) error {
	if t.whole() {
		return d.unpackGrain(dst, t, stored)
	}
	in := (t.guest - t.e.start) & (t.e.grain() - 1)
	guest := t.guest - in
	n := min(t.e.grain(), t.e.end()-guest)
	r := &d.recent
	if !r.mu.TryLock() {
		whole := d.unpacker.grains.Get().(*[]byte)
		defer d.unpacker.grains.Put(whole)
		if err := d.unpackGrain((*whole)[:n], t, stored); err != nil {
			return err
		}
		copy(dst, (*whole)[in:])
		return nil
	}
	defer r.mu.Unlock()
	if r.data == nil {
		r.data = make([]byte, d.grain)
	}
	if r.guest != guest+1 {
		r.guest = 0
		if err := d.unpackGrain(r.data[:n], t, stored); err != nil {
			return err
		}
		r.guest = guest + 1
	}
	copy(dst, r.data[in:])
	return nil
}

func (d *disk) unpackGrain(dst []byte, t span, stored []byte) error {
	_, err := d.unpacker.unpack(dst, stored, t.e.grain(), t.e.markers)
	return err
}

// fromRecent copies t from the grain that was last read in part, if it is that.
func (d *disk) fromRecent(dst []byte, t span) bool {
	r := &d.recent
	if !r.mu.TryLock() {
		return false
	}
	defer r.mu.Unlock()
	in := (t.guest - t.e.start) & (t.e.grain() - 1)
	if r.guest != t.guest-in+1 {
		return false
	}
	copy(dst, r.data[in:])
	return true
}
