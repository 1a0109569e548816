package filesink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/fsop"
)

// lockPart makes an empty part that is ours alone: nobody else may open it for reading or writing while we have it, but
// it may be renamed and removed. What a killed writer left is truncated.
func lockPart(path string, tap fsop.Tap) (f *os.File, err error) {
	err = tap.Do(fsop.Op{Kind: fsop.Create, Path: path}, func() error {
		f, err = openPart(path, windows.CREATE_ALWAYS)
		return err
	})
	return f, err
}

// reopenPart opens the part that an earlier writer left: fs.ErrNotExist if there is none.
func reopenPart(path string, _ []int) (*os.File, error) {
	return openPart(path, windows.OPEN_EXISTING)
}

// locked: nobody else can open it.
func locked(*os.File) bool { return true }

// ownerOf is not asked here: who may write to the folder decides.
func ownerOf(fs.FileInfo) int { return os.Geteuid() }

func openPart(path string, how uint32) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE, windows.FILE_SHARE_DELETE, nil,
		how, windows.FILE_ATTRIBUTE_NORMAL|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
		return nil, errdef.WithHint(fmt.Errorf("another process writes this disk: %w", errdef.ErrBusy), "wait until it is done, or stop it")
	}
	if err != nil {
		return nil, err
	}
	// Sparse where the filesystem can; else the disk takes its whole size.
	var n uint32
	_ = windows.DeviceIoControl(h, windows.FSCTL_SET_SPARSE, nil, 0, nil, 0, &n, nil)
	return os.NewFile(uintptr(h), path), nil
}

// keepAttributes: permissions come from the folder.
func keepAttributes(*os.File, fs.FileInfo) error { return nil }

// syncFolder: MoveFileEx writes through.
func syncFolder(string) error { return nil }

// publish gives the part its name, at once. Without force an existing file is fs.ErrExist.
func publish(part, path string, force bool, tap fsop.Tap) error {
	from, err := windows.UTF16PtrFromString(part)
	if err != nil {
		return err
	}
	to, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return err
	}
	flags := uint32(windows.MOVEFILE_WRITE_THROUGH)
	if force {
		flags |= windows.MOVEFILE_REPLACE_EXISTING
	}
	return tap.Do(fsop.Op{Kind: fsop.Rename, Path: part, To: path, Fresh: !force}, func() error { return windows.MoveFileEx(from, to, flags) })
}

func isNoSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
func isQuota(err error) bool    { return errors.Is(err, windows.ERROR_NOT_ENOUGH_QUOTA) }
func isTooBig(err error) bool   { return errors.Is(err, windows.ERROR_FILE_TOO_LARGE) }
func isReadOnly(err error) bool { return errors.Is(err, windows.ERROR_WRITE_PROTECT) }

// giveAway: owners come from the folder.
func giveAway(*os.File, *int, *int) error { return nil }

// dropPart removes a part that a killed writer left, and reports whether there was one.
func dropPart(path string, tap fsop.Tap) (bool, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	f, err := lockPart(path, tap)
	if err != nil {
		return false, err
	}
	err = tap.Do(fsop.Op{Kind: fsop.Remove, Path: path}, func() error { return os.Remove(path) })
	return true, errors.Join(err, f.Close())
}
