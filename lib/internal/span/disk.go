package span

import (
	"fmt"
	"io"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

// Options make a Disk.
type Options struct {
	// Format begins the errors.
	Format string
	// Size is the virtual size.
	Size int64
	// Unit is the size of the largest packed unit; 0 without any.
	Unit int64
	// Gap is the number of stored bytes between two packed units that are rather read than skipped.
	Gap int64
	// Find begins to look up spans.
	Find func() Finder
	// Read fills p from a stored file at off; what names the bytes in an error.
	Read func(file int, p []byte, off int64, what string) error
	// Unpack decodes the whole packed unit of a span into dst, which has its Length.
	Unpack func(dst, stored []byte, s Span) error
}

// A Disk reads spans. It is safe for concurrent use.
type Disk struct {
	o       Options
	batches sync.Pool // of *batch
	units   sync.Pool // of *[]byte, one unit each
	recent  recent
}

// NewDisk makes a disk.
func NewDisk(o Options) *Disk {
	d := &Disk{o: o}
	d.batches.New = func() any { return new(batch) }
	d.units.New = func() any {
		b := make([]byte, o.Unit)
		return &b
	}
	return d
}

// Format is the name that begins the errors.
func (d *Disk) Format() string { return d.o.Format }

// Size is the virtual size.
func (d *Disk) Size() int64 { return d.o.Size }

// ClusterSize is what is decoded at once, 0 if nothing is: reads of whole clusters decode nothing twice.
func (d *Disk) ClusterSize() int64 { return d.o.Unit }

// Close does nothing: the stored files are not the disk's.
func (d *Disk) Close() error { return nil }

// query checks the range of a question for extents and returns its end.
func (d *Disk) query(off, n int64) (int64, error) {
	if off < 0 || n <= 0 || off >= d.o.Size {
		return 0, fmt.Errorf("%s: query [%d,+%d) in a disk of %d bytes: %w", d.o.Format, off, n, d.o.Size, errdef.ErrUsage)
	}
	return off + min(n, d.o.Size-off), nil
}

// NextExtent returns the extent that begins at off, no longer than max.
func (d *Disk) NextExtent(off, max int64) (image.Extent, error) {
	end, err := d.query(off, max)
	if err != nil {
		return image.Extent{}, err
	}
	f := d.o.Find()
	s, err := f.Span(off, end)
	if err != nil {
		return image.Extent{}, err
	}
	x := image.Extent{Start: off, Length: s.N, Kind: s.Kind.Extent()}
	for x.End() < end {
		t, wrong := f.Span(x.End(), end)
		if wrong != nil || t.Kind.Extent() != x.Kind {
			break // what is wrong behind this extent is for the next question
		}
		x.Length += t.N
	}
	return x, nil //nolint:nilerr // as said
}

// ReadAt reads from the disk; holes and zeros read as zeros.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	return d.read(p, off, func(p []byte, _ int64) error {
		clear(p)
		return nil
	})
}

// read is ReadAt; hole fills p with what the disk has at off where it has a hole.
func (d *Disk) read(p []byte, off int64, hole func(p []byte, off int64) error) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%s: read at negative offset %d: %w", d.o.Format, off, errdef.ErrUsage)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off >= d.o.Size {
		return 0, io.EOF
	}
	want := len(p)
	p = p[:min(int64(len(p)), d.o.Size-off)]
	s := scan{f: d.o.Find(), pos: off, end: off + int64(len(p))}
	for done := 0; done < len(p); {
		t, err := s.next()
		if err != nil {
			return done, err
		}
		n := int(t.N)
		switch dst := p[done:][:n]; t.Kind {
		case Hole:
			err = hole(dst, t.Guest)
		case Zero:
			clear(dst)
		case Data:
			if err = d.o.Read(t.File, dst, t.Host, "data"); err != nil {
				err = fmt.Errorf("guest offset %d: %w", t.Guest, err)
			}
		case Packed:
			n, err = d.readPacked(p[done:], t, &s)
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	if len(p) < want {
		return len(p), io.EOF
	}
	return len(p), nil
}
