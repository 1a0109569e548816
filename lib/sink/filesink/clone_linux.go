package filesink

import (
	"os"

	"golang.org/x/sys/unix"
)

// cloneRange makes [off, off+n) of dst share the storage of src.
func cloneRange(dst, src *os.File, off, n int64) error {
	return control(src, func(from int) error {
		return control(dst, func(to int) error {
			return unix.IoctlFileCloneRange(to, &unix.FileCloneRange{
				Src_fd: int64(from), Src_offset: uint64(off), Src_length: uint64(n), Dest_offset: uint64(off)})
		})
	})
}
