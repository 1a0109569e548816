package extract

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

// A place is an open folder of the tree.
type place struct {
	path string
	root *os.Root
	dir  *os.File // the same, for what os.Root has no method for
}

// A folder is what its mode, owner, … are to be when all is in it.
type folder struct {
	h *header // nil: no member has said
}

// folderSize is what a folder takes in memory beside its name, its attributes and the names of these.
const folderSize = 400

// remember bounds what is kept in memory until the end.
func (x *Extraction) remember(n int64) error {
	x.memory += n
	return x.o.Limits.CheckMetadata("what has to be remembered of the archive's folders", x.memory)
}

// into returns the place of the folder at path, and makes what is not there of the way to it. Nothing on that way may be
// anything but a folder that was made here: no link is followed, wherever it leads.
func (x *Extraction) into(path string) (*place, error) {
	if x.at != nil && x.at.path == path {
		return x.at, nil
	}
	at, rest := "", path
	root := x.tree
	if x.at != nil && strings.HasPrefix(path, x.at.path+"/") {
		at, rest, root = x.at.path, path[len(x.at.path)+1:], x.at.root
	}
	if path == "" {
		rest = ""
	}
	for name := range strings.SplitSeq(rest, "/") {
		if name == "" {
			break
		}
		if at != "" {
			at += "/" + name
		} else {
			at = name
		}
		next, err := x.step(root, at, name)
		if root != x.tree && (x.at == nil || root != x.at.root) {
			root.Close()
		}
		if err != nil {
			return nil, err
		}
		root = next
	}
	p := &place{path: path, root: root}
	dir, err := root.Open(".")
	if err != nil {
		if root != x.tree {
			root.Close()
		}
		return nil, x.onEntry("open", path, err)
	}
	p.dir = dir
	x.leavePlace()
	x.at = p
	return p, nil
}

// step opens the folder name, which is at path, in parent.
func (x *Extraction) step(parent *os.Root, path, name string) (*os.Root, error) {
	if _, known := x.folders[path]; !known {
		if err := x.makeFolder(parent, path, name); err != nil {
			return nil, err
		}
	}
	was, err := parent.Lstat(name)
	if err != nil {
		return nil, x.onEntry("open", path, err)
	}
	if !was.IsDir() {
		return nil, through(path, was)
	}
	next, err := parent.OpenRoot(name)
	if err != nil {
		return nil, x.onEntry("open", path, err)
	}
	// Nobody else has business in here. If somebody has, this is where it would matter.
	if is, err := next.Stat("."); err != nil || !os.SameFile(was, is) {
		return nil, errors.Join(err, fmt.Errorf("tar: %.200q was replaced while it was opened: %w", path, errdef.ErrRefused), next.Close())
	}
	return next, nil
}

// through refuses a way through something that is no folder.
func through(path string, fi fs.FileInfo) error {
	if fi.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("tar: a name leads through %.200q, which is a symbolic link: %w", path, errdef.ErrRefused)
	}
	return fmt.Errorf("tar: a name leads through %.200q, which is no folder: %w", path, errdef.ErrCorrupt)
}

// makeFolder makes the folder at path, for whose mode some member or nobody will speak.
func (x *Extraction) makeFolder(parent *os.Root, path, name string) error {
	if err := x.newTop(path); err != nil {
		return err
	}
	err := parent.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		fi, err := parent.Lstat(name)
		if err != nil {
			return x.onEntry("make", path, err)
		}
		if fi.IsDir() {
			return x.alike(path)
		}
		return through(path, fi)
	}
	if err != nil {
		return x.onEntry("make", path, err)
	}
	if err := x.remember(folderSize + int64(len(path))); err != nil {
		return err
	}
	x.folders[path] = &folder{}
	return nil
}

// alike is for a name that is taken, and was not made under exactly that name.
func (x *Extraction) alike(path string) error {
	return fmt.Errorf("tar: %.200q is there under a name that is another only in case or in the way of writing letters, which this filesystem does not tell apart: %w", path, errdef.ErrRefused)
}

// newTop looks whether the target has what the entry at the top of path would replace: that need not wait until the end.
func (x *Extraction) newTop(path string) error {
	top, _, _ := strings.Cut(path, "/")
	if top == x.top {
		return nil
	}
	x.top = top
	if x.o.Force {
		return nil
	}
	return x.onTarget("make", x.state.free(top))
}

// leavePlace closes the place of the last member.
func (x *Extraction) leavePlace() {
	if x.at == nil {
		return
	}
	x.at.dir.Close()
	if x.at.root != x.tree {
		x.at.root.Close()
	}
	x.at = nil
}
