package compress

import (
	"errors"
	"io"
)

// Numbers of the format.
const (
	bzip2MaxTables = 6
	bzip2Group     = 50 // symbols between two changes of the Huffman table
	bzip2MaxCode   = 20 // bits
	bzip2Symbols   = 258
)

var (
	errBzip2Map    = errors.New("block uses no symbols")
	errBzip2Tables = errors.New("number of Huffman tables or selectors is wrong")
	errBzip2Code   = errors.New("a Huffman code is damaged")
	errBzip2Size   = errors.New("block is larger than the stream's header allows")
	errBzip2Origin = errors.New("origin of a block lies outside of it")
)

// A bzip2Decoder decodes the inside of one block after the other and keeps its tables.
type bzip2Decoder struct {
	size      int      // of a block at most, 100,000 to 900,000
	table     []uint32 // of the last block: in each entry a byte (low 8 bits) and where the next one is
	selectors []byte
	huffman   [bzip2MaxTables]huffman
}

// block reads what follows a block's checksum. The block has n bytes, table holds them; the first one is found at
// table[origin]>>8.
func (d *bzip2Decoder) block(in *bitReader) (origin uint32, n int, err error) {
	if in.take(1) != 0 {
		return 0, 0, errBzip2Random
	}
	origin = in.take(24)
	var list [256]byte // the symbols in use, moved to the front as they come
	used := 0
	for i, groups := 0, in.take(16); i < 16; i++ {
		if groups>>(15-i)&1 == 0 {
			continue
		}
		for j, group := 0, in.take(16); j < 16; j++ {
			if group>>(15-j)&1 != 0 {
				list[used] = byte(16*i + j)
				used++
			}
		}
	}
	tables, selectors := int(in.take(3)), int(in.take(15))
	switch {
	case in.short:
		return 0, 0, io.ErrUnexpectedEOF
	case used == 0:
		return 0, 0, errBzip2Map
	case tables < 2 || tables > bzip2MaxTables || selectors == 0:
		return 0, 0, errBzip2Tables
	}
	if err := d.readSelectors(in, tables, selectors); err != nil {
		return 0, 0, err
	}
	for t := range tables {
		if err := d.huffman[t].read(in, used+2); err != nil {
			return 0, 0, err
		}
	}
	if cap(d.table) < d.size {
		d.table = make([]uint32, d.size)
	}
	d.table = d.table[:d.size]
	var count [256]uint32
	if n, err = d.symbols(in, &list, used, &count); err != nil {
		return 0, 0, err
	}
	if int(origin) >= n {
		return 0, 0, errBzip2Origin
	}
	d.invert(n, &count)
	return origin, n, nil
}

// readSelectors reads which table each group of symbols uses, as places in a list moved to the front.
func (d *bzip2Decoder) readSelectors(in *bitReader, tables, n int) error {
	if cap(d.selectors) < n {
		d.selectors = make([]byte, n) // 15 bits: at most 32 KiB
	}
	d.selectors = d.selectors[:n]
	list := [bzip2MaxTables]byte{0, 1, 2, 3, 4, 5}
	for i := range d.selectors {
		at := 0
		for in.take(1) != 0 {
			if at++; at >= tables {
				return errBzip2Tables
			}
		}
		if in.short {
			return io.ErrUnexpectedEOF
		}
		s := list[at]
		copy(list[1:at+1], list[:at])
		list[0] = s
		d.selectors[i] = s
	}
	return nil
}

// symbols decodes the block into the low bytes of table and counts each.
func (d *bzip2Decoder) symbols(in *bitReader, list *[256]byte, used int, count *[256]uint32) (int, error) {
	table, end := d.table, uint32(used+1)
	n, run, weight := 0, 0, 1 // a run is a number in base two with digits 1 and 2, the lowest first
	for _, sel := range d.selectors {
		code := &d.huffman[sel]
		for range bzip2Group {
			s, ok := code.decode(in)
			if !ok {
				if in.short {
					return 0, io.ErrUnexpectedEOF
				}
				return 0, errBzip2Code
			}
			if s <= 1 {
				if run += weight << s; run > len(table)-n {
					return 0, errBzip2Size
				}
				weight <<= 1 // below 2^20, for run is at least weight-1
				continue
			}
			if run > 0 {
				c := list[0]
				count[c] += uint32(run)
				for i := range table[n : n+run] {
					table[n+i] = uint32(c)
				}
				n += run
				run, weight = 0, 1
			}
			if s == end {
				return n, nil
			}
			if n == len(table) {
				return 0, errBzip2Size
			}
			at := s - 1
			c := list[at]
			copy(list[1:at+1], list[:at])
			list[0] = c
			count[c]++
			table[n] = uint32(c)
			n++
		}
	}
	return 0, errBzip2Tables // the selectors ended before the block
}

// invert puts into each entry where the byte after its own is: the inverse of the Burrows-Wheeler transform.
func (d *bzip2Decoder) invert(n int, count *[256]uint32) {
	var next [256]uint32
	sum := uint32(0)
	for c, k := range count {
		next[c] = sum
		sum += k
	}
	table := d.table[:n]
	for i := range table {
		c := byte(table[i])
		table[next[c]] |= uint32(i) << 8
		next[c]++
	}
}

// fast is how many bits are decoded by one look into a table; longer codes are rare.
const fast = 10

// A huffman is a canonical code.
type huffman struct {
	quick [1 << fast]uint16 // symbol<<5 | length; 0 for a longer code
	// For each length: the first code beyond it, aligned to bzip2MaxCode bits, and what to add to a code to find
	// its symbol in order.
	limit [bzip2MaxCode + 2]uint32
	base  [bzip2MaxCode + 2]int32
	order [bzip2Symbols]uint16
}

// read reads the lengths of n codes and makes the code.
func (h *huffman) read(in *bitReader, n int) error {
	var lengths [bzip2Symbols]byte
	var count [bzip2MaxCode + 1]int
	length := in.take(5)
	for i := range n {
		for {
			if length < 1 || length > bzip2MaxCode {
				if in.short {
					return io.ErrUnexpectedEOF
				}
				return errBzip2Code
			}
			if in.take(1) == 0 {
				break
			}
			length += 1 - 2*in.take(1) // wraps below 0, which is above bzip2MaxCode
		}
		lengths[i] = byte(length)
		count[length]++
	}
	if in.short {
		return io.ErrUnexpectedEOF
	}
	clear(h.quick[:])
	code, at := uint32(0), 0 // the next code of this length, and how many came before
	for l := 1; l <= bzip2MaxCode; l++ {
		h.base[l] = int32(at) - int32(code)
		for s := range n {
			if int(lengths[s]) != l {
				continue
			}
			if code >= 1<<l {
				return errBzip2Code // more codes than there can be
			}
			h.order[at] = uint16(s)
			if l <= fast {
				first := code << (fast - l)
				for i := range uint32(1) << (fast - l) {
					h.quick[first+i] = uint16(s<<5 | l)
				}
			}
			code++
			at++
		}
		h.limit[l] = code << (bzip2MaxCode - l)
		code <<= 1
	}
	return nil
}

// decode reads one symbol.
func (h *huffman) decode(in *bitReader) (uint32, bool) {
	v := in.peek(bzip2MaxCode)
	if q := h.quick[v>>(bzip2MaxCode-fast)]; q != 0 {
		in.skip(uint(q & 31))
		return uint32(q >> 5), !in.short
	}
	for l := 1; l <= bzip2MaxCode; l++ {
		if v < h.limit[l] {
			in.skip(uint(l))
			return uint32(h.order[int32(v>>(bzip2MaxCode-l))+h.base[l]]), !in.short
		}
	}
	// No code begins so. At the end of the content that may be for want of bits.
	if in.n < bzip2MaxCode {
		in.short = true
	}
	return 0, false
}
