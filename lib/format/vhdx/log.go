package vhdx

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/limits"
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
//
// The last patch of a sector counts. So it goes from the last to the first and leaves out what is done: a log can zero
// the same range as often as it has room for 32 bytes, and must not cost that many times its length.
func (o overlay) apply(r image.Range, b []byte) []byte {
	first, last := r.Start/logSector, (r.End()-1)/logSector
	t := todo{done: make([]uint64, (last-first)>>6+1), left: last - first + 1}
	ours := false
	for i := len(o) - 1; i >= 0 && t.left > 0; i-- {
		p := &o[i]
		start, end := max(p.Start, r.Start), min(p.End(), r.End())
		if start >= end {
			continue
		}
		t.take(start/logSector-first, (end-1)/logSector-first, func(n int64) {
			if !ours {
				b, ours = slices.Clone(b), true
			}
			// Patches are whole sectors, r may be less.
			at := max((first+n)*logSector, r.Start)
			dst := b[at-r.Start : min((first+n+1)*logSector, r.End())-r.Start]
			if p.data == nil {
				clear(dst)
			} else {
				copy(dst, p.data[at-p.Start:])
			}
		})
	}
	return b
}

// A todo is sectors of which some are done.
type todo struct {
	done []uint64
	left int64
}

// take calls f for each sector in [i, last] that is not done, and then they are.
func (t *todo) take(i, last int64, f func(int64)) {
	for ; i <= last; i++ {
		w := &t.done[i>>6]
		if *w == 1<<64-1 {
			i |= 63
			continue
		}
		if *w>>(i&63)&1 == 0 {
			*w |= 1 << (i & 63)
			t.left--
			f(i)
		}
	}
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

// patches tells what e writes; false if a part of it is not valid. Without yield it only looks; with it e is valid no more
// afterwards, as its data becomes that of the patches.
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
				copy(s, d[8:16])
				copy(s[4092:], d[4:8])
				p.data = s
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
		return nil, corrupt("the log of %d bytes is in use and has no valid entry", size)
	}
	return best, nil
}

// patchCost is what a patch and the area that it stands for take in memory.
const patchCost = 128

// replay returns what the log in b writes, and the length that the file must have. b belongs to the overlay then.
func replay(b []byte, id guid, lim limits.Limits) (o overlay, length uint64, err error) {
	l := &ring{b: b, id: id}
	entries, err := l.active()
	if err != nil {
		return nil, 0, err
	}
	n := int64(0)
	for _, e := range entries {
		n += e.descriptors
	}
	if err := lim.CheckMetadata(fmt.Sprintf("log of %d writes", n), int64(len(b))+n*patchCost); err != nil {
		return nil, 0, fmt.Errorf("vhdx: %w", err)
	}
	o = make(overlay, 0, n)
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
