package blocksink

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/cdictl/cdictl/lib/errdef"
)

// explain gives an operating system's error the class and the hint it deserves, and drops the path that it repeats.
func (t *Target) explain(op string, err error) error {
	var e *errdef.Error
	if errors.As(err, &e) {
		return err
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		err = errdef.WithHint(fmt.Errorf("the storage behind the device is full: %w: %w", errdef.ErrNoSpace, err), "enlarge the pool or the disk that the device is a part of")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		err = errdef.WithHint(err, "check that this user may write to the device (ls -l "+t.path+") and that it is not read-only (blockdev --getro "+t.path+")")
	case errors.Is(err, syscall.ENXIO):
		err = errdef.WithHint(err, "the device is gone, or nothing is in it")
	case errors.Is(err, syscall.EIO):
		err = errdef.WithHint(err, "the device failed: see dmesg")
	}
	return t.fail(op, err)
}
