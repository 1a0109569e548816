package importer

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openSpool makes a file that has no name, so that nothing is left of it however the process ends. Filesystems without
// O_TMPFILE (NFS, overlay on old kernels) get one that is unlinked at once.
func openSpool(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR, 0o600)
	if err == nil || !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EINVAL) {
		return f, err
	}
	return openUnlinked(dir)
}
