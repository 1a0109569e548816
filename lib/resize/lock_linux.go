package resize

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/lib/errdef"
)

// The bytes of an image that QEMU locks while it has it open, whatever it does with it.
const (
	lockStart = 100
	lockLen   = 200
)

// Lock takes the image for this process, until f is closed: nobody may have it open in QEMU, and nobody can open it there.
// Where the filesystem has no such locks it does nothing.
func Lock(f *os.File) error {
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: lockStart, Len: lockLen})
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		return errdef.WithHint(fmt.Errorf("somebody has it open: %w", errdef.ErrBusy), "stop the virtual machine that uses it")
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return nil
	}
	return err
}
