package extract

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/limits"
)

// A piece is a part of a sparse file that is stored; between pieces are holes.
type piece struct{ off, n int64 }

// pieceSize is what a piece takes in memory while a map grows.
const pieceSize = 32

// A sparseMap collects pieces, checked one by one.
type sparseMap struct {
	pieces []piece
	limits limits.Limits
	end    int64 // of the last piece
	stored int64
}

func (m *sparseMap) add(off, n int64) error {
	if off < m.end || n < 0 || off+n < off {
		return fmt.Errorf("sparse piece [%d,+%d) begins before %d: %w", off, n, m.end, errdef.ErrCorrupt)
	}
	if err := m.limits.CheckMetadata("map of a sparse file", int64(len(m.pieces)+1)*pieceSize); err != nil {
		return err
	}
	m.end, m.stored = off+n, m.stored+n
	if n > 0 {
		m.pieces = append(m.pieces, piece{off, n})
	}
	return nil
}

// fill makes h the header of a sparse file of size bytes.
func (m *sparseMap) fill(h *header, size int64) error {
	if m.end > size {
		return fmt.Errorf("sparse pieces end at %d, behind the file's end at %d: %w", m.end, size, errdef.ErrCorrupt)
	}
	if m.stored != h.stored {
		return fmt.Errorf("sparse pieces have %d bytes, %d are stored: %w", m.stored, h.stored, errdef.ErrCorrupt)
	}
	h.size, h.pieces, h.holes = size, m.pieces, true
	return nil
}

// oldSparse reads the map of GNU tar's oldest kind: four pieces in the header, more in the blocks behind it.
func (t *reader) oldSparse(h *header, b *block) error {
	m := sparseMap{limits: t.limits}
	size, err := b.field("size of a sparse file", 483, 495)
	if err != nil {
		return err
	}
	more := b[482] != 0
	if err := m.old(b[386:482]); err != nil {
		return err
	}
	for more {
		var ext block
		if err := t.block(&ext); err != nil {
			return err
		}
		if err := m.old(ext[:504]); err != nil {
			return err
		}
		more = ext[504] != 0
	}
	return m.fill(h, size)
}

// old takes pairs of fields up to the first empty one.
func (m *sparseMap) old(b []byte) error {
	for ; len(b) >= 24; b = b[24:] {
		if b[0] == 0 {
			return nil
		}
		off, err := number(b[:12])
		if err != nil {
			return err
		}
		n, err := number(b[12:24])
		if err != nil {
			return err
		}
		if err := m.add(off, n); err != nil {
			return err
		}
	}
	return nil
}

// paxSparse takes the map that h's records tell of, in one of three versions.
func (t *reader) paxSparse(h *header) error {
	get := func(key string) string {
		for _, r := range h.sparse {
			if r.key == "GNU.sparse."+key {
				return r.value
			}
		}
		return ""
	}
	m := sparseMap{limits: t.limits}
	var err error
	size := get("size")
	switch version := get("major") + "." + get("minor"); {
	case version == "1.0":
		size = get("realsize")
		err = t.innerMap(h, &m)
	case version != ".":
		err = fmt.Errorf("version %.20q of sparse files: %w", version, errdef.ErrUnsupported)
	case get("map") != "":
		err = m.list(strings.SplitSeq(get("map"), ","))
	default:
		err = m.pairs(h.sparse)
	}
	if err != nil {
		return err
	}
	n, err := decimal(size)
	if err != nil {
		return fmt.Errorf("size of a sparse file: %w", err)
	}
	return m.fill(h, n)
}

// list takes offsets and lengths in turn (version 0.1).
func (m *sparseMap) list(words func(func(string) bool)) error {
	off, half := int64(0), false
	for w := range words {
		n, err := decimal(w)
		if err != nil {
			return err
		}
		if half = !half; half {
			off = n
		} else if err := m.add(off, n); err != nil {
			return err
		}
	}
	if half {
		return fmt.Errorf("a sparse map ends with an offset, %d: %w", off, errdef.ErrCorrupt)
	}
	return nil
}

// pairs takes records of offset and length in turn (version 0.0).
func (m *sparseMap) pairs(rs []record) error {
	off, half := int64(0), false
	for _, r := range rs {
		isOff := r.key == "GNU.sparse.offset"
		if !isOff && r.key != "GNU.sparse.numbytes" {
			continue
		}
		n, err := decimal(r.value)
		switch {
		case err != nil:
			return err
		case isOff == half:
			return fmt.Errorf("sparse offsets and lengths do not take turns: %w", errdef.ErrCorrupt)
		case isOff:
			off = n
		default:
			if err := m.add(off, n); err != nil {
				return err
			}
		}
		half = isOff
	}
	if half {
		return fmt.Errorf("a sparse map ends with an offset, %d: %w", off, errdef.ErrCorrupt)
	}
	return nil
}

// innerMap reads the map at the start of the content: decimal lines, padded to whole blocks (version 1.0).
func (t *reader) innerMap(h *header, m *sparseMap) error {
	var b block
	var rest []byte
	word := func() (int64, error) {
		line := []byte(nil)
		for {
			if i := bytes.IndexByte(rest, '\n'); i >= 0 {
				line, rest = append(line, rest[:i]...), rest[i+1:]
				return decimal(string(line))
			}
			if line = append(line, rest...); len(line) > 20 {
				return 0, fmt.Errorf("sparse map with %.30q: %w", line, errdef.ErrCorrupt)
			}
			if h.stored < blockSize {
				return 0, fmt.Errorf("a sparse map is cut: %w", errdef.ErrCorrupt)
			}
			if err := t.block(&b); err != nil {
				return 0, err
			}
			h.stored -= blockSize
			rest = b[:]
		}
	}
	count, err := word()
	if err != nil {
		return err
	}
	if count > h.stored/4+int64(len(rest)) { // each takes two lines of two bytes
		return fmt.Errorf("a sparse map of %s pieces in %d bytes: %w", strconv.FormatInt(count, 10), h.stored, errdef.ErrCorrupt)
	}
	for range count {
		off, err := word()
		if err != nil {
			return err
		}
		n, err := word()
		if err != nil {
			return err
		}
		if err := m.add(off, n); err != nil {
			return err
		}
	}
	return nil
}
