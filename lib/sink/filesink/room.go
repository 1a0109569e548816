package filesink

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Clean removes what a killed writer of this target left, the disk itself too if disk is set, and reports whether there
// was anything. It is errdef.ErrBusy while another process writes the target; a folder or something special by the disk's
// name is left for Open to refuse.
func (t *Target) Clean(disk bool) (found bool, err error) {
	path, err := filepath.Abs(t.path)
	if err != nil {
		return false, t.fail("clean", err)
	}
	found, err = dropPart(partPath(path), t.o.Tap)
	if err == nil {
		err = t.forget(path)
	}
	if err != nil {
		return found, t.explain("clean", err, -1)
	}
	if !disk {
		return found, nil
	}
	was, err := t.removeDisk(path)
	return found || was, err
}

// CleanDisk removes the disk alone, where it is to be replaced and nobody writes another: what a killed writer left of that
// stays, to be gone on with. What room is measured afterwards has the old disk's.
func (t *Target) CleanDisk() error {
	path, err := filepath.Abs(t.path)
	if err != nil {
		return t.fail("clean", err)
	}
	f, err := reopenPart(partPath(path), t.owners(path))
	if err == nil {
		defer f.Close() // and its lock, so that nobody begins now
	} else if !errors.Is(err, fs.ErrNotExist) {
		return t.explain("clean", err, -1)
	}
	_, err = t.removeDisk(path)
	return err
}

func (t *Target) removeDisk(path string) (bool, error) {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err == nil && !fi.Mode().IsRegular() && fi.Mode()&fs.ModeSymlink == 0:
		return false, nil
	case err == nil:
		err = t.remove(path) // of a link the link: what it leads to is none of ours
	}
	if err != nil {
		return false, t.explain("remove the old", err, -1)
	}
	return true, nil
}

// Left is what a killed writer left that Open with sink.Resume may go on with, as there is a record of it: how long the disk
// is, and the room that all of it takes. A length of -1 says that there is nothing of use.
func (t *Target) Left() (length, room int64) {
	path, err := filepath.Abs(t.path)
	if err != nil {
		return -1, 0
	}
	record, err := os.Lstat(t.journalOf(path).Path())
	if err != nil {
		return -1, 0
	}
	f, err := reopenPart(partPath(path), t.owners(path))
	if err != nil {
		return -1, 0
	}
	defer f.Close()
	part, err := f.Stat()
	if err != nil {
		return -1, 0
	}
	_, room, _ = space(f)
	return part.Size(), room + record.Size()
}

// Room tells how many bytes the target's filesystem has for this process; known is false where it does not tell. What a
// killed writer left is not in it, see Left.
func (t *Target) Room() (free int64, known bool, err error) {
	if t.path == "" {
		_, err := t.resolve()
		return 0, false, err
	}
	dir := filepath.Dir(t.path)
	if err := t.checkFolder(dir); err != nil {
		return 0, false, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return 0, false, t.explain("open", err, -1)
	}
	defer f.Close()
	free, _, known = space(f)
	return free, known, nil
}
