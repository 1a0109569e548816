package runner

import (
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
	if r.o.State != "" {
		req.Target, req.Resume = t.In(r.o.State), true
	}
	return nil
}

// file is a disk on a filesystem of which it may take all that was asked for. Leftovers go first: a disk that a killed
// worker left half done must not make the filesystem look too small for the next one.
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
	req.Target = t
	free, known, err := t.Room()
	if err != nil {
		return err
	}
	found, err := t.Clean(spec.Replace)
	if err != nil {
		return err
	}
	dir := filepath.Dir(spec.File)
	if req.Spool == "" {
		req.Spool = dir
		if err := importer.CleanSpool(dir); err != nil {
			return err
		}
	}
	if found {
		if free, known, err = t.Room(); err != nil {
			return err
		}
	}
	if spec.Size == 0 {
		return nil
	}
	r.room = spec.Size
	if known {
		r.room = min(r.room, free)
	}
	if r.size, err = resize.Usable(r.room, overhead); err != nil {
		return onTarget(t.String(), err)
	}
	if r.size == 0 {
		return onTarget(t.String(), fmt.Errorf("%d bytes were asked for, the filesystem has %d free, which is room for no disk: %w", spec.Size, free, errdef.ErrTooSmall))
	}
	return nil
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
