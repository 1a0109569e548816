package extract

import (
	"cmp"
	"errors"
	"fmt"
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
	set := func(a xattr) error { return setXattr(f, a) }
	lost, err := x.attributes(h, set)
	if err != nil {
		return err
	}
	if err := f.Chmod(fileMode(h.mode &^ drop)); err != nil {
		return err
	}
	// A mode is also a part of an ACL, which says more.
	lostACL, err := x.acls(h, set)
	x.lose(h, lost, lostACL)
	return err
}

func (x *Extraction) dressFile(f *os.File, h *header) error { return x.dress(f, h) }

func (x *Extraction) dressLink(at *place, base string, h *header) error {
	if _, err := x.own(h, func(uid, gid int) error { return at.root.Lchown(base, uid, gid) }); err != nil {
		return err
	}
	set := func(a xattr) error { return setLinkXattr(at, base, a) }
	lost, err := x.attributes(h, set)
	if err != nil {
		return err
	}
	lostACL, err := x.acls(h, set)
	if err != nil {
		return err
	}
	x.lose(h, lost, lostACL)
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

// attributes sets all of h's that are of any use here, but for ACLs, and returns the name of the first that is lost.
func (x *Extraction) attributes(h *header, set func(xattr) error) (lost string, err error) {
	if h.lost > 0 {
		lost = "an ACL"
	}
	for _, a := range h.xattrs {
		switch {
		case isACL(a.name):
		case !kept(a.name):
			lost = cmp.Or(lost, a.name)
		default:
			l, err := setOr(a, set)
			if err != nil {
				return "", err
			}
			lost = cmp.Or(lost, l)
		}
	}
	return lost, nil
}

// acls does the same for ACLs.
func (x *Extraction) acls(h *header, set func(xattr) error) (lost string, err error) {
	for _, name := range []string{aclAccess, aclDefault} {
		a := xattr{name: name}
		is := func(x xattr) bool { return x.name == name }
		if i := slices.IndexFunc(h.xattrs, is); i >= 0 {
			a = h.xattrs[i]
		} else if i := slices.IndexFunc(h.acls, is); i < 0 {
			continue
		} else if a.value, err = x.ids.binaryACL(h.acls[i].value); err != nil {
			lost = cmp.Or(lost, name)
			continue
		}
		l, err := setOr(a, set)
		if err != nil {
			return "", err
		}
		lost = cmp.Or(lost, l)
	}
	return lost, nil
}

// setOr sets an attribute, or returns its name if that may or can not be.
func setOr(a xattr, set func(xattr) error) (lost string, err error) {
	// A filesystem has room for some, and no other word for it than that the disk is full.
	switch err := set(a); {
	case err == nil:
		return "", nil
	case refused(err), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.E2BIG), errors.Is(err, syscall.ERANGE):
		return a.name, nil
	default:
		return "", err
	}
}

// lose counts a member of which attributes are lost: names are theirs, or empty.
func (x *Extraction) lose(h *header, names ...string) {
	name := cmp.Or(names...)
	if name == "" {
		return
	}
	if x.stats.AttributesLost++; x.lost == "" {
		x.lost = fmt.Sprintf("%.100q of %.200q", name, h.name)
	}
}

// tellLost tells what could not be kept.
func (x *Extraction) tellLost() {
	if n := x.stats.OwnersLost; n > 0 {
		x.notice(fmt.Sprintf("not kept: the owner of %d members, which this user may not set, and rights that programs have by it", n))
	}
	if n := x.stats.AttributesLost; n > 0 {
		x.notice(fmt.Sprintf("not kept: attributes of %d members, the first %s", n, x.lost))
	}
}

func isACL(name string) bool { return name == aclAccess || name == aclDefault }

// kept attributes are those that belong to a file wherever it is. What an overlay notes of its layers would make its kernel
// follow redirections that the archive made up.
func kept(name string) bool {
	if strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
		return false
	}
	for _, p := range []string{"user.", "security.", "trusted."} {
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
