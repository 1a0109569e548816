package compress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/cdictl/cdictl/lib/errdef"
)

// zstd: RFC 8878. Frames follow each other, skippable ones (seek tables, what pzstd puts first) hold no content.
var zstdSpec = &spec{
	name: "zstd",
	match: func(h []byte) bool {
		if len(h) < 4 {
			return false
		}
		magic := binary.LittleEndian.Uint32(h)
		return magic == 0xfd2fb528 || magic&^0xf == 0x184d2a50
	},
	open:    openZstd,
	explain: explainZstd,
	points:  true,
}

// zstdSmallest is the smallest bound the decoder takes, and the smallest window there is.
const zstdSmallest = 1 << 10

func openZstd(src *input, o Options) (io.Reader, func(), error) {
	m := &zstdFrames{src: src, o: o}
	m.reader = onlyReader{&m.frame}
	window := uint64(max(o.Window, zstdSmallest))
	var err error
	m.d, err = zstd.NewReader(nil,
		// One goroutine, ours: more of them gain nothing here on data and cost memory.
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(min(window, 1<<40)),
		// For a stream this bounds the window of a frame without a window field, which is its content.
		zstd.WithDecoderMaxMemory(window),
	)
	if err != nil {
		return nil, nil, err
	}
	if err := m.next(); err != nil {
		m.d.Close()
		return nil, nil, err
	}
	return m, m.d.Close, nil
}

// onlyReader hides everything else, so that no shortcut is taken that decodes all in memory.
type onlyReader struct{ io.Reader }

func explainZstd(err error, o Options) error {
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		// The window was looked at. What a block asked for is not told.
		return windowLimit("block of a frame", 0, o)
	case errors.Is(err, zstd.ErrUnknownDictionary):
		return errdef.WithHint(fmt.Errorf("content needs a dictionary: %w", errdef.ErrUnsupported),
			"decompress it first with its dictionary: zstd -d -D DICTIONARY")
	case errors.Is(err, zstd.ErrMagicMismatch):
		return fmt.Errorf("%w: %w", errTrailing, errdef.ErrCorrupt)
	case errors.Is(err, zstd.ErrCRCMismatch):
		return fmt.Errorf("checksum of a frame is wrong: %w", errdef.ErrCorrupt)
	}
	return nil
}

// windowLimit refuses a window of n bytes; n is 0 where the decoder does not say.
func windowLimit(what string, n uint64, o Options) error {
	size := ""
	if n > 0 {
		size = fmt.Sprintf(" is %d bytes,", n)
	} else {
		size = " is"
	}
	return errdef.WithHint(fmt.Errorf("%s%s above the limit of %d bytes: %w", what, size, o.Window, errdef.ErrLimit),
		"if the image is trusted and there is memory for it, raise --max-window")
}
