package deflate

import "encoding/binary"

const (
	// fastIn is how much input the fast loop needs: two refills of 8 bytes.
	fastIn = 16
	// fastOut is how much room it needs: three literals, the longest match, and 16 bytes that a copy may write too many.
	fastOut = 3 + 258 + 16
)

// block decodes symbols until the block ends or dst is full. Far from both ends it goes without checking either for each
// symbol.
func (s *state) block(t *tables) error {
	if done, err := s.fast(t); done || err != nil {
		return err
	}
	return s.careful(t)
}

// fast is the loop that matters: its state lives in registers. It stops near an end.
func (s *state) fast(t *tables) (done bool, err error) {
	dst, src, in, out, bits, count := s.dst, s.src, s.in, s.out, s.bits, s.count
	litlen, dists := &t.litlen, &t.dist
	lastIn, lastOut := len(src)-fastIn, len(dst)-fastOut

	for in <= lastIn && out <= lastOut {
		bits |= binary.LittleEndian.Uint64(src[in:]) << (count & 63)
		in += int(63-count) >> 3
		count |= 56

		e := litlen[bits&(1<<litlenBits-1)]
		if e&literal != 0 {
			bits >>= e & 63
			count -= uint(e & 63)
			dst[out] = byte(e >> 16)
			out++
			e = litlen[bits&(1<<litlenBits-1)]
			if e&literal != 0 {
				bits >>= e & 63
				count -= uint(e & 63)
				dst[out] = byte(e >> 16)
				out++
				e = litlen[bits&(1<<litlenBits-1)]
				if e&literal != 0 {
					bits >>= e & 63
					count -= uint(e & 63)
					dst[out] = byte(e >> 16)
					out++
					continue
				}
			}
		}
		if e&special != 0 {
			if e&pointer != 0 {
				bits >>= litlenBits
				count -= litlenBits
				e = litlen[e>>16+uint32(bits)&(1<<(e>>8&15)-1)]
			}
			if e&special != 0 {
				if e&end == 0 {
					s.in, s.out, s.bits, s.count = in, out, bits, count
					return false, ErrCorrupt
				}
				bits >>= e & 63
				count -= uint(e & 63)
				s.in, s.out, s.bits, s.count = in, out, bits, count
				return true, nil
			}
			if e&literal != 0 {
				bits >>= e & 63
				count -= uint(e & 63)
				dst[out] = byte(e >> 16)
				out++
				continue
			}
		}
		length := int(e>>16) + int(bits&(1<<(e&63)-1)>>(e>>8&15))
		bits >>= e & 63
		count -= uint(e & 63)

		bits |= binary.LittleEndian.Uint64(src[in:]) << (count & 63)
		in += int(63-count) >> 3
		count |= 56

		e = dists[bits&(1<<distBits-1)]
		if e&special != 0 {
			if e&pointer != 0 {
				bits >>= distBits
				count -= distBits
				e = dists[e>>16+uint32(bits)&(1<<(e>>8&15)-1)]
			}
			if e&special != 0 {
				s.in, s.out, s.bits, s.count = in, out, bits, count
				return false, ErrCorrupt
			}
		}
		dist := int(e>>16) + int(bits&(1<<(e&63)-1)>>(e>>8&15))
		bits >>= e & 63
		count -= uint(e & 63)
		if dist > out {
			s.in, s.out, s.bits, s.count = in, out, bits, count
			return false, ErrCorrupt
		}

		// Sixteen bytes at a time: what is written too much is overwritten, or lies behind the result.
		from, to := dst[out-dist:], dst[out:out+length+16]
		out += length
		switch {
		case dist >= 16:
			for {
				*(*[16]byte)(to) = *(*[16]byte)(from)
				if length -= 16; length <= 0 {
					break
				}
				from, to = from[16:], to[16:]
			}
		case dist == 1:
			run := uint64(from[0]) * 0x0101010101010101
			for ; length > 0; length -= 8 {
				binary.LittleEndian.PutUint64(to, run)
				to = to[8:]
			}
		default:
			repeat(to[:length], from)
		}
	}
	s.in, s.out, s.bits, s.count = in, out, bits, count
	return false, nil
}

// repeat fills p, which lies less than 16 bytes behind from in one buffer, with the bytes between again and again.
func repeat(p, from []byte) {
	for i := range p {
		p[i] = from[i]
	}
}

// careful decodes symbol by symbol.
func (s *state) careful(t *tables) error {
	for {
		s.refill()
		e := t.litlen[s.bits&(1<<litlenBits-1)]
		if e&pointer != 0 {
			s.drop(litlenBits)
			e = t.litlen[e>>16+uint32(s.bits)&(1<<(e>>8&15)-1)]
		}
		if e&special != 0 && e&end == 0 {
			return ErrCorrupt
		}
		value := int(e>>16) + int(s.bits&(1<<(e&63)-1)>>(e>>8&15))
		s.drop(uint(e & 63))
		switch {
		case s.overrun():
			return ErrTruncated
		case e&end != 0:
			return nil
		case s.out == len(s.dst):
			s.more = true
			return nil
		case e&literal != 0:
			s.dst[s.out] = byte(e >> 16)
			s.out++
			continue
		}
		s.refill()
		e = t.dist[s.bits&(1<<distBits-1)]
		if e&pointer != 0 {
			s.drop(distBits)
			e = t.dist[e>>16+uint32(s.bits)&(1<<(e>>8&15)-1)]
		}
		if e&special != 0 {
			return ErrCorrupt
		}
		dist := int(e>>16) + int(s.bits&(1<<(e&63)-1)>>(e>>8&15))
		s.drop(uint(e & 63))
		if s.overrun() {
			return ErrTruncated
		}
		if dist > s.out {
			return ErrCorrupt
		}
		n := min(value, len(s.dst)-s.out)
		repeat(s.dst[s.out:s.out+n], s.dst[s.out-dist:])
		s.out += n
		if n < value {
			s.more = true
			return nil
		}
	}
}
