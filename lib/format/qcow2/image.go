package qcow2

import (
	"fmt"
	"iter"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/span"
)

// An Image is an open image, or a snapshot in it, without a backing file. It is an [image.Mapper]. Its size is the virtual
// size as the header has it: no multiple of the cluster size, perhaps not even of 512.
type Image struct{ *disk }

var _ image.Mapper = (*Image)(nil)

// Runs tells where the bytes of [off, off+n) are stored, in guest order. A plain run is as long as the clusters follow each
// other both in the guest and in the file. A packed run is a whole cluster, cut only at the end of the disk.
func (m *Image) Runs(off, n int64) iter.Seq2[image.Run, error] { return span.Runs(m.Disk, off, n) }

// Unpack decodes a packed run into dst. A dst shorter than a cluster, for the last run of a disk, gets the cluster's start.
func (m *Image) Unpack(dst, stored []byte) error {
	if int64(len(dst)) > m.cluster() {
		return fmt.Errorf("qcow2: unpack into %d bytes, a cluster has %d: %w", len(dst), m.cluster(), errdef.ErrUsage)
	}
	return m.unpacker.unpack(dst, stored)
}
