package deflate

import "math/bits"

// A table entry tells all about a codeword:
//
//	bits  0-7   bits to drop: those of the codeword (in this table) and its extra bits
//	bits  8-11  bits of the codeword alone; of a pointer: bits that index the subtable
//	bits 12-15  flags
//	bits 16-31  the literal; the base of a length or distance; of a pointer: where the subtable begins
const (
	literal uint32 = 1 << 15
	special uint32 = 1 << 14 // not a length or distance: end, pointer, or with neither an invalid codeword
	end     uint32 = 1 << 13
	pointer uint32 = 1 << 12
)

const (
	maxLitlen  = 288
	maxDist    = 32
	maxBits    = 15
	endOfBlock = 256

	// A table is indexed by this many bits at once; longer codewords go on in a subtable. With 11 and 8 both tables lie
	// in half of a first-level cache, and nearly all codewords of real data need one look-up.
	litlenBits = 11
	distBits   = 8
	preBits    = 7 // the longest codeword of the code length code

	// The most entries that a complete code can need, subtables included, as zlib's program "enough" finds them for
	// these index bits, 288 and 32 symbols, and 15 bits: 2,342 and 402.
	litlenEntries = 2342
	distEntries   = 402
)

type tables struct {
	litlen [litlenEntries]uint32
	dist   [distEntries]uint32
}

// Entries without their codeword, by symbol. Lengths and distances: RFC 1951, 3.2.5.
var (
	litlenSymbols = func() (t [maxLitlen]uint32) {
		for i := range 256 {
			t[i] = literal | uint32(i)<<16
		}
		t[endOfBlock] = special | end
		base := uint32(3)
		for i := range 28 {
			extra := uint32(max(i/4-1, 0))
			t[257+i] = base<<16 | extra
			base += 1 << extra
		}
		t[285] = 258 << 16
		t[286], t[287] = special, special
		return t
	}()
	distSymbols = func() (t [maxDist]uint32) {
		base := uint32(1)
		for i := range 30 {
			extra := uint32(max(i/2-1, 0))
			t[i] = base<<16 | extra
			base += 1 << extra
		}
		t[30], t[31] = special, special
		return t
	}()
	preSymbols = func() (t [19]uint32) {
		for i := range t {
			t[i] = uint32(i) << 16
		}
		return t
	}()
)

// fixedTables are those of 3.2.6.
var fixedTables = func() (t tables) {
	var l [maxLitlen]uint8
	for i := range l {
		switch {
		case i < 144:
			l[i] = 8
		case i < 256:
			l[i] = 9
		case i < 280:
			l[i] = 7
		default:
			l[i] = 8
		}
	}
	var d [maxDist]uint8
	for i := range d {
		d[i] = 5
	}
	t.build(l[:], d[:])
	return t
}()

// build makes the tables of two codes; false if one is over-subscribed or incomplete.
func (t *tables) build(litlen, dist []uint8) bool {
	return fill(t.litlen[:], litlenBits, litlen, litlenSymbols[:], true) && fill(t.dist[:], distBits, dist, distSymbols[:], true)
}

func buildPre(table *[1 << preBits]uint32, lengths *[19]uint8) bool {
	return fill(table[:], preBits, lengths[:], preSymbols[:], false)
}

// fill makes the table of the canonical code with these lengths (3.2.2). As in zlib a code must be complete; if sparse
// is allowed it may also have no codeword, or one of one bit.
func fill(table []uint32, tableBits uint, lengths []uint8, symbols []uint32, sparse bool) bool {
	var count [maxBits + 1]int
	for _, l := range lengths {
		count[l]++
	}
	longest := maxBits
	for longest > 0 && count[longest] == 0 {
		longest--
	}
	// Codewords not yet taken, in units of the longest; and the symbols in order of their codewords.
	var offset [maxBits + 2]int
	left := 1
	for l := 1; l <= maxBits; l++ {
		left = left<<1 - count[l]
		if left < 0 {
			return false
		}
		offset[l+1] = offset[l] + count[l]
	}
	var sorted [maxLitlen]uint16
	for sym, l := range lengths {
		if l > 0 {
			sorted[offset[l]] = uint16(sym)
			offset[l]++
		}
	}
	if left > 0 {
		if !sparse || longest > 1 {
			return false
		}
		return fillSparse(table[:1<<tableBits], longest, symbols[sorted[0]])
	}

	// Codewords come with their first bit lowest. A table for one bit more is the table twice.
	codeword, size, i := uint(0), 1, 0
	for l := 1; l <= min(longest, int(tableBits)); l++ {
		copy(table[size:2*size], table[:size])
		size *= 2
		for range count[l] {
			table[codeword] = entry(symbols[sorted[i]], uint32(l))
			i++
			codeword = next(codeword, l)
		}
	}
	for ; size < 1<<tableBits; size *= 2 {
		copy(table[size:2*size], table[:size])
	}
	if longest > int(tableBits) {
		subtables(table, tableBits, &count, longest, codeword, func() uint32 { i++; return symbols[sorted[i-1]] })
	}
	return true
}

// subtables puts the codewords that are longer than tableBits into tables behind the first.
func subtables(table []uint32, tableBits uint, count *[maxBits + 1]int, longest int, codeword uint, symbol func() uint32) {
	prefix, start, size := ^uint(0), uint(0), uint(0)
	free := uint(1) << tableBits
	for l := int(tableBits) + 1; l <= longest; l++ {
		for left := count[l]; left > 0; left-- {
			if p := codeword & (1<<tableBits - 1); p != prefix {
				// As large as the longest codeword with this prefix: those of length l fill it, or there are longer ones.
				sub := l - int(tableBits)
				for used := left; used < 1<<sub && int(tableBits)+sub < longest; {
					sub++
					used = used<<1 + count[int(tableBits)+sub]
				}
				prefix, start, size = p, free, 1<<sub
				free += size
				table[p] = special | pointer | uint32(start)<<16 | uint32(sub)<<8 | uint32(tableBits)
			}
			e := entry(symbol(), uint32(l)-uint32(tableBits))
			for i := codeword >> tableBits; i < size; i += 1 << (l - int(tableBits)) {
				table[start+i] = e
			}
			codeword = next(codeword, l)
		}
	}
}

// entry completes a symbol's entry for a codeword of l bits in its table.
func entry(symbol, l uint32) uint32 { return symbol + l + l<<8 }

// next is the codeword of l bits that follows, with its first bit lowest; after the last it stays.
func next(codeword uint, l int) uint {
	zeros := ^codeword & (1<<l - 1)
	if zeros == 0 {
		return codeword
	}
	top := uint(1) << (bits.Len(zeros) - 1)
	return codeword&(top-1) | top
}

// fillSparse makes the table of a code with one codeword of one bit, or none.
func fillSparse(table []uint32, longest int, symbol uint32) bool {
	for i := range table {
		table[i] = special
		if longest == 1 && i&1 == 0 {
			table[i] = entry(symbol, 1)
		}
	}
	return true
}
