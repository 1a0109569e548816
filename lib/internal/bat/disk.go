package bat

import (
	"fmt"
	"io"
	"iter"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/blob"
	"github.com/cdictl/cdictl/lib/internal/span"
)

// A Disk reads blocks out of a file. It is an [image.Mapper] whose runs are never packed. Close does not close the file.
type Disk struct{ *span.Disk }

var _ image.Mapper = Disk{}

// NewDisk makes a disk of a table that is complete and was checked.
func NewDisk(t *Table, ra io.ReaderAt) Disk {
	return Disk{span.NewDisk(span.Options{
		Format: t.Format, Size: t.Size,
		Find: func() span.Finder { return t },
		Read: func(_ int, p []byte, off int64, what string) error {
			return blob.ReadFull(t.Format, ra, p, off, what)
		},
	})}
}

// Runs tells where the bytes of [off, off+n) are stored, in guest order.
func (d Disk) Runs(off, n int64) iter.Seq2[image.Run, error] { return span.Runs(d.Disk, off, n) }

// Unpack is an error: no run is packed.
func (d Disk) Unpack(_, _ []byte) error { return NotPacked(d.Format()) }

// NotPacked is the answer of Unpack where no run is packed.
func NotPacked(format string) error {
	return fmt.Errorf("%s: unpack of a run that is not packed: %w", format, errdef.ErrUsage)
}
