package vhdx

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"

	"github.com/cdictl/cdictl/lib/image"
)

const (
	logSector      = 4 * kib
	entryHeader    = 64
	descriptorSize = 32
	// maxSummed bounds the bytes that are summed in the search: each sector could claim to be an entry as long as the
	// log.
	maxSummed = 1 << 30
)

// A patch is what the log writes over the file: data, or zeros if it has none.
type patch struct {
	image.Range
	data []byte
}

// An overlay is patches in the order in which they were logged.
type overlay []patch

// apply returns b, the bytes of r, as they are with the patches over them. It does not change b.
func (o overlay) apply(r image.Range, b []byte) []byte {
	ours := false
	for _, p := range o {
		start, end := max(p.Start, r.Start), min(p.End(), r.End())
		if start >= end {
			continue
		}
		if !ours {
			b, ours = slices.Clone(b), true
		}
		dst := b[start-r.Start : end-r.Start]
		if p.data == nil {
			clear(dst)
		} else {
			copy(dst, p.data[start-p.Start:])
		}
	}
	return b
}

// A ring is the log: sectors of which the first follows the last.
type ring struct {
	b      []byte
	id     guid
	summed int64
}

// sector is the i-th sector from offset at on.
func (l *ring) sector(at, i int64) []byte {
	return l.b[(at+i*logSector)%int64(len(l.b)):][:logSector]
}

// An entry is a valid log entry (§2.3.1).
type entry struct {
	at, length  int64 // in the log
	tail        int64 // where the oldest entry is that was not yet written down when this one was logged
	sequence    uint64
	descriptors int64
	flushed     uint64 // length that the file had
}

// descriptorSectors is how many sectors hold the header and n descriptors.
func descriptorSectors(n int64) int64 {
	return (entryHeader + n*descriptorSize + logSector - 1) / logSector
}

// entry reads the entry at offset at. ok is false if there is none that is valid in all its parts.
func (l *ring) entry(at int64) (e entry, ok bool, err error) {
	le := binary.LittleEndian
	b := l.sector(at, 0)
	size := int64(len(l.b))
	e = entry{
		at: at, length: int64(le.Uint32(b[8:])), tail: int64(le.Uint32(b[12:])), sequence: le.Uint64(b[16:]),
		descriptors: int64(le.Uint32(b[24:])), flushed: le.Uint64(b[48:]),
	}
	switch {
	case string(b[:4]) != "loge" || guid(b[32:48]) != l.id || e.sequence == 0,
		e.length == 0 || e.length%logSector != 0 || e.length > size,
		e.tail%logSector != 0 || e.tail >= size,
		descriptorSectors(e.descriptors)*logSector > e.length:
		return e, false, nil
	}
	if l.summed += e.length; l.summed > maxSummed {
		return e, false, corrupt("the log has entries over entries")
	}
	sum := crc32.Update(0, castagnoli, b[:4])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	sum = crc32.Update(sum, castagnoli, b[8:])
	for i := int64(1); i < e.length/logSector; i++ {
		sum = crc32.Update(sum, castagnoli, l.sector(at, i))
	}
	if sum != le.Uint32(b[4:]) {
		return e, false, nil
	}
	return e, l.patches(e, nil), nil
}

// patches tells what e writes; false if a part of it is not valid. Without yield it only looks.
func (l *ring) patches(e entry, yield func(patch)) bool {
	le := binary.LittleEndian
	data := descriptorSectors(e.descriptors) // the next data sector
	for i := range e.descriptors {
		at := entryHeader + i*descriptorSize
		d := l.sector(e.at, at/logSector)[at%logSector:][:descriptorSize]
		offset := le.Uint64(d[16:])
		if le.Uint64(d[24:]) != e.sequence || offset%logSector != 0 || offset > math.MaxInt64/2 {
			return false
		}
		p := patch{Range: image.Range{Start: int64(offset), Length: logSector}}
		switch string(d[:4]) {
		case "zero":
			n := le.Uint64(d[8:])
			if n%logSector != 0 || n > math.MaxInt64/2 {
				return false
			}
			p.Length = int64(n)
		case "desc":
			if (data+1)*logSector > e.length {
				return false
			}
			s := l.sector(e.at, data)
			data++
			if string(s[:4]) != "data" || uint64(le.Uint32(s[4:]))<<32|uint64(le.Uint32(s[4092:])) != e.sequence {
				return false
			}
			if yield != nil { // the descriptor has the first 8 and the last 4 bytes, where the sector has marks
				p.data = slices.Concat(d[8:16], s[8:4092], d[4:8])
			}
		default:
			return false
		}
		if yield != nil {
			yield(p)
		}
	}
	return true
}

// active finds the entries that must be replayed, as §2.3.3 has it: those of the sequence with the highest number,
// from the entry that its last one names as the tail.
func (l *ring) active() ([]entry, error) {
	var best []entry
	size := int64(len(l.b))
	for at := int64(0); at < size; {
		var seq []entry
		total := int64(0)
		for total < size {
			e, ok, err := l.entry((at + total) % size)
			if err != nil {
				return nil, err
			}
			if !ok || len(seq) > 0 && e.sequence != seq[len(seq)-1].sequence+1 || total+e.length > size {
				break
			}
			seq = append(seq, e)
			total += e.length
		}
		if len(seq) == 0 {
			at += logSector
			continue
		}
		head := seq[len(seq)-1]
		tail := slices.IndexFunc(seq, func(e entry) bool { return e.at == head.tail })
		if tail < 0 {
			at += logSector
			continue
		}
		if len(best) == 0 || head.sequence > best[len(best)-1].sequence {
			best = seq[tail:]
		}
		at += total
	}
	if len(best) == 0 {
		return nil, corrupt("the log is in use and has no valid entry")
	}
	return best, nil
}

// replay returns what the log in b writes, and the length that the file must have.
func replay(b []byte, id guid) (o overlay, length uint64, err error) {
	l := &ring{b: b, id: id}
	entries, err := l.active()
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		length = e.flushed // the last one's counts: the file may have been made smaller
		l.patches(e, func(p patch) {
			if p.Length > 0 {
				o = append(o, p)
			}
		})
	}
	for _, p := range o {
		if p.Start < atRegions1 {
			return nil, 0, corrupt("the log writes over the headers, at %d", p.Start)
		}
	}
	return o, length, nil
}

// flushed checks that a file has the length that its log says it had at least.
func flushed(length uint64, stored int64) error {
	if length > uint64(stored) {
		return corrupt("the log was written when the file had %d bytes, now it has %d: its end was cut off", length, stored)
	}
	return nil
}
