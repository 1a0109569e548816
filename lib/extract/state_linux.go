package extract

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// few is up to how many files, and folders, are made durable one by one. To flush the whole filesystem waits for whatever
// anybody else has written to it; to flush each of many small files takes many times as long as the archive does.
const few = 32

// sync makes the whole filesystem durable at once.
func (s *state) sync() error {
	d, err := s.root.Open(Hidden)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// renameNew renames within root, and never over anything: that is fs.ErrExist.
func renameNew(root *os.Root, from, to string) error {
	fromDir, fromBase := split(from)
	d, err := root.Open(fromDir)
	if err != nil {
		return err
	}
	defer d.Close()
	top, err := root.Open(".")
	if err != nil {
		return err
	}
	defer top.Close()
	// from lies in a folder of ours, and to at the top: both are single names.
	err = unix.Renameat2(int(d.Fd()), fromBase, int(top.Fd()), to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return renameLooking(root, from, to) // NFS and others
	}
	return err
}
