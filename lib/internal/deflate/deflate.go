// Package deflate decodes raw DEFLATE (RFC 1951): with a Decoder from one buffer into another, for the clusters and grains
// of disk images, whose decoded size is known and whose input is whole in memory; with a Stream for whole files. Both keep
// 64 bits of input in a register, and decode up to three literals between two looks at the input.
package deflate

import (
	"encoding/binary"
	"errors"
)

// Errors of Decode. The decoder does not say more: its caller knows which cluster it was.
var (
	ErrCorrupt   = errors.New("deflate: invalid stream")
	ErrTruncated = errors.New("deflate: stream ends early")
	ErrTooLong   = errors.New("deflate: stream is longer than its place") // of DecodeAll only
)

// A Decoder holds tables, some 12 KiB, so that decoding allocates nothing. The zero value is ready. One goroutine uses it
// at a time; it keeps no reference to what it was given.
type Decoder struct {
	t       tables
	pre     [1 << preBits]uint32
	lengths [maxLitlen + maxDist]uint8
	used    int
}

// Used is how many bytes of src the last Decode or DecodeAll without an error took. After Decode it may be less than the
// stream has, where that goes on behind a full dst.
func (d *Decoder) Used() int { return d.used }

// Decode decodes src into dst until dst is full or the stream ends, and returns the bytes decoded. A stream that goes on
// behind a full dst is no error, as it is none for zlib with a full buffer. What follows the end of the stream in src is
// ignored. dst behind the bytes decoded may hold anything.
func (d *Decoder) Decode(dst, src []byte) (int, error) {
	s := state{dst: dst, src: src}
	err := d.decode(&s, false)
	return s.out, err
}

// DecodeAll is Decode up to the end of the stream, which must fit dst: else the error is ErrTooLong.
func (d *Decoder) DecodeAll(dst, src []byte) (int, error) {
	s := state{dst: dst, src: src}
	err := d.decode(&s, true)
	return s.out, err
}

func (d *Decoder) decode(s *state, toEnd bool) error {
	for {
		s.refill()
		final, kind := s.bits&1, s.bits>>1&3
		s.drop(3)
		var err error
		switch kind {
		case 0:
			err = s.stored()
		case 1:
			err = s.block(&fixedTables)
		case 2:
			if err = d.dynamic(s); err == nil {
				err = s.block(&d.t)
			}
		default:
			err = ErrCorrupt
		}
		switch {
		case s.overrun() && s.out == len(s.dst) && !toEnd:
			d.used = len(s.src)
			return nil // what is written was there; a stream cut behind a full dst is none the worse
		case s.overrun():
			return ErrTruncated // also where zeros past the end made nonsense
		case err != nil:
			return err
		case s.more && toEnd:
			return ErrTooLong
		case final != 0 || s.out == len(s.dst) && !toEnd:
			d.used = s.in - int(s.count>>3)
			return nil
		}
	}
}

// state is the position in both buffers. Past its end the input reads as zeros, and in moves on all the same, so that
// overrun can tell.
type state struct {
	dst, src []byte
	in, out  int    // next byte to load, next byte to write
	bits     uint64 // loaded and not used, the next one lowest; above count they are what follows, or zero
	count    uint   // how many of them count
	more     bool   // the block has more than fits dst
}

// refill makes count at least 56.
func (s *state) refill() {
	if s.in+8 <= len(s.src) {
		s.bits |= binary.LittleEndian.Uint64(s.src[s.in:]) << (s.count & 63)
		s.in += int(63-s.count) >> 3
		s.count |= 56
		return
	}
	for ; s.count < 56; s.count += 8 {
		if s.in < len(s.src) {
			s.bits |= uint64(s.src[s.in]) << s.count
		}
		s.in++
	}
}

func (s *state) drop(n uint) {
	s.bits >>= n
	s.count -= n
}

// overrun reports whether bits were used that the input does not have.
func (s *state) overrun() bool { return s.in-int(s.count>>3) > len(s.src) }

// storedLength reads the header of a stored block (RFC 1951, 3.2.4), behind which the input is at whole bytes.
func (s *state) storedLength() (int, error) {
	s.drop(s.count & 7)
	at := s.in - int(s.count>>3)
	s.bits, s.count = 0, 0
	s.in = at
	if at+4 > len(s.src) {
		s.in = len(s.src) + 1
		return 0, ErrTruncated
	}
	n, inverse := binary.LittleEndian.Uint16(s.src[at:]), binary.LittleEndian.Uint16(s.src[at+2:])
	s.in = at + 4
	if n != ^inverse {
		return 0, ErrCorrupt
	}
	return int(n), nil
}

// stored copies a stored block.
func (s *state) stored() error {
	n, err := s.storedLength()
	if err != nil {
		return err
	}
	want := min(n, len(s.dst)-s.out)
	s.more = want < n
	got := copy(s.dst[s.out:s.out+want], s.src[s.in:])
	s.out += got
	s.in += got
	if got < want {
		return ErrTruncated
	}
	return nil
}

// preOrder is the order in which the lengths of the code length code are stored (3.2.7).
var preOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamic reads the codes of a dynamic block.
func (d *Decoder) dynamic(s *state) error {
	s.refill()
	litlen, dist, pre := int(s.bits&31)+257, int(s.bits>>5&31)+1, int(s.bits>>10&15)+4
	s.drop(14)
	if litlen > maxLitlen-2 || dist > maxDist-2 {
		return ErrCorrupt
	}
	var lengths [19]uint8
	for i := range pre {
		if s.count < 3 {
			s.refill()
		}
		lengths[preOrder[i]] = uint8(s.bits & 7)
		s.drop(3)
	}
	if !buildPre(&d.pre, &lengths) {
		return ErrCorrupt
	}
	all := d.lengths[:litlen+dist]
	for i := 0; i < len(all); {
		s.refill()
		e := d.pre[s.bits&(1<<preBits-1)]
		s.drop(uint(e & 63))
		sym := e >> 16
		if sym < 16 {
			all[i] = uint8(sym)
			i++
			continue
		}
		var n int
		var value uint8
		switch sym {
		case 16:
			if i == 0 {
				return ErrCorrupt
			}
			value = all[i-1]
			n = 3 + int(s.bits&3)
			s.drop(2)
		case 17:
			n = 3 + int(s.bits&7)
			s.drop(3)
		default:
			n = 11 + int(s.bits&127)
			s.drop(7)
		}
		if s.overrun() {
			return ErrTruncated
		}
		if n > len(all)-i {
			return ErrCorrupt
		}
		for range n {
			all[i] = value
			i++
		}
	}
	if all[endOfBlock] == 0 { // such a block could not end
		return ErrCorrupt
	}
	if !d.t.build(all[:litlen], all[litlen:]) {
		return ErrCorrupt
	}
	return nil
}
