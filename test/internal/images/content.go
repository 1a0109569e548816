// Package images makes the images of the suites: deterministic content, qcow2 files of every kind that qemu-img and
// qemu-io can make, and their compressed forms.
package images

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// Raw makes a sparse raw file of size bytes with about data bytes of content, spread over the disk in runs of many
// lengths and alignments. The same seed gives the same file.
func Raw(path string, size, data int64, seed uint64) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if err := f.Truncate(size); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(seed, 2))
	content := NewContent(seed)
	// A disk begins with something and ends with something (a boot sector, a backup GPT).
	if _, err := io.CopyN(io.NewOffsetWriter(f, 0), content, 4096); err != nil {
		return err
	}
	if _, err := io.CopyN(io.NewOffsetWriter(f, size-512), content, 512); err != nil {
		return err
	}
	lengths := []int64{512, 4096, 12 << 10, 65536, 65536 + 512, 1 << 20, 3<<20 + 4096, 8 << 20}
	gap := size / max(1, data>>20) // runs are 1.6 MiB on average
	for off, left := int64(4096), data; left > 0; {
		n := min(lengths[rng.IntN(len(lengths))], left)
		if off+n > size-512 {
			return nil
		}
		if _, err := io.CopyN(io.NewOffsetWriter(f, off), content, n); err != nil {
			return err
		}
		left -= n
		off += n + rng.Int64N(2*max(gap-1<<20, 4096))&^511
	}
	return nil
}

// NewContent is an endless stream like a disk's: text, tables of small numbers, noise and runs of zeros, 2:1 to 3:1
// for a compressor.
func NewContent(seed uint64) io.Reader {
	return bufio.NewReaderSize(&content{rng: rand.New(rand.NewPCG(seed, 1))}, 64<<10)
}

type content struct {
	rng  *rand.Rand
	left []byte
	buf  [4096]byte
}

func (c *content) Read(p []byte) (int, error) {
	if len(c.left) == 0 {
		c.fill()
	}
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, nil
}

func (c *content) fill() {
	b := c.buf[:]
	switch k := c.rng.IntN(10); {
	case k < 4:
		for i := 0; i+8 <= len(b); i += 8 {
			binary.LittleEndian.PutUint64(b[i:], c.rng.Uint64())
		}
	case k < 7:
		text := fmt.Appendf(b[:0], "host-%d kernel: [%d.%06d] eth%d: link up\n", c.rng.IntN(9), c.rng.IntN(99), c.rng.IntN(1e6), c.rng.IntN(4))
		for n := len(text); n < len(b); n *= 2 {
			copy(b[n:], b[:n])
		}
	case k < 9:
		for i := 0; i+8 <= len(b); i += 8 {
			binary.LittleEndian.PutUint64(b[i:], uint64(c.rng.IntN(1<<12))<<20)
		}
	default:
		clear(b)
	}
	c.left = b
}
