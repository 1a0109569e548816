package compress

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"

	"github.com/cdictl/cdictl/lib/errdef"
)

// bzip2: streams follow each other. Four bytes would be enough for a magic, but "BZh9" may begin a text; what follows
// in a real one is always the first block or the end of an empty stream.
//
// The decoder is our own because the standard library's hands out runs and checks them byte by byte: a blank disk
// comes out of this one several times as fast.
var bzip2Spec = &spec{
	name: "bzip2",
	match: func(h []byte) bool {
		return len(h) >= 10 && string(h[:3]) == "BZh" && '1' <= h[3] && h[3] <= '9' &&
			(string(h[4:10]) == "\x31\x41\x59\x26\x53\x59" || string(h[4:10]) == "\x17\x72\x45\x38\x50\x90")
	},
	open: func(src *input, _ Options) (io.Reader, func(), error) {
		return &bzip2Reader{in: bitReader{r: src.Reader}}, nil, nil
	},
	explain: func(err error, _ Options) error {
		if errors.Is(err, errBzip2Random) {
			return errdef.WithHint(fmt.Errorf("%w: %w", err, errdef.ErrUnsupported), "decompress it first: bzip2 -dk FILE")
		}
		return nil
	},
}

const (
	bzip2Block = 0x314159265359
	bzip2End   = 0x177245385090
)

var (
	errBzip2Random = errors.New("block is randomized, as no bzip2 since 1999 writes it")
	errBzip2Magic  = errors.New("neither a block nor the end of the stream follows")
	errBzip2Sum    = errors.New("checksum of a block is wrong")
	errBzip2Total  = errors.New("checksum of a stream is wrong")
)

// A bzip2Reader is the outer layer: streams, blocks, run lengths and checksums. What is inside a block is bzip2Decoder's.
type bzip2Reader struct {
	in     bitReader
	dec    bzip2Decoder
	err    error
	stream bool // inside a stream
	any    bool // a stream has been read

	want, sum, total uint32 // checksums: of the block as stored and so far, of the stream so far

	// The block being handed out, in the order that the transform's table gives.
	pos  uint32 // where the next byte is
	left int    // bytes not yet taken from the table
	last byte   // the last of them
	same int    // how often it came in a row; after four a count follows
	run  int    // how many more of it to hand out
}

func (z *bzip2Reader) Read(p []byte) (int, error) {
	for z.err == nil {
		if n := z.expand(p); n > 0 || len(p) == 0 {
			z.sum = bzip2Sum(z.sum, p[:n])
			return n, nil
		}
		z.err = z.next()
	}
	return 0, z.err
}

// next goes on to the next block with something in it.
func (z *bzip2Reader) next() error {
	if !z.stream {
		if z.any && z.in.atEnd() {
			return io.EOF // an error of the source is told by input
		}
		if err := z.header(); err != nil {
			return err
		}
	} else if z.sum != z.want {
		return errBzip2Sum
	}
	magic := uint64(z.in.take(24))<<24 | uint64(z.in.take(24))
	sum := z.in.take(32)
	switch {
	case z.in.short:
		return io.ErrUnexpectedEOF
	case magic == bzip2End:
		if sum != z.total {
			return errBzip2Total
		}
		z.in.align()
		z.stream, z.any = false, true
		return nil
	case magic != bzip2Block:
		return errBzip2Magic
	}
	origin, n, err := z.dec.block(&z.in)
	if err != nil {
		return err
	}
	z.want, z.sum = sum, 0
	z.total = bits.RotateLeft32(z.total, 1) ^ sum
	z.pos, z.left, z.same, z.run = z.dec.table[origin]>>8, n, 0, 0
	return nil
}

// header begins a stream.
func (z *bzip2Reader) header() error {
	for _, want := range "BZh" {
		c := z.in.take(8)
		if z.in.short {
			return io.ErrUnexpectedEOF
		}
		if c != uint32(want) {
			return errTrailing
		}
	}
	level := z.in.take(8)
	if z.in.short {
		return io.ErrUnexpectedEOF
	}
	if level < '1' || level > '9' {
		return errTrailing
	}
	z.dec.size = int(level-'0') * 100_000
	z.stream, z.want, z.sum, z.total = true, 0, 0, 0
	return nil
}

// expand hands out the block and undoes its run lengths: four equal bytes are followed by how many more there are.
func (z *bzip2Reader) expand(p []byte) int {
	n := 0
	table, pos, last, same := z.dec.table, z.pos, z.last, z.same
	for n < len(p) {
		if z.run > 0 {
			k := min(z.run, len(p)-n)
			for i := range p[n : n+k] {
				p[n+i] = last
			}
			n += k
			z.run -= k
			continue
		}
		if z.left == 0 {
			break
		}
		z.left--
		pos = table[pos]
		c := byte(pos)
		pos >>= 8
		if same == 4 {
			z.run, same = int(c), 0
			continue
		}
		if c != last {
			same = 0
		}
		same++
		last = c
		p[n] = c
		n++
	}
	z.pos, z.last, z.same = pos, last, same
	return n
}

// bzip2Sum adds b to a checksum that takes the bits of a byte from the top: the usual CRC-32 of the mirrored bytes,
// mirrored. Mirroring eight bytes at once and the CPU's CRC are faster than any table for the other direction.
func bzip2Sum(sum uint32, b []byte) uint32 {
	var buf [1 << 10]byte
	crc := bits.Reverse32(sum)
	for len(b) > 0 {
		n := copy(buf[:], b)
		b = b[n:]
		for i := 0; i < n; i += 8 {
			mirror((*[8]byte)(buf[i:]))
		}
		crc = crc32.Update(crc, crc32.IEEETable, buf[:n])
	}
	return bits.Reverse32(crc)
}
