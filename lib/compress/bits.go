package compress

import (
	"encoding/binary"
	"io"
	"math/bits"
)

// A bitReader takes bits from the top of each byte. Past the end it gives zeros and sets short.
type bitReader struct {
	r     io.ByteReader
	acc   uint64 // its low n bits are the next ones
	n     uint
	end   bool // r has nothing more, whatever the reason
	short bool
}

func (b *bitReader) fill() {
	for b.n <= 56 && !b.end {
		c, err := b.r.ReadByte()
		if err != nil {
			b.end = true
			return
		}
		b.acc = b.acc<<8 | uint64(c)
		b.n += 8
	}
}

// take returns the next k bits, at most 32.
func (b *bitReader) take(k uint) uint32 {
	if b.n < k {
		b.fill()
		if b.n < k {
			b.short, b.n = true, 0
			return 0
		}
	}
	b.n -= k
	return uint32(b.acc>>b.n) & (1<<k - 1)
}

// peek returns the next k bits, at most 32, and leaves them; zeros stand for what is past the end.
func (b *bitReader) peek(k uint) uint32 {
	if b.n < k {
		b.fill()
		if b.n < k {
			return uint32(b.acc<<(k-b.n)) & (1<<k - 1)
		}
	}
	return uint32(b.acc>>(b.n-k)) & (1<<k - 1)
}

// skip passes over k bits that peek showed.
func (b *bitReader) skip(k uint) {
	if b.n < k {
		b.short, b.n = true, 0
		return
	}
	b.n -= k
}

// align goes on to the next whole byte.
func (b *bitReader) align() { b.n &^= 7 }

func (b *bitReader) atEnd() bool {
	if b.n == 0 {
		b.fill()
	}
	return b.n == 0
}

// mirror reverses the bits of each byte.
func mirror(b *[8]byte) {
	binary.BigEndian.PutUint64(b[:], bits.Reverse64(binary.LittleEndian.Uint64(b[:])))
}
