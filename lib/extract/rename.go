package extract

import (
	"errors"
	"io/fs"
	"os"
)

// renameLooking is a rename that looks before, where the system has none that replaces nothing.
func renameLooking(root *os.Root, from, to string) error {
	if _, err := root.Lstat(to); err == nil {
		return fs.ErrExist
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return root.Rename(from, to)
}
