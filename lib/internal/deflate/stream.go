package deflate

import (
	"bufio"
	"io"
)

const (
	// windowSize is how far back a match may reach (RFC 1951, 2).
	windowSize = 32 << 10
	// made is what is decoded between two moves of the window, together with it half of a second-level cache.
	made = 160 << 10
	// maxHeader is more than the longest header of a block: 17 bits, 19 lengths of 3, 316 of at most 14.
	maxHeader = 640
)

// A Stream decodes a stream of any length, which comes from a reader, and can tell of places to begin at again. One goroutine
// uses it at a time. The zero value needs a Reset.
type Stream struct {
	// OnBlock, if set, is called by Read before each block but the first, with all handed out that lies before it: Place is of
	// this moment.
	OnBlock func()

	src  *bufio.Reader
	d    Decoder
	s    state // between two steps it has no input, and in bits what is left of the last byte
	from int   // what s.dst has from here on was not handed out
	tail [maxHeader + 2*fastIn]byte

	table   *tables // of the block that is being decoded; nil: none is
	left    int     // of a stored block
	final   bool    // no block follows
	started bool
	err     error
}

// A Place is where a block begins.
type Place struct {
	// Unused is how many bits of the byte before it belong to it: the highest ones. 0 to 7.
	Unused uint
	// Window is what was decoded last, 32 KiB or all there is.
	Window []byte
}

// Reset begins a stream at what src has next; with a Place there, where Unused is above 0, at the byte that has those bits.
func (z *Stream) Reset(src *bufio.Reader, at Place) error {
	if z.s.dst == nil {
		z.s.dst = make([]byte, windowSize+made+fastOut)
	}
	z.src, z.s = src, state{dst: z.s.dst}
	z.s.out = copy(z.s.dst, at.Window[max(0, len(at.Window)-windowSize):])
	z.from, z.table, z.left, z.final, z.started, z.err = z.s.out, nil, 0, false, false, nil
	if at.Unused > 0 {
		b, err := src.ReadByte()
		if err != nil {
			return err
		}
		z.s.bits, z.s.count = uint64(b)>>(8-at.Unused), at.Unused
	}
	return nil
}

// Place is the present place, for OnBlock. src has come up to it, and to the end of the byte that it lies in.
func (z *Stream) Place() Place {
	return Place{Unused: z.s.count, Window: append([]byte(nil), z.s.dst[max(0, z.s.out-windowSize):z.s.out]...)}
}

// Read implements io.Reader. At the end of the stream, io.EOF, src is at the byte behind it. A src that ends before is
// ErrTruncated, also if it ends in an error of its own.
func (z *Stream) Read(p []byte) (int, error) {
	for z.from == z.s.out {
		if z.err == nil {
			z.err = z.step()
		}
		if z.from == z.s.out && z.err != nil {
			return 0, z.err
		}
	}
	n := copy(p, z.s.dst[z.from:z.s.out])
	z.from += n
	return n, nil
}

// step decodes some of a block, with all that was decoded before handed out.
func (z *Stream) step() error {
	if len(z.s.dst)-z.s.out < made/2 {
		z.s.out = copy(z.s.dst, z.s.dst[z.s.out-windowSize:z.s.out])
		z.from = z.s.out
	}
	if z.table == nil && z.left == 0 {
		if z.final {
			return io.EOF
		}
		if z.started && z.OnBlock != nil {
			z.OnBlock()
		}
		z.started = true
		return z.feed(maxHeader, z.head)
	}
	if z.left > 0 {
		return z.stored()
	}
	return z.feed(2*fastIn, z.symbols)
}

// feed lets f use up some input, of which there are at least n bytes, or all there is and zeros.
func (z *Stream) feed(n int, f func(*state) error) error {
	_, _ = z.src.Peek(n) // how it ended is told by there being less
	has := z.src.Buffered()
	in, _ := z.src.Peek(has)
	if has < n {
		clear(z.tail[copy(z.tail[:], in):])
		in = z.tail[:]
	}
	z.s.src, z.s.in = in, 0
	out := z.s.out
	err := f(&z.s)
	// Whole bytes that were loaded and not used go back.
	used := z.s.in - int(z.s.count>>3)
	z.s.src, z.s.count = nil, z.s.count&7
	z.s.bits &= 1<<z.s.count - 1
	if used > has {
		z.s.out = out // it may be what the zeros mean
		_, _ = z.src.Discard(has)
		return ErrTruncated
	}
	_, _ = z.src.Discard(used)
	return err
}

// head reads the header of a block, and its codes.
func (z *Stream) head(s *state) error {
	s.refill()
	final, kind := s.bits&1, s.bits>>1&3
	s.drop(3)
	z.final = final != 0
	switch kind {
	case 0:
		n, err := s.storedLength()
		z.left = n
		return err
	case 1:
		z.table = &fixedTables
		return nil
	case 2:
		z.table = &z.d.t
		return z.d.dynamic(s)
	}
	return ErrCorrupt
}

// symbols decodes until the block, the input or the room comes near its end. Zeros behind the input are decoded too: they
// make at most a few KiB, which feed finds.
func (z *Stream) symbols(s *state) error {
	done, err := s.fast(z.table)
	if done {
		z.table = nil
	}
	return err
}

// stored copies from a stored block.
func (z *Stream) stored() error {
	if _, err := z.src.Peek(1); err != nil {
		return ErrTruncated
	}
	in, _ := z.src.Peek(min(z.src.Buffered(), z.left))
	n := copy(z.s.dst[z.s.out:z.s.out+min(made, len(z.s.dst)-z.s.out)], in)
	z.s.out += n
	z.left -= n
	_, _ = z.src.Discard(n)
	return nil
}
