package compress

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"github.com/cdictl/cdictl/lib/errdef"
)

// gzip: RFC 1952. Members follow each other without a gap; zeros behind the last one are padding (of tapes and block
// devices) and pass, as they do with the original tool.
var gzipSpec = &spec{
	name:    "gzip",
	match:   func(h []byte) bool { return len(h) >= 3 && h[0] == 0x1f && h[1] == 0x8b && h[2] == 8 },
	open:    openGzip,
	explain: func(err error, _ Options) error { return explainGzip(err) },
	points:  true,
}

var errGzipFlags = errors.New("header has flags of a later version")

func openGzip(src *input, _ Options) (io.Reader, func(), error) {
	m := &gzipMembers{src: src}
	return m, nil, m.next()
}

func explainGzip(err error) error {
	switch {
	case errors.Is(err, errGzipFlags):
		return fmt.Errorf("%w: %w", err, errdef.ErrUnsupported)
	case errors.Is(err, gzip.ErrChecksum):
		return fmt.Errorf("checksum or length of a member is wrong: %w", errdef.ErrCorrupt)
	case errors.Is(err, gzip.ErrHeader):
		return fmt.Errorf("header of a member is damaged: %w", errdef.ErrCorrupt)
	}
	return nil
}

// gzipMembers reads member by member itself: the library takes an end inside the name of a second member for the end
// of the file, and padding for damage.
type gzipMembers struct {
	src *input
	z   gzip.Reader
	out int64
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
	if err := m.z.Reset(m.src.Reader); err != nil {
		return notEOF(err)
	}
	m.z.Multistream(false)
	return nil
}

func (m *gzipMembers) Read(p []byte) (int, error) {
	for {
		n, err := m.z.Read(p)
		m.out += int64(n)
		if n > 0 && err == io.EOF {
			err = nil // the next Read says it again
		}
		if n > 0 || err != io.EOF {
			return n, err
		}
		b, err := m.src.Peek(1)
		if err != nil {
			return 0, err // io.EOF: all read
		}
		if b[0] == 0 {
			return 0, m.padding()
		}
		if err := m.next(); err != nil {
			return 0, err
		}
	}
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
