package compress

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdFrames gives the decoder one frame at a time, so that where frames begin is known: there decoding can begin anew.
type zstdFrames struct {
	src    *input
	o      Options
	d      *zstd.Decoder
	frame  zstdOneFrame
	reader io.Reader // frame, and nothing else of it
	out    int64     // since the beginning
}

// next begins a frame.
func (m *zstdFrames) next() error {
	head, _ := m.src.Peek(zstd.HeaderMaxSize)
	m.frame = zstdOneFrame{src: m.src}
	// What is no header is the decoder's to refuse.
	var h zstd.Header
	if err := h.Decode(head); err != nil {
		m.frame.opaque = true
		return m.d.Reset(m.reader)
	}
	if err := m.bounded(&h); err != nil {
		return err
	}
	m.src.tell(m.out)
	m.frame.left = int64(h.HeaderSize)
	m.frame.blocks, m.frame.sum = true, h.HasCheckSum
	if h.Skippable {
		m.frame = zstdOneFrame{src: m.src, left: 8 + int64(h.SkippableSize)}
	}
	return m.d.Reset(m.reader)
}

// bounded looks at the window that a frame asks for.
func (m *zstdFrames) bounded(h *zstd.Header) error {
	window := uint64(max(m.o.Window, zstdSmallest))
	switch {
	case h.Skippable:
		return nil
	case h.WindowSize > window:
		return windowLimit("window of a frame", h.WindowSize, m.o)
	case h.SingleSegment && h.FrameContentSize > window:
		return windowLimit("content in one segment", h.FrameContentSize, m.o)
	}
	return nil
}

func (m *zstdFrames) Read(p []byte) (int, error) {
	for {
		n, err := m.d.Read(p)
		if m.out += int64(n); n > 0 {
			return n, nil // the next Read says the error again
		}
		if err != io.EOF || m.frame.opaque || m.src.atEnd() {
			return 0, err
		}
		if err := m.next(); err != nil {
			return 0, err
		}
	}
}

// A zstdOneFrame reads one frame and then io.EOF. Its end is found by the headers of its blocks (RFC 8878, 3.1.1).
type zstdOneFrame struct {
	src    *input
	left   int64 // of the header or block that is being read
	blocks bool  // more follow
	sum    bool  // a checksum does, behind them
	opaque bool  // something else: all there is is read
}

func (f *zstdOneFrame) Read(p []byte) (int, error) {
	if f.left == 0 && !f.opaque {
		if !f.next() {
			return 0, io.EOF
		}
	}
	if f.opaque {
		return f.src.Read(p)
	}
	n, err := f.src.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	return n, err
}

// next finds how long is what comes next; false at the end.
func (f *zstdOneFrame) next() bool {
	switch {
	case f.blocks:
		b, err := f.src.Peek(3)
		if err != nil {
			f.opaque = true
			return true
		}
		head := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		f.blocks = head&1 == 0
		f.left = 3 + int64(head>>3)
		switch head >> 1 & 3 {
		case 1: // one byte, repeated
			f.left = 3 + 1
		case 3:
			f.opaque = true
		}
	case f.sum:
		f.left, f.sum = 4, false
	default:
		return false
	}
	return true
}
