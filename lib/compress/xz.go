package compress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/therootcompany/xz"

	"github.com/cdictl/cdictl/lib/errdef"
)

// xz: https://tukaani.org/xz/xz-file-format.txt. Streams follow each other, with padding in multiples of four zeros.
var xzSpec = &spec{
	name:    "xz",
	match:   func(h []byte) bool { return len(h) >= 6 && string(h[:6]) == "\xfd7zXZ\x00" },
	open:    openXZ,
	explain: explainXZ,
	scan:    scanXZ,
	points:  true,
}

func openXZ(src *input, o Options) (io.Reader, func(), error) {
	// The decoder checks every block but does not say what it wanted; the first one can.
	head, _ := src.Peek(xzHeaders)
	if n, ok := xzDictionary(head); ok && n > uint64(o.Window) {
		return nil, nil, windowLimit("dictionary of the first block", n, o)
	}
	r, err := xz.NewReader(src.Reader, uint32(min(o.Window, math.MaxUint32)))
	return r, nil, err
}

// Sizes of headers: of the stream, and at most with that of a block.
const (
	xzStreamHeader = 12
	xzHeaders      = xzStreamHeader + 1024
)

// xzDictionary reads the dictionary size from the headers at the start of a file, as far as they are there and valid:
// whatever is wrong with them is for the decoder to say.
func xzDictionary(head []byte) (uint64, bool) {
	if len(head) <= xzStreamHeader || head[xzStreamHeader] == 0 { // 0: an index, there is no block
		return 0, false
	}
	b := head[xzStreamHeader:]
	size := (int(b[0]) + 1) * 4
	if len(b) < size || crc32.ChecksumIEEE(b[:size-4]) != binary.LittleEndian.Uint32(b[size-4:]) {
		return 0, false
	}
	flags, b := b[1], b[2:size-4]
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		b = b[max(n, 0):]
		return v
	}
	for _, present := range []byte{0x40, 0x80} { // compressed and uncompressed size
		if flags&present != 0 {
			number()
		}
	}
	for range flags&3 + 1 {
		const lzma2 = 0x21
		id, n := number(), number()
		if n > uint64(len(b)) {
			return 0, false
		}
		if id == lzma2 && n == 1 && b[0] <= 40 {
			if b[0] == 40 {
				return math.MaxUint32, true
			}
			return uint64(2|b[0]&1) << (b[0]/2 + 11), true
		}
		b = b[n:]
	}
	return 0, false
}

func explainXZ(err error, o Options) error {
	switch {
	case errors.Is(err, xz.ErrMemlimit):
		return windowLimit("dictionary of a later block", 0, o)
	case errors.Is(err, xz.ErrUnsupportedCheck):
		return fmt.Errorf("integrity check is none of CRC32, CRC64 and SHA-256: %w", errdef.ErrUnsupported)
	case errors.Is(err, xz.ErrOptions):
		return errdef.WithHint(fmt.Errorf("a filter or an option of a later version: %w", errdef.ErrUnsupported),
			"decompress it first: xz -dk FILE")
	case errors.Is(err, xz.ErrBuf):
		return fmt.Errorf("content ends early (truncated): %w", errdef.ErrCorrupt)
	case errors.Is(err, xz.ErrFormat):
		return fmt.Errorf("%w: %w", errTrailing, errdef.ErrCorrupt)
	case errors.Is(err, xz.ErrData):
		return fmt.Errorf("content is damaged, or its checksum wrong: %w", errdef.ErrCorrupt)
	}
	return nil
}
