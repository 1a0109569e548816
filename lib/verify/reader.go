package verify

import (
	"fmt"
	"io"
)

// chunk is what the hash takes at a time: large enough that handing it over costs nothing beside hashing it.
const chunk = 128 << 10

// A Reader passes on what it reads and hashes it on the side, on a goroutine that runs only while there is something
// to hash: there is nothing to close. At most 512 KiB wait for it. Not safe for concurrent use.
type Reader struct {
	r     io.Reader
	want  Digest
	hash  *hasher // nil when there is nothing to check
	bytes int64
	err   error // what r ended with; sticky, so that an error can not turn into the end on a second try
}

// NewReader hashes what passes from r with d's algorithm. With the zero Digest it only counts.
func NewReader(r io.Reader, d Digest) *Reader {
	v := &Reader{r: r, want: d}
	if !d.IsZero() {
		v.hash = newHasher(d.Hash())
	}
	return v
}

// Read reads from the underlying reader and returns its errors as they are.
func (v *Reader) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(p)
	if n < 0 || n > len(p) {
		n, err = 0, fmt.Errorf("reader returned a count of %d for %d bytes", n, len(p))
	}
	v.bytes += int64(n)
	if v.hash != nil {
		v.hash.write(p[:n])
	}
	v.err = err
	return n, err
}

// Resume makes v go on behind the first off bytes, which it has not seen: state is what Mark told of them, nil with the
// zero Digest. It is called before the first Read.
func (v *Reader) Resume(off int64, state []byte) error {
	v.bytes = off
	if v.hash == nil {
		return nil
	}
	return v.hash.resume(off, state)
}

// Mark is a place at or before the end of the first n bytes to Resume at, and the state there; ok is false if there is none
// that is near enough. It may be called beside Read.
func (v *Reader) Mark(n int64) (off int64, state []byte, ok bool) {
	if v.hash == nil {
		return n, nil, true
	}
	return v.hash.mark(n)
}

// Bytes is how many bytes have passed.
func (v *Reader) Bytes() int64 { return v.bytes }

// Sum is the hash of what has passed so far; nil with the zero Digest.
func (v *Reader) Sum() []byte {
	if v.hash == nil {
		return nil
	}
	return v.hash.sum()
}

// Verify reads on to the end, so that stored bytes nobody asked for count too, and checks the digest. An error of the
// underlying reader, now or earlier, wins over what the bytes so far would say. With the zero Digest it only reads on.
func (v *Reader) Verify() error {
	if err := v.drain(); err != nil {
		return err
	}
	if v.hash == nil {
		return nil
	}
	return v.want.Check(v.hash.sum())
}

func (v *Reader) drain() error {
	buf := make([]byte, chunk)
	for empty := 0; ; {
		n, err := v.Read(buf)
		switch {
		case err == io.EOF: // as it is: an error that wraps EOF is not the end
			return nil
		case err != nil:
			return err
		case n > 0:
			empty = 0
		default:
			if empty++; empty >= 100 {
				return io.ErrNoProgress
			}
		}
	}
}
