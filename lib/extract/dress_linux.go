package extract

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/lib/errdef"
)

func setXattr(f *os.File, a xattr) error {
	return unix.Fsetxattr(int(f.Fd()), a.name, []byte(a.value), 0)
}

// dropACLs removes a folder's ACLs, where there are any.
func dropACLs(d *os.File) {
	for _, name := range []string{aclDefault, aclAccess} {
		_ = unix.Fremovexattr(int(d.Fd()), name)
	}
}

// setLinkXattr goes by way of /proc, because there is no call for a link in an open folder before Linux 6.13. Without /proc the
// attribute is lost.
func setLinkXattr(at *place, base string, a xattr) error {
	err := unix.Lsetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", at.dir.Fd(), base), a.name, []byte(a.value), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.ErrUnsupported
	}
	return err
}

func setTimes(at *place, base string, h *header) error {
	mtime, err := unix.TimeToTimespec(h.mtime)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdef.ErrUnsupported)
	}
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}
	if a, ok := h.accessed(); ok {
		if ts[0], err = unix.TimeToTimespec(a); err != nil {
			return fmt.Errorf("%w: %w", err, errdef.ErrUnsupported)
		}
	}
	return unix.UtimesNanoAt(int(at.dir.Fd()), base, ts, unix.AT_SYMLINK_NOFOLLOW)
}

func setLinkTimes(at *place, base string, h *header) error { return setTimes(at, base, h) }
