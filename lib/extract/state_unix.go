//go:build unix

package extract

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// removesOpen: what is open can be removed.
const removesOpen = true

func lock(f *os.File) error {
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errBusy()
		default:
			return err
		}
	}
}

// inode tells an entry from one that somebody put in its place.
func inode(fi fs.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// syncFolder leaves it where a folder cannot be flushed.
func syncFolder(d *os.File) error {
	err := d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

func tooBig(err error) bool { return errors.Is(err, syscall.EFBIG) }

func makeSparse(*os.File) {} // every file may be
