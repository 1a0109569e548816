package qcow2

import (
	"fmt"
	"iter"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

// An Image is an open image, or a snapshot in it, without a backing file. It is an [image.Mapper].
type Image struct{ *disk }

var _ image.Mapper = (*Image)(nil)

// Size is the virtual size as the header has it: no multiple of the cluster size, perhaps not even of 512.
func (d *disk) Size() int64 { return d.size }

// ClusterSize is what is decoded at once: reads of whole clusters decode nothing twice.
func (d *disk) ClusterSize() int64 { return 1 << d.bits }

// Close does nothing: the image holds only memory.
func (d *disk) Close() error { return nil }

// query checks the range of a question for extents and returns its end.
func (d *disk) query(off, n int64) (int64, error) {
	if off < 0 || n <= 0 || off >= d.size {
		return 0, fmt.Errorf("qcow2: query [%d,+%d) in a disk of %d bytes: %w", off, n, d.size, errdef.ErrUsage)
	}
	return off + min(n, d.size-off), nil
}

// NextExtent returns the extent that begins at off, no longer than max.
func (d *disk) NextExtent(off, max int64) (image.Extent, error) {
	end, err := d.query(off, max)
	if err != nil {
		return image.Extent{}, err
	}
	c := cursor{d: d}
	s, err := c.span(off, end)
	if err != nil {
		return image.Extent{}, err
	}
	x := image.Extent{Start: off, Length: s.n, Kind: s.kind.kind()}
	for x.End() < end {
		t, wrong := c.span(x.End(), end)
		if wrong != nil || t.kind.kind() != x.Kind {
			break // what is wrong behind this extent is for the next question
		}
		x.Length += t.n
	}
	return x, nil //nolint:nilerr // as said
}

// Runs tells where the bytes of [off, off+n) are stored, in guest order. A plain run is as long as the clusters follow each
// other both in the guest and in the file. A packed run is a whole cluster, cut only at the end of the disk.
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
			run = d.run(s)
		}
		if run.Length > 0 {
			yield(run, nil)
		}
	}
}

func (d *disk) run(s span) image.Run {
	if s.kind == spanPacked {
		guest := s.guest &^ (d.cluster() - 1)
		return image.Run{Guest: guest, Length: min(d.cluster(), d.size-guest), Stored: s.host, StoredLength: s.packed, Packed: true}
	}
	return image.Run{Guest: s.guest, Length: s.n, Stored: s.host, StoredLength: s.n}
}

// Unpack decodes a packed run into dst. A dst shorter than a cluster, for the last run of a disk, gets the cluster's start.
func (m *Image) Unpack(dst, stored []byte) error {
	if int64(len(dst)) > m.cluster() {
		return fmt.Errorf("qcow2: unpack into %d bytes, a cluster has %d: %w", len(dst), m.cluster(), errdef.ErrUsage)
	}
	return m.unpacker.unpack(dst, stored)
}
