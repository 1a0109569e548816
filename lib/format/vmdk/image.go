package vmdk

import (
	"fmt"
	"iter"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

// An Image is an open disk that is one file. It is an [image.Mapper].
type Image struct{ *disk }

var _ image.Mapper = (*Image)(nil)

// Runs tells where the bytes of [off, off+n) are stored, in guest order. A plain run is as long as the grains follow each
// other both in the disk and in the file. A packed run is a whole grain, cut only at the end of the disk.
func (m *Image) Runs(off, n int64) iter.Seq2[image.Run, error] {
	d := m.disk
	return func(yield func(image.Run, error) bool) {
		if n <= 0 || off == d.size {
			return
		}
		end, err := d.query(off, n)
		if err != nil {
			yield(image.Run{}, err)
			return
		}
		c := cursor{d: d}
		var run image.Run // not yielded yet, if it has a length
		for pos := off; pos < end; {
			s, err := c.span(pos, end)
			if err != nil {
				if run.Length == 0 || yield(run, nil) {
					yield(image.Run{}, err)
				}
				return
			}
			pos = s.end()
			switch {
			case s.kind.kind() != image.Data:
				continue
			case s.kind == spanData && run.Length > 0 && run.Guest+run.Length == s.guest && !run.Packed && run.Stored+run.Length == s.host:
				run.Length += s.n
				run.StoredLength = run.Length
				continue
			}
			if run.Length > 0 && !yield(run, nil) {
				return
			}
			run = s.run()
		}
		if run.Length > 0 {
			yield(run, nil)
		}
	}
}

func (s span) run() image.Run {
	if s.kind == spanPacked {
		guest := s.guest - (s.guest-s.e.start)&(s.e.grain()-1)
		return image.Run{Guest: guest, Length: min(s.e.grain(), s.e.end()-guest), Stored: s.host, StoredLength: s.packed, Packed: true}
	}
	return image.Run{Guest: s.guest, Length: s.n, Stored: s.host, StoredLength: s.n}
}

// Unpack decodes a packed run into dst. A dst shorter than a grain, for the last run of a disk, gets the grain's start.
func (m *Image) Unpack(dst, stored []byte) error {
	if int64(len(dst)) > m.grain {
		return fmt.Errorf("vmdk: unpack into %d bytes, a grain has %d: %w", len(dst), m.grain, errdef.ErrUsage)
	}
	_, err := m.unpacker.unpack(dst, stored, m.grain, m.extents[0].markers)
	return err
}
