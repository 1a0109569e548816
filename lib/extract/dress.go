package extract

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// dress gives an open file or folder its owner, attributes, time and mode, as far as this process may. The order counts:
// a new owner costs set-user-ID bits and capabilities, and a mode may shut us out of a folder. In a folder at is that itself
// and base is ".".
func (x *Extraction) dress(f *os.File, h *header) error {
	drop, err := x.own(h, f.Chown)
	if err != nil {
		return err
	}
	if err := x.attributes(h, func(a xattr) error { return setXattr(f, a) }); err != nil {
		return err
	}
	return f.Chmod(fileMode(h.mode &^ drop))
}

func (x *Extraction) dressFile(f *os.File, h *header) error { return x.dress(f, h) }

func (x *Extraction) dressLink(at *place, base string, h *header) error {
	if _, err := x.own(h, func(uid, gid int) error { return at.root.Lchown(base, uid, gid) }); err != nil {
		return err
	}
	if err := x.attributes(h, func(a xattr) error { return setLinkXattr(at, base, a) }); err != nil {
		return err
	}
	return setLinkTimes(at, base, h)
}

// own sets owner and group as far as this process may, and returns the bits of the mode that must not be set for those
// which it may not: a program of root's that runs with the rights of its user is one thing, one of ours another.
func (x *Extraction) own(h *header, chown func(uid, gid int) error) (drop int64, err error) {
	if err = chown(int(h.uid), int(h.gid)); !refused(err) {
		return 0, err
	}
	x.stats.OwnersLost++
	for _, one := range []struct {
		uid, gid int
		bit      int64
	}{{int(h.uid), -1, 0o4000}, {-1, int(h.gid), 0o2000}} {
		switch err := chown(one.uid, one.gid); {
		case refused(err):
			drop |= one.bit
		case err != nil:
			return 0, err
		}
	}
	return drop, nil
}

// refused: this process may not, or this system cannot. EINVAL is for IDs that this user namespace does not have.
func refused(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL)
}

// attributes sets all of h's that are of any use here.
func (x *Extraction) attributes(h *header, set func(xattr) error) error {
	lost := h.lost > 0
	for _, a := range h.xattrs {
		if !kept(a.name) {
			lost = true
			continue
		}
		// A filesystem has room for some, and no other word for it than that the disk is full.
		switch err := set(a); {
		case err == nil:
		case refused(err), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.E2BIG), errors.Is(err, syscall.ERANGE):
			lost = true
		default:
			return err
		}
	}
	if lost {
		x.stats.AttributesLost++
	}
	return nil
}

// kept attributes are those that belong to a file wherever it is. What an overlay notes of its layers would make its kernel
// follow redirections that the archive made up.
func kept(name string) bool {
	if strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
		return false
	}
	for _, p := range []string{"user.", "security.", "trusted.", "system.posix_acl_"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// fileMode is the mode of an archive as Go has it. What else old programs put there, the kind, is not looked at.
func fileMode(mode int64) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for bit, is := range map[int64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= is
		}
	}
	return m
}

// finishFolders gives folders what they are to have, but for those at the top, and begins with the innermost: a folder that
// is right is not opened again. One at the top has to be moved, for which it must be writable.
func (x *Extraction) finishFolders() error {
	paths := append(make([]string, 0, len(x.folders)+1), "")
	for p := range x.folders {
		paths = append(paths, p)
		if !strings.Contains(p, "/") {
			x.tops++
		}
	}
	slices.Sort(paths)
	for _, p := range slices.Backward(paths) {
		top := !strings.Contains(p, "/")
		if top && !x.few() {
			continue
		}
		at, err := x.into(p)
		if err != nil {
			return err
		}
		if !top {
			err = x.finish(at, x.folders[p])
		}
		if err == nil && x.few() {
			err = syncFolder(at.dir)
		}
		if err != nil {
			return x.onEntry("finish", p, err)
		}
	}
	return nil
}

// finishTop does the same for an entry at the top, in the target.
func (x *Extraction) finishTop(name string) error {
	f := x.folders[name]
	if f == nil {
		return nil
	}
	root, err := x.state.root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer root.Close()
	return x.finishAt(root, f, x.fewTops())
}

// finishSelf does it for the target itself, if the archive has a word about it.
func (x *Extraction) finishSelf() error {
	if x.self == nil {
		return nil
	}
	return x.onTarget("finish", x.finishAt(x.state.root, x.self, false))
}

func (x *Extraction) finishAt(root *os.Root, f *folder, durable bool) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := x.finish(&place{root: root, dir: dir}, f); err != nil || !durable {
		return err
	}
	return syncFolder(dir)
}

// implicit is the mode of folders that only names of other members tell of.
const implicit = 0o755

func (x *Extraction) finish(at *place, f *folder) error {
	if f.h == nil {
		return at.dir.Chmod(implicit)
	}
	// The time first: who may not search a folder cannot set it. All that follows leaves it alone.
	if err := setTimes(at, ".", f.h); err != nil && !(f == x.self && refused(err)) {
		return err
	}
	err := x.dress(at.dir, f.h)
	if f == x.self && refused(err) {
		return nil // a volume's top may belong to somebody else
	}
	return err
}

// now stands for a time that is not told.
func (h *header) accessed() (time.Time, bool) { return h.atime, !h.atime.IsZero() }
