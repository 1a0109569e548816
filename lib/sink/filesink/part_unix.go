//go:build unix

package filesink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/fsop"
)

// lockPart makes an empty part that is ours alone. The lock is the kernel's, so it ends with its process; a part without
// one is what a killed writer left. It is removed and made anew rather than truncated: its owner, mode, other names and
// open descriptors are not to be trusted.
func lockPart(path string, tap fsop.Tap) (*os.File, error) {
	for range 10 { // each turn lost means that another writer came or went just now
		var f *os.File
		err := tap.Do(fsop.Op{Kind: fsop.Create, Path: path}, func() (err error) {
			f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o666)
			return err
		})
		fresh := err == nil
		if errors.Is(err, fs.ErrExist) {
			if f, err = openStale(path); errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		err = lock(f)
		switch {
		case errors.Is(err, syscall.EWOULDBLOCK):
			err = busy(f)
			_ = f.Close()
			return nil, err
		case err != nil && !fresh: // a filesystem without locks: a part in the way may be alive
			_ = f.Close()
			return nil, errdef.WithHint(fmt.Errorf("another process may be writing this disk, the filesystem cannot tell: %w", errdef.ErrBusy),
				"if nobody does, remove "+path)
		case !sameFile(f, path): // its last holder removed or published it before letting go
			_ = f.Close()
		case fresh:
			return f, nil
		default:
			err = tap.Do(fsop.Op{Kind: fsop.Remove, Path: path}, func() error { return os.Remove(path) })
			_ = f.Close()
			if err != nil {
				return nil, err
			}
		}
	}
	return nil, fmt.Errorf("other processes keep making and removing the part: %w", errdef.ErrBusy)
}

func busy(f *os.File) error {
	return errdef.WithHint(fmt.Errorf("another process%s writes this disk: %w", holder(f), errdef.ErrBusy), "wait until it is done, or stop it")
}

// reopenPart opens the part that an earlier writer left, and locks it: fs.ErrNotExist if there is none that is only ours.
func reopenPart(path string, owners []int) (*os.File, error) {
	f, err := openStale(path)
	if err != nil {
		return nil, err
	}
	err = lock(f)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = busy(f)
	} else if err != nil {
		err = fmt.Errorf("the filesystem has no locks: %w", fs.ErrNotExist)
	} else if !sameFile(f, path) || !ours(f, owners) {
		err = fmt.Errorf("it is not only ours: %w", fs.ErrNotExist)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// ours reports whether nobody else may have put f there, or has it under another name.
func ours(f *os.File, owners []int) bool {
	fi, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 1 && slices.Contains(append(owners, os.Geteuid()), int(st.Uid))
}

// ownerOf is who has the file, -1 where that is not known.
func ownerOf(fi fs.FileInfo) int {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

func openStale(path string) (*os.File, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, errdef.WithHint(fmt.Errorf("%s is no regular file: %w", path, errdef.ErrExists), "somebody put it in the way: look at it, then remove it")
	}
	return os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

func lock(f *os.File) error {
	return control(f, func(fd int) error { return syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) })
}

// locked reports whether f, which lockPart made, has a lock: it can be taken again.
func locked(f *os.File) bool { return lock(f) == nil }

// control runs one system call on f's descriptor, again when a signal interrupts it.
func control(f *os.File, call func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	cerr := c.Control(func(fd uintptr) {
		for {
			if err = call(int(fd)); !errors.Is(err, syscall.EINTR) {
				return
			}
		}
	})
	return errors.Join(cerr, err)
}

// keepAttributes gives f the permissions of the file it will replace, as writing into that one would have, and the owner
// where we may.
func keepAttributes(f *os.File, old fs.FileInfo) error {
	if st, ok := old.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(st.Uid), int(st.Gid)) // only root gives files away
	}
	return f.Chmod(old.Mode().Perm())
}

// giveAway sets owner and group as far as this process may.
func giveAway(f *os.File, uid, gid *int) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	for _, set := range []struct {
		want     *int
		have     int
		uid, gid int
	}{{uid, int(st.Uid), value(uid), -1}, {gid, int(st.Gid), -1, value(gid)}} {
		if set.want == nil || *set.want == set.have {
			continue
		}
		// EINVAL: the ID is none of this user namespace.
		err := f.Chown(set.uid, set.gid)
		if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return nil
}

func value(p *int) int {
	if p == nil {
		return -1
	}
	return *p
}

// dropPart removes a part that a killed writer left, and reports whether there was one.
func dropPart(path string, tap fsop.Tap) (bool, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	f, err := lockPart(path, tap) // whatever was there is gone then
	if err != nil {
		return false, err
	}
	err = tap.Do(fsop.Op{Kind: fsop.Remove, Path: path}, func() error { return os.Remove(path) })
	return true, errors.Join(err, f.Close())
}

// syncFolder makes the name of path durable.
func syncFolder(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if errors.Is(err, fs.ErrPermission) {
		return nil // a folder that may be written and not read
	}
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// publishByLink gives part the name path unless it is taken.
func publishByLink(part, path string, tap fsop.Tap) error {
	err := tap.Do(fsop.Op{Kind: fsop.Link, Path: part, To: path}, func() error { return os.Link(part, path) })
	switch {
	case err == nil:
		err := tap.Do(fsop.Op{Kind: fsop.Remove, Path: part}, func() error { return os.Remove(part) })
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another process has tidied up
		}
		return err
	case errors.Is(err, fs.ErrExist):
		return err
	}
	// No hard links here (FAT): look, then leap.
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fs.ErrExist
	}
	return rename(part, path, tap)
}

func rename(part, path string, tap fsop.Tap) error {
	return tap.Do(fsop.Op{Kind: fsop.Rename, Path: part, To: path}, func() error { return os.Rename(part, path) })
}

func isNoSpace(err error) bool  { return errors.Is(err, syscall.ENOSPC) }
func isQuota(err error) bool    { return errors.Is(err, syscall.EDQUOT) }
func isTooBig(err error) bool   { return errors.Is(err, syscall.EFBIG) }
func isReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }
