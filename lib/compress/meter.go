package compress

import (
	"bytes"
	"fmt"

	"github.com/cdictl/cdictl/lib/errdef"
)

// free is what may come out before the ratio counts: small files of text reach any ratio.
const free = 64 << 20

// A meter counts output against Options.Expansion. A blank disk of any size is an honest one, so blocks of zeros do
// not count; what bounds them is the disk's virtual size.
type meter struct {
	ratio          int64
	total, nonZero int64
}

// add counts b, decoded from the first consumed bytes of the content.
func (m *meter) add(b []byte, consumed int64) error {
	m.total += int64(len(b))
	m.nonZero += nonZero(b)
	// Divided, because a large ratio times a large file does not fit.
	if over := m.nonZero - free; over > 0 && over/m.ratio >= max(consumed, 1) {
		return errdef.WithHint(fmt.Errorf("%d stored bytes have become %d bytes that are not zero, above the limit of %d for one and %d to begin with: %w",
			consumed, m.nonZero, m.ratio, int64(free), errdef.ErrLimit), "if the image is trusted, raise --max-expansion")
	}
	return nil
}

// block is the unit in which zeros are told from data.
const block = 4096

var zeros [block]byte

// nonZero counts the bytes of b in blocks that are not all zeros.
func nonZero(b []byte) int64 {
	var n int64
	for len(b) > 0 {
		k := min(len(b), block)
		if !bytes.Equal(b[:k], zeros[:k]) {
			n += int64(k)
		}
		b = b[k:]
	}
	return n
}
