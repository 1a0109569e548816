package vmdk

import (
	"fmt"
	"iter"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/span"
)

// An Image is an open disk that is one file. It is an [image.Mapper].
type Image struct{ *disk }

var _ image.Mapper = (*Image)(nil)

// Runs tells where the bytes of [off, off+n) are stored, in guest order. A plain run is as long as the grains follow each
// other both in the disk and in the file. A packed run is a whole grain, cut only at the end of the disk.
func (m *Image) Runs(off, n int64) iter.Seq2[image.Run, error] { return span.Runs(m.Disk, off, n) }

// Unpack decodes a packed run into dst. A dst shorter than a grain, for the last run of a disk, gets the grain's start.
func (m *Image) Unpack(dst, stored []byte) error {
	if int64(len(dst)) > m.grain {
		return fmt.Errorf("vmdk: unpack into %d bytes, a grain has %d: %w", len(dst), m.grain, errdef.ErrUsage)
	}
	_, err := m.unpacker.unpack(dst, stored, m.grain, m.extents[0].markers)
	return err
}
