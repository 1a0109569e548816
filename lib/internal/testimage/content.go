package testimage

import (
	"io"
	"math/rand/v2"
)

// words make text that compresses about as well as a root filesystem does.
var words = []string{
	"kernel", "module", "the", "a", "=", "/usr/lib", "systemd", "service", "of", "return", "if", "nil", "\n", "\t",
	"image", "disk", "0x00", "/etc", "python3", "import", "to", "and", "volume", "cluster", ";\n", "{", "}", "#",
}

// WriteContent writes a disk of size bytes that looks like a real one to w: text, bytes that do not compress, short
// patterns and zeros, in pieces from a few bytes to 300 KiB. Zeros are not written: w must be new. Equal seeds write equal
// disks.
func WriteContent(w io.WriterAt, size int64, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	buf := make([]byte, 300<<10)
	for off := int64(0); off < size; {
		n := int64(1 + r.IntN(len(buf)))
		if r.IntN(4) == 0 {
			n = min(n, int64(1+r.IntN(5000)))
		}
		n = min(n, size-off)
		if fill(buf[:n], r) {
			if _, err := w.WriteAt(buf[:n], off); err != nil {
				return err
			}
		}
		off += n
	}
	return nil
}

// fill makes up one piece; false says that it is zeros.
func fill(b []byte, r *rand.Rand) bool {
	switch k := r.IntN(10); {
	case k < 4: // text
		for len(b) > 0 {
			n := copy(b, words[r.IntN(len(words))])
			if b = b[n:]; len(b) > 0 {
				b[0] = ' '
				b = b[1:]
			}
		}
	case k < 7: // noise
		for len(b) >= 8 {
			x := r.Uint64()
			for i := range 8 {
				b[i] = byte(x >> (8 * i))
			}
			b = b[8:]
		}
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	case k < 8: // a pattern
		x, step := r.Uint32(), 1+r.IntN(64)
		for i := range b {
			b[i] = byte(x) + byte(i/step)
		}
	default:
		return false
	}
	return true
}
