package runner

import (
	"cmp"
	"fmt"
	"math/bits"
	"path/filepath"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/resize"
	"github.com/cdictl/cdictl/lib/sink/blocksink"
	"github.com/cdictl/cdictl/lib/sink/filesink"
)

// target sets what is written and how large it may become.
func (r *run) target(req *importer.Request) error {
	req.Spool = r.spec.Scratch
	if req.Spool != "" {
		if err := importer.CleanSpool(req.Spool); err != nil {
			return err
		}
	}
	var err error
	if r.spec.Target.Device != "" {
		err = r.device(req)
	} else {
		err = r.file(req)
	}
	req.Size, req.Max = r.size, r.room
	return err
}

// device is filled to its end, so that what it held before shows nowhere.
func (r *run) device(req *importer.Request) error {
	t := blocksink.New(r.spec.Target.Device, blocksink.Options{Force: r.spec.Target.Replace})
	size, err := t.Size()
	if err != nil {
		return err
	}
	if size == 0 {
		return onTarget(t.String(), fmt.Errorf("the device has no bytes: %w", errdef.ErrTooSmall))
	}
	req.Target, r.size, r.room = t, size, size
	if state := cmp.Or(r.o.State, r.spec.StateDir); state != "" {
		req.Target, req.Resume = t.In(state), true
	}
	return nil
}

// file is a disk on a filesystem of which it may take all that was asked for. What a killed worker left half done must not
// make the filesystem look too small for the next one: it is gone on with, or makes room.
func (r *run) file(req *importer.Request) error {
	spec := r.spec.Target
	mode, err := spec.FileMode()
	if err != nil {
		return fmt.Errorf("target.mode: %w: %w", err, errdef.ErrUsage)
	}
	overhead, err := spec.FilesystemOverhead()
	if err != nil {
		return fmt.Errorf("target.overhead: %w", err)
	}
	t := filesink.New(spec.File, filesink.Options{Force: spec.Replace, Mode: mode, UID: spec.UID, GID: spec.GID})
	req.Target, req.Resume = t, true
	if _, _, err := t.Room(); err != nil { // before anything is touched: is there a folder?
		return err
	}
	if spec.Replace {
		if err := t.CleanDisk(); err != nil {
			return err
		}
	}
	dir := filepath.Dir(spec.File)
	if req.Spool == "" {
		req.Spool = dir
		if err := importer.CleanSpool(dir); err != nil {
			return err
		}
	}
	length, left := t.Left()
	if length < 0 { // what is there is of no use, and takes room
		if _, err := t.Clean(false); err != nil {
			return err
		}
	}
	if spec.Size == 0 {
		return nil
	}
	free, known, err := t.Room()
	if err != nil {
		return err
	}
	free += left
	r.room = spec.Size
	if known {
		r.room = min(r.room, free)
	}
	if r.size, err = resize.Usable(r.room, overhead); err != nil {
		return onTarget(t.String(), err)
	}
	if known && length >= 0 {
		r.asBefore(length, overhead)
	}
	if r.size == 0 {
		_, _ = t.Clean(false) // it is told that there is no room; a part would be of no use to anybody
		return onTarget(t.String(), fmt.Errorf("%d bytes were asked for, the filesystem has %d free, which is room for no disk: %w", spec.Size, free, errdef.ErrTooSmall))
	}
	return nil
}

// drift is by how much the room on a filesystem may seem to change while a disk is made there, beside what the disk takes:
// tables of the filesystem itself. At most 1/64 of the room.
const drift = 32 << 20

// asBefore makes size or room what they were for the run that left a part of this length, if they nearly are: a disk of
// another size would be another disk. Which of the two the part has depends on the route.
func (r *run) asBefore(length int64, overhead resize.Overhead) {
	off := func(n int64) int64 { return max(n-length, length-n) }
	size, room := off(r.size), off(r.room)
	if length > r.spec.Target.Size || min(size, room) > min(drift, r.room/64) {
		return
	}
	if room < size {
		if n, err := resize.Usable(length, overhead); err == nil {
			r.room, r.size = length, n
		}
		return
	}
	if r.room == r.size {
		r.room = length
	}
	r.size, r.room = length, max(r.room, length)
}

func onTarget(name string, err error) error {
	return &errdef.Error{Op: "size", Side: errdef.Target, Name: name, Err: err}
}

// required is the size of a claim on which the image would fit, 0 where it is not the claim's size that is wrong.
func (r *run) required() int64 {
	image := r.plan.VirtualSize
	if image <= 0 && r.plan.Codec == "" { // a plain stream is as large as it is stored
		image = r.plan.StoredSize
	}
	if r.room == 0 || image <= r.room {
		return 0
	}
	overhead, err := r.spec.Target.FilesystemOverhead()
	if err != nil {
		return 0
	}
	need, err := resize.Required(image, overhead)
	if err != nil {
		return 0
	}
	// This filesystem kept more to itself than its overhead says: a larger one will, too.
	if asked := r.spec.Target.Size; asked > r.room {
		hi, lo := bits.Mul64(uint64(image), uint64(asked))
		if hi >= uint64(r.room) {
			return 0
		}
		more, _ := bits.Div64(hi, lo, uint64(r.room))
		need = max(need, int64(min(more, 1<<62))+1)
	}
	if need, err = resize.AlignUp(need, resize.Alignment); err != nil {
		return 0
	}
	return need
}
