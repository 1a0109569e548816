package filesink

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/lib/internal/bufpool"
	"github.com/cdictl/cdictl/lib/internal/fsop"
)

// openDirect opens the part f, named path, a second time, past the page cache. Of an empty one it tries a write of align bytes;
// in another the first write will tell.
func openDirect(f *os.File, path string, align int, empty bool, tap fsop.Tap) (*os.File, error) {
	var sfs unix.Statfs_t
	if err := control(f, func(fd int) error { return unix.Fstatfs(fd, &sfs) }); err != nil {
		return nil, err
	}
	if magic := uint32(sfs.Type); magic == unix.TMPFS_MAGIC || magic == unix.RAMFS_MAGIC {
		return nil, errors.New("the filesystem is nothing but page cache") // newer ones accept O_DIRECT and ignore it
	}
	d, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := probeDirect(f, d, path, align, empty, tap); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

func probeDirect(f, d *os.File, path string, align int, empty bool, tap fsop.Tap) error {
	if !sameFile(d, path) || !sameFile(f, path) {
		return fmt.Errorf("%s was replaced meanwhile", path)
	}
	var st unix.Statx_t
	err := control(d, func(fd int) error { return unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st) })
	if err == nil && st.Mask&unix.STATX_DIOALIGN != 0 {
		if m, o := st.Dio_mem_align, st.Dio_offset_align; m == 0 || o == 0 || m > bufpool.Align || align%int(o) != 0 {
			return fmt.Errorf("the filesystem wants memory aligned to %d and offsets to %d", m, o)
		}
	}
	if !empty {
		return nil
	}
	nothing := bufpool.Make(align)
	err = tap.Do(fsop.Op{Kind: fsop.Write, Path: path, Data: nothing}, func() error {
		_, err := d.WriteAt(nothing, 0)
		return err
	})
	return errors.Join(err, tap.Do(fsop.Op{Kind: fsop.Truncate, Path: path}, func() error { return f.Truncate(0) }))
}

// unsupported reports whether a fallocate failed because the filesystem cannot do it.
func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}

// fallocateStep is how much is claimed between two looks at the context.
const fallocateStep = 16 << 30

// fallocate claims storage for [0, size); errors.ErrUnsupported where the filesystem cannot.
func fallocate(ctx context.Context, f *os.File, size int64) error {
	for off := int64(0); off < size; off += fallocateStep {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := control(f, func(fd int) error { return unix.Fallocate(fd, 0, off, min(size-off, fallocateStep)) })
		if unsupported(err) {
			return errors.ErrUnsupported
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// clearRange makes [off, off+n) read as zeros, and gives its storage back unless keep is set; errors.ErrUnsupported
// where the filesystem cannot.
func clearRange(f *os.File, off, n int64, keep bool) error {
	mode := uint32(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE)
	if keep {
		mode = unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE
	}
	err := control(f, func(fd int) error { return unix.Fallocate(fd, mode, off, n) })
	if unsupported(err) {
		return errors.ErrUnsupported
	}
	return err
}

// dataRuns calls do for each stretch of f that is no hole.
func dataRuns(f *os.File, do func(off, n int64)) error {
	return control(f, func(fd int) error {
		for off := int64(0); ; {
			data, err := unix.Seek(fd, off, unix.SEEK_DATA)
			if errors.Is(err, unix.ENXIO) {
				return nil
			}
			if err != nil {
				return err
			}
			if off, err = unix.Seek(fd, data, unix.SEEK_HOLE); err != nil {
				return err
			}
			if off <= data {
				return errors.ErrUnsupported
			}
			do(data, off-data)
		}
	})
}

// space tells what is free on f's filesystem for us, and what f has of it already.
func space(f *os.File) (free, have int64, known bool) {
	var sfs unix.Statfs_t
	var st unix.Stat_t
	err := control(f, func(fd int) error { return errors.Join(unix.Fstatfs(fd, &sfs), unix.Fstat(fd, &st)) })
	if err != nil || sfs.Blocks == 0 { // some network filesystems do not know
		return 0, 0, false
	}
	unit := uint64(max(sfs.Frsize, 1))
	if sfs.Frsize <= 0 {
		unit = uint64(max(sfs.Bsize, 1))
	}
	if sfs.Bavail > math.MaxInt64/unit {
		return math.MaxInt64, st.Blocks * 512, true
	}
	return int64(sfs.Bavail * unit), st.Blocks * 512, true
}

// publish gives the part its name, at once. Without force an existing file is fs.ErrExist.
func publish(part, path string, force bool, tap fsop.Tap) error {
	if force {
		return rename(part, path, tap)
	}
	err := tap.Do(fsop.Op{Kind: fsop.Rename, Path: part, To: path, Fresh: true}, func() error {
		return unix.Renameat2(unix.AT_FDCWD, part, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	})
	if errors.Is(err, unix.EINVAL) || unsupported(err) { // NFS and others do not know the flag
		return publishByLink(part, path, tap)
	}
	return err
}
