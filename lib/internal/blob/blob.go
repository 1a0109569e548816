// Package blob reads the stored file of an image, and says in the format's name what does not fit it.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
)

// HeadLen is how much of a file Open reads: the headers of what tools write, for one round trip.
const HeadLen = 64 << 10

// A Blob is a stored file, of which the start was read.
type Blob struct {
	// Format begins the errors.
	Format string
	io.ReaderAt
	// Size is that of the file; -1: nothing but Head is known of it.
	Size int64
	Head []byte
}

// Open reads the start of the size bytes in ra.
func Open(ctx context.Context, format string, ra io.ReaderAt, size int64) (*Blob, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n := int64(HeadLen)
	if size >= 0 {
		n = min(n, size)
	}
	b := &Blob{Format: format, ReaderAt: ra, Size: size, Head: make([]byte, n)}
	got, err := ra.ReadAt(b.Head, 0)
	if int64(got) < n && (!errors.Is(err, io.EOF) || size >= 0) {
		return nil, Short(format, "header", 0, err)
	}
	b.Head = b.Head[:got]
	return b, nil
}

// At returns the n bytes at off, which are the caller's to read only. n must be bounded; what names them.
func (b *Blob) At(off, n int64, what string) ([]byte, error) {
	if off >= 0 && off <= int64(len(b.Head)) && n <= int64(len(b.Head))-off {
		return b.Head[off : off+n], nil
	}
	if b.Size < 0 {
		return nil, fmt.Errorf("%s: %s at %d (%d bytes) passes the first %d bytes, which is all there is: %w",
			b.Format, what, off, n, len(b.Head), errdef.ErrCorrupt)
	}
	if err := Inside(b.Format, what, off, n, b.Size); err != nil {
		return nil, err
	}
	p := make([]byte, n)
	return p, ReadFull(b.Format, b, p, off, what)
}

// Inside checks that n bytes at off lie in a file of that size.
func Inside(format, what string, off, n, size int64) error {
	if off < 0 || off > size || n > size-off {
		return fmt.Errorf("%s: %s at %d (%d bytes) lies past the end of the stored file (%d bytes): %w", format, what, off, n, size, errdef.ErrCorrupt)
	}
	return nil
}

// ReadFull fills p with what ra has at off, where there is that much.
func ReadFull(format string, ra io.ReaderAt, p []byte, off int64, what string) error {
	if n, err := ra.ReadAt(p, off); n < len(p) {
		return Short(format, what, off, err)
	}
	return nil
}

// Short is the error of a read that was short although the file's size says that there is more.
func Short(format, what string, off int64, err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: read %s at %d: the stored file became shorter: %w", format, what, off, errdef.ErrChanged)
	}
	return fmt.Errorf("%s: read %s at %d: %w", format, what, off, err)
}
