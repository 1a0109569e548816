package extract

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Hidden is the folder in the target where an archive is extracted. As long as it is there, the target is not complete.
const Hidden = ".cdictl-archive"

// What is in it.
const (
	lockName = Hidden + "/lock"
	treeName = Hidden + "/tree"
	oldName  = Hidden + "/old"  // what was replaced
	listName = Hidden + "/list" // the entries that are being renamed; there only while that goes on
)

// A state is the hidden folder, locked.
type state struct {
	root *os.Root // the target
	lock *os.File
}

// openState opens the target and makes, if it is to, or takes over the hidden folder: what a killed run left in it is dropped,
// and found says that there was something. Without make, and without anything there, the state is nil.
func openState(path string, make bool) (_ *state, found bool, err error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, false, err
	}
	s := &state{root: root}
	found, err = s.take(make)
	if err == nil && found {
		err = s.rollBack()
	}
	if err == nil && found {
		err = s.empty()
	}
	if err != nil || s.lock == nil {
		return nil, found, errors.Join(err, s.close())
	}
	return s, found, nil
}

// take makes or finds the hidden folder, and locks it.
func (s *state) take(make bool) (found bool, err error) {
	for range 10 {
		found = false
		if make {
			err = s.root.Mkdir(Hidden, 0o700)
			found = errors.Is(err, fs.ErrExist)
			if err != nil && !found {
				return false, err
			}
		}
		fi, err := s.root.Lstat(Hidden)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !make:
			return false, nil
		case errors.Is(err, fs.ErrNotExist): // its owner has just ended
			continue
		case err != nil:
			return false, err
		case !fi.IsDir():
			return false, errdef.WithHint(fmt.Errorf("%s is in the way, and no folder: %w", Hidden, errdef.ErrExists), "look at it, then remove it")
		}
		ours, err := s.tryLock()
		if err != nil || ours {
			return found || !make, err
		}
	}
	return false, fmt.Errorf("%s comes and goes: %w", Hidden, errdef.ErrBusy)
}

// tryLock reports false if the lock was removed meanwhile, by who had it.
func (s *state) tryLock() (bool, error) {
	f, err := s.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := lock(f); err != nil {
		return false, errors.Join(err, f.Close())
	}
	is, err := f.Stat()
	if err != nil {
		return false, errors.Join(err, f.Close())
	}
	if there, err := s.root.Lstat(lockName); err != nil || !os.SameFile(is, there) {
		return false, f.Close()
	}
	s.lock = f
	return true, nil
}

func errBusy() error {
	return errdef.WithHint(fmt.Errorf("another process extracts an archive there: %w", errdef.ErrBusy), "wait until it is done, or stop it")
}

// close unlocks.
func (s *state) close() error {
	var err error
	if s.lock != nil {
		err = s.lock.Close()
		s.lock = nil
	}
	return errors.Join(err, s.root.Close())
}

// begin makes the folder for the members.
func (s *state) begin() (*os.Root, error) {
	if err := s.root.Mkdir(treeName, 0o700); err != nil {
		return nil, err
	}
	tree, err := s.root.OpenRoot(treeName)
	if err != nil {
		return nil, err
	}
	// What the target has in store for new files would come on top of the modes of the archive.
	d, err := tree.Open(".")
	if err == nil {
		dropACLs(d)
		err = d.Close()
	}
	if err != nil {
		return nil, errors.Join(err, tree.Close())
	}
	return tree, nil
}

// folded reports whether the filesystem takes names that differ in case for one.
func (s *state) folded() (bool, error) {
	_, err := s.root.Lstat(strings.ToUpper(Hidden))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// free returns an error if the target has the name.
func (s *state) free(name string) error {
	_, err := s.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return errdef.WithHint(fmt.Errorf("it has %.200q already: %w", name, errdef.ErrExists), "choose another folder, or replace what it has with --force")
}

// publish renames all entries of the tree into the target, and calls finish for each, which makes durable what it does, or
// leaves that to flush. An error takes back all that was done.
func (s *state) publish(force bool, finish func(name string) error, flush func() error) error {
	if err := s.writeList(); err != nil {
		return err
	}
	err := s.entries(func(e entry) error {
		if err := s.move(e, force); err != nil {
			return err
		}
		return finish(e.name)
	})
	if err == nil {
		err = flush()
	}
	if err == nil {
		err = s.syncRoot(".")
	}
	if err != nil {
		return errors.Join(err, s.rollBack())
	}
	// From here on the new content is what there is: without the list nobody takes it back.
	if err := s.root.Remove(listName); err != nil {
		return errors.Join(err, s.rollBack())
	}
	return s.syncRoot(Hidden)
}

// move renames one entry.
func (s *state) move(e entry, force bool) error {
	if force {
		if err := s.root.Mkdir(oldName, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := s.moveOld(e); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	err := renameNew(s.root, treeName+"/"+e.name, e.name)
	if errors.Is(err, fs.ErrExist) {
		return errors.Join(s.free(e.name), nil)
	}
	return err
}

// moveOld renames what e replaces. A folder that may not be written cannot move, but for root: ours becomes writable, and
// gets its mode back from the list if it comes back.
func (s *state) moveOld(e entry) error {
	err := s.root.Rename(e.name, oldName+"/"+e.name)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if fi, lerr := s.root.Lstat(e.name); e.oldMode.IsDir() && lerr == nil && inode(fi) == e.oldInode && s.root.Chmod(e.name, 0o700) == nil {
		err = s.root.Rename(e.name, oldName+"/"+e.name)
	}
	if err != nil {
		err = fmt.Errorf("%.200q cannot be replaced: %w", e.name, errors.Unwrap(err))
	}
	return err
}

// An entry of the list is something that is renamed into the target.
type entry struct {
	name  string
	inode uint64
	// Of what it replaces; the mode is zero if that is nothing.
	oldInode uint64
	oldMode  fs.FileMode
}

// entry is that of name, which is in the tree.
func (s *state) entry(name string) (entry, error) {
	fi, err := s.root.Lstat(treeName + "/" + name)
	if err != nil {
		return entry{}, err
	}
	e := entry{name: name, inode: inode(fi)}
	old, err := s.root.Lstat(name)
	if err == nil {
		e.oldInode, e.oldMode = inode(old), old.Mode()
	}
	return e, unless(err, fs.ErrNotExist)
}

// String is a line of the list.
func (e entry) String() string {
	return fmt.Sprintf("%d %d %d %s", e.inode, e.oldInode, e.oldMode, strconv.Quote(e.name))
}

// parseEntry reads one.
func parseEntry(line string) (e entry, err error) {
	var quoted string
	if _, err = fmt.Sscanf(line, "%d %d %d %q", &e.inode, &e.oldInode, &e.oldMode, &quoted); err != nil {
		return e, fmt.Errorf("%s: %.200q: %w: %w", listName, line, err, errdef.ErrCorrupt)
	}
	e.name = quoted
	if _, base := split(e.name); base != e.name || e.name == "." || e.name == ".." || e.name == "" {
		return e, fmt.Errorf("%s: %.200q is no name: %w", listName, e.name, errdef.ErrRefused)
	}
	return e, nil
}

// writeList makes a durable list of what is about to be renamed.
func (s *state) writeList() error {
	f, err := s.root.OpenFile(listName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	tree, err := s.root.Open(treeName)
	if err != nil {
		return err
	}
	defer tree.Close()
	for {
		names, err := tree.Readdirnames(1000)
		for _, name := range names {
			e, err := s.entry(name)
			if err != nil {
				return err
			}
			fmt.Fprintln(w, e) // Flush tells
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	fmt.Fprintln(w, "end")
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return s.syncRoot(Hidden)
}

// entries goes through the list. A list without its end was not done when the run ended, so nothing of it was: it is empty.
func (s *state) entries(do func(entry) error) error {
	f, err := s.root.Open(listName)
	if err != nil {
		return err
	}
	defer f.Close()
	whole := false
	for pass := range 2 {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if whole = lines.Text() == "end"; pass == 0 || whole {
				continue
			}
			e, err := parseEntry(lines.Text())
			if err != nil {
				return err
			}
			if err := do(e); err != nil {
				return err
			}
		}
		if err := lines.Err(); err != nil {
			return err
		}
		if !whole {
			return nil
		}
	}
	return nil
}

// rollBack takes back what a list tells of. It can be broken off and done again at any moment: an entry is ours while it is no
// longer in the tree, and what it replaced comes back only when it is there again.
func (s *state) rollBack() error {
	err := s.entries(func(e entry) error {
		inTree := treeName + "/" + e.name
		if _, err := s.root.Lstat(inTree); errors.Is(err, fs.ErrNotExist) {
			fi, err := s.root.Lstat(e.name)
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				return err
			case inode(fi) != e.inode: // somebody has made another meanwhile, and keeps it
				return nil
			default:
				if err := s.moveOurs(fi, e.name, inTree); err != nil {
					return err
				}
			}
		}
		if _, err := s.root.Lstat(oldName + "/" + e.name); err == nil {
			if err := renameNew(s.root, oldName+"/"+e.name, e.name); err != nil {
				return unless(err, fs.ErrExist)
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return s.restore(e)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no list
	}
	if err != nil {
		return err
	}
	if err := s.syncRoot("."); err != nil {
		return err
	}
	return s.root.Remove(listName)
}

// restore gives a folder that came back the mode that it had, if it had to become writable to move.
func (s *state) restore(e entry) error {
	if !e.oldMode.IsDir() {
		return nil
	}
	fi, err := s.root.Lstat(e.name)
	if err != nil {
		return unless(err, fs.ErrNotExist)
	}
	if inode(fi) != e.oldInode || fi.Mode() == e.oldMode {
		return nil
	}
	return s.root.Chmod(e.name, e.oldMode&^fs.ModeDir)
}

// moveOurs renames an entry that has its mode already, which may forbid it to move.
func (s *state) moveOurs(fi fs.FileInfo, from, to string) error {
	err := s.root.Rename(from, to)
	if errors.Is(err, fs.ErrPermission) && fi.IsDir() {
		if err := s.root.Chmod(from, 0o700); err != nil {
			return err
		}
		err = s.root.Rename(from, to)
	}
	return err
}

func unless(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}

// empty removes what is in the hidden folder, but for the lock.
func (s *state) empty() error {
	for _, name := range []string{listName, treeName, oldName} {
		if err := s.removeAll(name); err != nil {
			return err
		}
	}
	return nil
}

// remove removes the hidden folder.
func (s *state) remove() error {
	if err := s.rollBack(); err != nil {
		return err
	}
	if err := s.empty(); err != nil {
		return err
	}
	if s.lock != nil && !removesOpen {
		if err := s.lock.Close(); err != nil {
			return err
		}
		s.lock = nil
	}
	if err := unless(s.root.Remove(lockName), fs.ErrNotExist); err != nil {
		return err
	}
	// If it is not empty, somebody has come after us.
	if err := s.root.Remove(Hidden); err != nil && !errors.Is(err, fs.ErrNotExist) {
		if _, lerr := s.root.Lstat(lockName); lerr != nil {
			return err
		}
	}
	return nil
}

// removeAll removes what is at path, also folders that their mode protects.
func (s *state) removeAll(path string) error {
	err := s.root.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := s.open(path); err != nil {
		return err
	}
	return s.root.RemoveAll(path)
}

// open makes all folders below path writable.
func (s *state) open(path string) error {
	fi, err := s.root.Lstat(path)
	if err != nil || !fi.IsDir() {
		return unless(err, fs.ErrNotExist)
	}
	if err := s.root.Chmod(path, 0o700); err != nil {
		return err
	}
	dir, err := s.root.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		list, err := dir.ReadDir(1000)
		for _, e := range list {
			if e.IsDir() {
				if err := s.open(path + "/" + e.Name()); err != nil {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// syncRoot makes the names in a folder of the target durable.
func (s *state) syncRoot(name string) error {
	d, err := s.root.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return syncFolder(d)
}

// syncFolder does it for the target, and for its own name if that is new.
func (s *state) syncFolder(path string, made bool) error {
	if err := s.syncRoot("."); err != nil || !made {
		return unless(err, fs.ErrPermission) // it has its mode by now
	}
	d, err := os.Open(filepath.Dir(filepath.Clean(path)))
	if err != nil {
		return unless(err, fs.ErrPermission) // a folder that may be written and not read
	}
	defer d.Close()
	return syncFolder(d)
}
