package extract

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// removesOpen: what is open keeps its name until it is closed.
const removesOpen = false

func lock(f *os.File) error {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errBusy()
	}
	return err
}

// inode is not told: an entry of the name is taken for ours.
func inode(fs.FileInfo) uint64 { return 0 }

func syncFolder(*os.File) error { return nil } // the names are in a journal

func tooBig(err error) bool { return errors.Is(err, windows.ERROR_FILE_TOO_LARGE) }

// makeSparse does it where the filesystem can; else the file takes its whole size.
func makeSparse(f *os.File) {
	var n uint32
	_ = windows.DeviceIoControl(windows.Handle(f.Fd()), windows.FSCTL_SET_SPARSE, nil, 0, nil, 0, &n, nil)
}
