package importer

import (
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// space is how many bytes f's filesystem has for this process; known is false where it does not tell.
func space(f *os.File) (free int64, known bool) {
	var sfs unix.Statfs_t
	c, err := f.SyscallConn()
	if err != nil {
		return 0, false
	}
	var serr error
	if err := c.Control(func(fd uintptr) { serr = unix.Fstatfs(int(fd), &sfs) }); err != nil || serr != nil || sfs.Blocks == 0 {
		return 0, false // some network filesystems have no blocks to tell of
	}
	unit := uint64(max(sfs.Frsize, 1))
	if sfs.Frsize <= 0 {
		unit = uint64(max(sfs.Bsize, 1))
	}
	if sfs.Bavail > math.MaxInt64/unit {
		return math.MaxInt64, true
	}
	return int64(sfs.Bavail * unit), true
}
