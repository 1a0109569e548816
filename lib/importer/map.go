package importer

import (
	"github.com/cdictl/cdictl/lib/image"
)

// A MapEntry is a stretch of a disk. Its JSON has the field names of qemu-img map --output=json.
type MapEntry struct {
	Start  int64 `json:"start"`
	Length int64 `json:"length"`
	Depth  int   `json:"depth"` // always 0: of a backing chain only the whole is seen
	// Present: the image has something there, be it zeros.
	Present    bool   `json:"present"`
	Zero       bool   `json:"zero"`
	Data       bool   `json:"data"`
	Compressed bool   `json:"compressed"`
	Offset     *int64 `json:"offset,omitempty"` // in the stored file, where the bytes lie there as they are
}

// joins reports whether b goes on where a ends.
func (a MapEntry) joins(b MapEntry) bool {
	if a.Start+a.Length != b.Start || a.Present != b.Present || a.Zero != b.Zero || a.Data != b.Data || a.Compressed != b.Compressed {
		return false
	}
	return a.Offset == nil && b.Offset == nil || a.Offset != nil && b.Offset != nil && *a.Offset+a.Length == *b.Offset
}

// Map tells yield where the disk has what, in order and joined as far as can be.
func (d *Disk) Map(yield func(MapEntry) error) error {
	var last MapEntry
	add := func(e MapEntry) error {
		if last.Length > 0 && last.joins(e) {
			last.Length += e.Length
			return nil
		}
		done := last
		last = e
		if done.Length == 0 {
			return nil
		}
		return yield(done)
	}
	for off := int64(0); off < d.Size(); {
		x, err := image.Next(d.Image, off, d.Size()-off)
		if err != nil {
			return onSource("read", d.name, err)
		}
		if err := d.mapExtent(x, add); err != nil {
			return err
		}
		off = x.End()
	}
	if last.Length == 0 {
		return nil
	}
	return yield(last)
}

func (d *Disk) mapExtent(x image.Extent, add func(MapEntry) error) error {
	e := MapEntry{Start: x.Start, Length: x.Length, Present: x.Kind != image.Hole, Zero: x.Kind.IsZero(), Data: !x.Kind.IsZero()}
	m, mapped := d.Image.(image.Mapper)
	switch {
	case e.Zero && d.plain: // a raw file has its zeros, too
		e.Present, e.Offset = true, &x.Start
		return add(e)
	case e.Zero || !mapped || d.copied:
		return add(e)
	}
	for r, err := range m.Runs(x.Start, x.Length) {
		if err != nil {
			return onSource("read", d.name, err)
		}
		start, end := max(r.Guest, x.Start), min(r.Guest+r.Length, x.End())
		e.Start, e.Length, e.Compressed, e.Offset = start, end-start, r.Packed, nil
		if !r.Packed {
			at := r.Stored + start - r.Guest
			e.Offset = &at
		}
		if err := add(e); err != nil {
			return err
		}
	}
	return nil
}
