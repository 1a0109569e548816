package compress

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/deflate"
)

// gzip: RFC 1952. Members follow each other without a gap; zeros behind the last one are padding (of tapes and block
// devices) and pass, as they do with the original tool.
var gzipSpec = &spec{
	name:    "gzip",
	match:   func(h []byte) bool { return len(h) >= 3 && h[0] == 0x1f && h[1] == 0x8b && h[2] == 8 },
	open:    openGzip,
	scan:    checkGzipPoint,
	explain: func(err error, _ Options) error { return explainGzip(err) },
	points:  true,
}

var (
	errGzipFlags  = errors.New("header has flags of a later version")
	errGzipMember = errors.New("the member is damaged")
)

func explainGzip(err error) error {
	switch {
	case errors.Is(err, errGzipFlags):
		return fmt.Errorf("%w: %w", err, errdef.ErrUnsupported)
	case errors.Is(err, deflate.ErrCorrupt):
		return fmt.Errorf("a deflate block is invalid: %w", errdef.ErrCorrupt)
	}
	return nil // the text says it
}

func openGzip(src *input, _ Options) (io.Reader, func(), error) {
	m := &gzipMembers{src: src, told: src.at.Stored}
	if src.point != nil {
		m.z.OnBlock = m.block
	}
	if len(src.at.State) > 0 {
		m.sum, m.size = gzipState(src.at.State)
		return m, nil, m.z.Reset(src.Reader, gzipPlace(src.at.State))
	}
	return m, nil, m.next()
}

// gzipMembers reads member by member.
type gzipMembers struct {
	src  *input
	z    deflate.Stream
	out  int64 // since the beginning
	sum  uint32
	size uint32 // of this member's content, modulo 2^32
	told int64  // stored bytes before the last point
}

// next begins a member.
func (m *gzipMembers) next() error {
	head, err := m.src.Peek(4)
	for i, c := range head[:min(len(head), 3)] {
		if c != "\x1f\x8b\x08"[i] {
			return errTrailing
		}
	}
	if err != nil {
		return notEOF(err)
	}
	if head[3]&0xe0 != 0 {
		return fmt.Errorf("%w: %#02x", errGzipFlags, head[3])
	}
	m.src.tell(m.out)
	m.told = m.src.at.Stored + m.src.consumed()
	if err := gzipHeader(m.src.Reader); err != nil {
		return notEOF(err)
	}
	m.sum, m.size = 0, 0
	return m.z.Reset(m.src.Reader, deflate.Place{})
}

// gzipHeader reads a header, of which the first four bytes were looked at.
func gzipHeader(src *bufio.Reader) error {
	h := headerSum{src: src}
	var fixed [10]byte
	for i := range fixed {
		fixed[i] = h.next()
	}
	flags := fixed[3]
	if flags&4 != 0 { // FEXTRA
		for n := int(h.next()) | int(h.next())<<8; n > 0 && h.err == nil; n-- {
			h.next()
		}
	}
	for _, text := range []byte{8, 16} { // FNAME, FCOMMENT
		if flags&text != 0 {
			for h.next() != 0 && h.err == nil {
			}
		}
	}
	if flags&2 != 0 { // FHCRC
		want := uint16(h.sum)
		if got := uint16(h.next()) | uint16(h.next())<<8; h.err == nil && got != want {
			return fmt.Errorf("checksum of a header is %04x, its bytes have %04x: %w", got, want, errGzipMember)
		}
	}
	return h.err
}

// headerSum reads byte by byte: 0 after an error.
type headerSum struct {
	src *bufio.Reader
	sum uint32
	err error
	b   [1]byte
}

func (h *headerSum) next() byte {
	if h.err != nil {
		return 0
	}
	if h.b[0], h.err = h.src.ReadByte(); h.err != nil {
		return 0
	}
	h.sum = crc32.Update(h.sum, crc32.IEEETable, h.b[:])
	return h.b[0]
}

func (m *gzipMembers) Read(p []byte) (int, error) {
	for {
		n, err := m.z.Read(p)
		if n > 0 {
			m.out += int64(n)
			m.size += uint32(n)
			m.sum = crc32.Update(m.sum, crc32.IEEETable, p[:n])
			return n, nil
		}
		if errors.Is(err, deflate.ErrTruncated) {
			return 0, io.ErrUnexpectedEOF
		}
		if err != io.EOF {
			return 0, err
		}
		if err := m.end(); err != nil {
			return 0, err
		}
	}
}

// end checks what is behind a member's content, and begins the next one; io.EOF if there is none.
func (m *gzipMembers) end() error {
	var tail [8]byte
	if _, err := io.ReadFull(m.src, tail[:]); err != nil {
		return notEOF(err)
	}
	if is := binary.LittleEndian.Uint32(tail[:]); is != m.sum {
		return fmt.Errorf("checksum of a member is %08x, its content has %08x: %w", is, m.sum, errGzipMember)
	}
	if is := binary.LittleEndian.Uint32(tail[4:]); is != m.size {
		return fmt.Errorf("length of a member is %d, its content has %d (modulo 2^32): %w", is, m.size, errGzipMember)
	}
	b, err := m.src.Peek(1)
	if err != nil {
		return err // io.EOF: all read
	}
	if b[0] == 0 {
		return m.padding()
	}
	return m.next()
}

// padding reads zeros to the end.
func (m *gzipMembers) padding() error {
	for {
		b, err := m.src.ReadByte()
		if err != nil {
			return err
		}
		if b != 0 {
			return errTrailing
		}
	}
}
