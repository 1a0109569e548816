package bat

import (
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

// A Disk reads blocks out of a file. It is an [image.Mapper] whose runs are never packed. Close does not close the file.
type Disk struct {
	t  *Table
	ra io.ReaderAt
}

var _ image.Mapper = (*Disk)(nil)

// NewDisk makes a disk of a table that is complete and was checked.
func NewDisk(t *Table, ra io.ReaderAt) *Disk { return &Disk{t, ra} }

// Size is the virtual size.
func (d *Disk) Size() int64 { return d.t.Size }

// Close does nothing: the disk holds only memory.
func (d *Disk) Close() error { return nil }

// ReadAt reads from the disk; what is not stored reads as zeros.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%s: read at negative offset %d: %w", d.t.Format, off, errdef.ErrUsage)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off >= d.t.Size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > d.t.Size-off {
		p, end = p[:d.t.Size-off], io.EOF
	}
	for done := 0; done < len(p); {
		at := off + int64(done)
		s := d.t.span(at, off+int64(len(p)))
		dst := p[done:][:s.n]
		if s.kind == image.Data {
			if n, err := d.ra.ReadAt(dst, s.host); n < len(dst) {
				return done + n, readError(d.t.Format, fmt.Sprintf("guest offset %d: data", at), s.host, err)
			}
		} else {
			clear(dst)
		}
		done += len(dst)
	}
	return len(p), end
}

// NextExtent returns the extent that begins at off, no longer than max.
func (d *Disk) NextExtent(off, max int64) (image.Extent, error) {
	end, err := d.query(off, max)
	if err != nil {
		return image.Extent{}, err
	}
	s := d.t.span(off, end)
	x := image.Extent{Start: off, Length: s.n, Kind: s.kind}
	for x.End() < end {
		s := d.t.span(x.End(), end)
		if s.kind != x.Kind {
			break
		}
		x.Length += s.n
	}
	return x, nil
}

// query checks the range of a question and returns its end.
func (d *Disk) query(off, n int64) (int64, error) {
	if off < 0 || n <= 0 || off >= d.t.Size {
		return 0, fmt.Errorf("%s: query [%d,+%d) in a disk of %d bytes: %w", d.t.Format, off, n, d.t.Size, errdef.ErrUsage)
	}
	return off + min(n, d.t.Size-off), nil
}

// Runs tells where the bytes of [off, off+n) are stored, in guest order.
func (d *Disk) Runs(off, n int64) iter.Seq2[image.Run, error] {
	return func(yield func(image.Run, error) bool) {
		if n <= 0 || off == d.t.Size {
			return
		}
		end, err := d.query(off, n)
		if err != nil {
			yield(image.Run{}, err)
			return
		}
		for off < end {
			s := d.t.span(off, end)
			if s.kind == image.Data && !yield(image.Run{Guest: s.off, Length: s.n, Stored: s.host, StoredLength: s.n}, nil) {
				return
			}
			off += s.n
		}
	}
}

// Unpack is an error: no run is packed.
func (d *Disk) Unpack(_, _ []byte) error { return NotPacked(d.t.Format) }

// NotPacked is the answer of Unpack where no run is packed.
func NotPacked(format string) error {
	return fmt.Errorf("%s: unpack of a run that is not packed: %w", format, errdef.ErrUsage)
}

// readError is for a ReadAt that was short although the stored size says that there is more.
func readError(format, what string, off int64, err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: read %s at %d: the stored file became shorter: %w", format, what, off, errdef.ErrChanged)
	}
	return fmt.Errorf("%s: read %s at %d: %w", format, what, off, err)
}
