// Package blocksink writes a disk onto a block device, on Linux.
//
// A device has no name to be given at the end, so what makes a disk recognisable is held back instead: the first and the
// last MiB of the device and the last MiB of the disk are zeroed in Open, kept in memory, and written in Commit when all
// the rest is durable, the first page last of all. A writer that is killed at any moment leaves a device on which nothing
// finds a partition table or a filesystem.
//
// What the device held before never shows: Commit zeroes everything, up to the end of the device, that was neither
// written nor zeroed.
//
// An import that was interrupted can be gone on with: see Kept. Beside the record of it there is a token, in a folder and on
// the device, in the part of it that is held back; without the very token a record says nothing.
//
// All writes are direct (O_DIRECT): they need no page cache, and none of it to be flushed. Sectors that are written in
// part are read, changed and written, one writer at a time.
package blocksink

import (
	"fmt"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
)

// Options of a Target. The zero value is useful.
type Options struct {
	// Force writes over a device that holds a partition table, a filesystem or the like. Without it that is
	// errdef.ErrExists. A device that is in use is refused with it too.
	//
	// A program that knows that the device is its own (an agent with a fresh claim) sets it.
	Force bool
}

// A Target is one block device. It implements sink.Target.
type Target struct {
	path  string
	o     Options
	notes *notes // nil: nothing is kept
}

// New names the device at path. On other systems than Linux, Open is errdef.ErrUnsupported.
func New(path string, o Options) *Target { return &Target{path: path, o: o} }

// String returns the path.
func (t *Target) String() string { return t.path }

func (t *Target) fail(op string, err error) error {
	return &errdef.Error{Op: op, Side: errdef.Target, Name: t.path, Err: err}
}

// checkOptions refuses what no device can do.
func (t *Target) checkOptions(o sink.Options) error {
	switch {
	case o.Mode == sink.Resume && t.notes == nil:
		return t.fail("open", errdef.WithHint(fmt.Errorf("an import to a device cannot be resumed without a folder for its record: %w", errdef.ErrUnsupported),
			"start again: the device is written from the beginning"))
	case o.Mode != sink.New && o.Mode != sink.Resume:
		return t.fail("open", errdef.WithHint(fmt.Errorf("a disk on a device cannot be changed in place: %w", errdef.ErrUnsupported),
			"start again: the device is written from the beginning"))
	case o.Size < -1:
		return t.fail("open", fmt.Errorf("size %d: %w", o.Size, errdef.ErrUsage))
	}
	return nil
}

// take makes an open device ours, after everything that can be refused was.
func (t *Target) take(dev device, size, sector int64, o sink.Options) (*disk, error) {
	if err := tooSmall(size, o.Size); err != nil {
		return nil, t.fail("open", err)
	}
	d, err := t.begin(dev, size, sector, o)
	if err == nil && t.notes != nil {
		t.notes.disk.Store(d)
	}
	return d, err
}

func (t *Target) begin(dev device, size, sector int64, o sink.Options) (*disk, error) {
	if o.Mode == sink.Resume {
		return t.resume(dev, size, sector, o)
	}
	if !t.o.Force {
		what, err := recognise(dev, size, sector)
		if err != nil {
			return nil, t.explain("open", err)
		}
		if what != "" {
			return nil, t.fail("open", errdef.WithHint(fmt.Errorf("the device holds %s: %w", what, errdef.ErrExists),
				"look at it (wipefs -n "+t.path+", lsblk -f); if nobody needs it, overwrite it with --force"))
		}
	}
	if t.notes != nil {
		if err := t.notes.drop(); err != nil { // they are of what is written over now
			return nil, t.explain("open", err)
		}
	}
	return newDisk(t, dev, size, sector, o)
}

// maxSector is the largest logical sector that Linux supports.
const maxSector = 64 << 10

// tooSmall is nil if a disk of size bytes fits.
func tooSmall(device, size int64) error {
	if size <= device {
		return nil
	}
	return errdef.WithHint(fmt.Errorf("the device has %d bytes, the disk needs %d: %w", device, size, errdef.ErrTooSmall), "choose a larger device, or enlarge this one")
}
