package e2e

import (
	"os"
	"syscall"
)

// allocate makes a file longer by blocks that nobody else can have.
func allocate(f *os.File, n int64) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	return syscall.Fallocate(int(f.Fd()), 0, fi.Size(), n)
}
