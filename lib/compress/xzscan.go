package compress

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
)

// xzScan passes an xz file through and finds its blocks on the way, by the sizes of LZMA2's chunks: nothing is decoded. What
// it does not understand it passes on for the decoder to refuse, and finds no more.
//
// Begun at a block it puts a header before it, and where the stream's index comes, which is of all blocks, an index of those
// that the decoder has seen. Then the index is checked here: those blocks are hashed as xz does it for itself.
type xzScan struct {
	r    *bufio.Reader
	tell func(Point)

	pending []byte // to be handed out
	through int64  // bytes to be handed out as they come; -1: all
	stored  int64  // read
	out     int64
	err     error
	step    func() error

	flags            [2]byte
	before, seen     uint64    // blocks of this stream: before the point where we began, and since
	sums             hash.Hash // of their sizes
	unpadded, unpack uint64    // of the block under way
}

// damaged says where what is checked here is wrong, as a decoder would.
func (x *xzScan) damaged(format string, args ...any) error {
	return fmt.Errorf("xz, near stored byte %d, output byte %d: content is damaged: %s: %w", x.stored, x.out, fmt.Sprintf(format, args...), errdef.ErrCorrupt)
}

var (
	xzMagic  = []byte("\xfd7zXZ\x00")
	xzFooter = []byte("YZ")
	// xzChecks are the lengths of integrity checks by their number.
	xzChecks = [16]int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}
)

func scanXZ(r io.Reader, at Point, tell func(Point)) (io.Reader, error) {
	x := &xzScan{r: bufio.NewReaderSize(r, 64<<10), tell: tell, stored: at.Stored, out: at.Out, sums: sha256.New()}
	x.step = x.stream
	if at.Stored == 0 {
		return x, nil
	}
	state, ok := x.sums.(encoding.BinaryUnmarshaler)
	if !ok || len(at.State) < 10 {
		return nil, fmt.Errorf("xz: no state of block at stored byte %d: %w", at.Stored, errdef.ErrUsage)
	}
	copy(x.flags[:], at.State)
	x.before = binary.LittleEndian.Uint64(at.State[2:])
	if err := state.UnmarshalBinary(at.State[10:]); err != nil {
		return nil, fmt.Errorf("xz: state of block at stored byte %d: %w: %w", at.Stored, err, errdef.ErrUsage)
	}
	x.pending = binary.LittleEndian.AppendUint32(append(bytes.Clone(xzMagic), x.flags[:]...), crc32.ChecksumIEEE(x.flags[:]))
	x.step = x.block
	return x, nil
}

// Read implements io.Reader.
func (x *xzScan) Read(p []byte) (int, error) {
	for {
		switch {
		case len(p) == 0:
			return 0, nil
		case len(x.pending) > 0:
			n := copy(p, x.pending)
			x.pending = x.pending[n:]
			return n, nil
		case x.err != nil:
			return 0, x.err
		case x.through != 0:
			if x.through > 0 {
				p = p[:min(int64(len(p)), x.through)]
			}
			n, err := x.r.Read(p)
			x.stored += int64(n)
			if x.through > 0 {
				x.through -= int64(n)
			}
			return n, err
		}
		if x.err = x.step(); errors.Is(x.err, errNotXZ) {
			x.err, x.through = nil, -1
		}
	}
}

// errNotXZ ends the search: the decoder will say what is wrong.
var errNotXZ = errors.New("not understood")

// take reads n bytes, and hands out what there is of them whether there are enough or not.
func (x *xzScan) take(n int) ([]byte, error) {
	p, err := x.get(n)
	x.pending = append(x.pending, p...)
	return p, err
}

// get reads n bytes, fewer with an error.
func (x *xzScan) get(n int) ([]byte, error) {
	p := make([]byte, n)
	m, err := io.ReadFull(x.r, p)
	x.stored += int64(m)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF // as the source has it: what it means is the decoder's to say
	}
	return p[:m], err
}

// stream is at a stream's header, or at padding.
func (x *xzScan) stream() error {
	x.pending = x.pending[:0]
	p, err := x.take(4)
	if err != nil || bytes.Equal(p, make([]byte, 4)) {
		return err
	}
	rest, err := x.take(8)
	if err != nil {
		return err
	}
	h := append(bytes.Clone(p), rest...)
	if !bytes.HasPrefix(h, xzMagic) || h[6] != 0 || h[7] > 15 {
		return errNotXZ
	}
	copy(x.flags[:], h[6:])
	x.before, x.seen = 0, 0
	x.sums.Reset()
	x.step = x.block
	return nil
}

// block is at a block's header, or at the index.
func (x *xzScan) block() error {
	p, err := x.get(1)
	if err != nil {
		return err
	}
	if p[0] == 0 {
		return x.index()
	}
	x.pending = append(x.pending[:0], p...)
	n := (int(p[0]) + 1) * 4
	if _, err := x.take(n - 1); err != nil {
		return err
	}
	x.unpadded, x.unpack = uint64(n), 0
	x.step = x.chunk
	return nil
}

// chunk is at one of LZMA2's.
func (x *xzScan) chunk() error {
	x.pending = x.pending[:0]
	p, err := x.take(1)
	if err != nil {
		return err
	}
	control := p[0]
	n := 2
	switch {
	case control == 0:
		x.unpadded++
		return x.ending()
	case control >= 0xc0:
		n = 5
	case control >= 0x80:
		n = 4
	case control > 2:
		return errNotXZ
	}
	if p, err = x.take(n); err != nil {
		return err
	}
	size := int64(p[0])<<8 | int64(p[1])
	x.through = size + 1
	if control >= 0x80 {
		size |= int64(control&0x1f) << 16
		x.through = (int64(p[2])<<8 | int64(p[3])) + 1
	}
	x.unpack += uint64(size + 1)
	x.unpadded += uint64(1+n) + uint64(x.through)
	return nil
}

// ending is behind a block's chunks: padding and check follow, and then the next block can be begun at.
func (x *xzScan) ending() error {
	check := xzChecks[x.flags[1]&15]
	x.through = int64(-x.unpadded&3) + check
	x.unpadded += uint64(check)
	var b []byte
	b = binary.AppendUvarint(b, x.unpadded)
	b = binary.AppendUvarint(b, x.unpack)
	x.sums.Write(b)
	x.seen++
	x.out += int64(x.unpack)
	x.step = func() error {
		x.step = x.block
		return x.found()
	}
	return nil
}

func (x *xzScan) found() error {
	m, ok := x.sums.(encoding.BinaryMarshaler)
	if x.tell == nil || !ok {
		return nil
	}
	sums, err := m.MarshalBinary()
	if err != nil {
		return err
	}
	state := binary.LittleEndian.AppendUint64(bytes.Clone(x.flags[:]), x.before+x.seen)
	x.tell(Point{Stored: x.stored, Out: x.out, State: append(state, sums...)})
	return nil
}
