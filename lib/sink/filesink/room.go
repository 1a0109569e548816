package filesink

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Clean removes what a killed writer of this target left, the disk itself too if disk is set, and reports whether there
// was anything. Room that is measured before would lack theirs. It is errdef.ErrBusy while another process writes the
// target; a folder or something special by the disk's name is left for Open to refuse.
func (t *Target) Clean(disk bool) (found bool, err error) {
	path, err := filepath.Abs(t.path)
	if err != nil {
		return false, t.fail("clean", err)
	}
	found, err = dropPart(partPath(path))
	if err == nil {
		err = forget(path)
	}
	if err != nil {
		return found, t.explain("clean", err, -1)
	}
	if !disk {
		return found, nil
	}
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found, nil
	case err == nil && !fi.Mode().IsRegular() && fi.Mode()&fs.ModeSymlink == 0:
		return found, nil
	case err == nil:
		err = os.Remove(path) // of a link the link: what it leads to is none of ours
	}
	if err != nil {
		return found, t.explain("remove the old", err, -1)
	}
	return true, nil
}

// Room tells how many bytes the target's filesystem has for this process; known is false where it does not tell.
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
