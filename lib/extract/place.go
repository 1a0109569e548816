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

// maxOpen is how many folders on the way to the last member stay open. Members come folder by folder, so the next one is near.
const maxOpen = 64

// into returns the place of the folder at path, and makes what is not there of the way to it. Nothing on that way may be
// anything but a folder that was made here: no link is followed, wherever it leads. The place is good until the next call.
func (x *Extraction) into(path string) (*place, error) {
	for len(x.chain) > 0 && !x.last().holds(path) {
		x.leave()
	}
	if len(x.chain) == 0 {
		root, err := x.tree.OpenRoot(".")
		if err == nil {
			err = x.enter("", root)
		}
		if err != nil {
			return nil, x.onEntry("open", path, err)
		}
	}
	for x.last().path != path {
		at := x.last()
		rest := path
		if at.path != "" {
			rest = path[len(at.path)+1:]
		}
		name, _, _ := strings.Cut(rest, "/")
		below := path[:len(path)-len(rest)+len(name)]
		root, err := x.step(at.root, below, name)
		if err != nil {
			return nil, err
		}
		if err := x.enter(below, root); err != nil {
			return nil, x.onEntry("open", below, err)
		}
	}
	return x.last(), nil
}

func (x *Extraction) last() *place { return x.chain[len(x.chain)-1] }

// holds reports whether path is p or below it.
func (p *place) holds(path string) bool {
	return p.path == "" || p.path == path || strings.HasPrefix(path, p.path+"/")
}

// enter puts the folder at path, which is in the last one, at the end of the chain. It takes root.
func (x *Extraction) enter(path string, root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return errors.Join(err, root.Close())
	}
	if len(x.chain) == maxOpen {
		x.chain[0].close()
		x.chain = append(x.chain[:0], x.chain[1:]...)
	}
	x.chain = append(x.chain, &place{path, root, dir})
	return nil
}

// leave closes the last folder of the chain.
func (x *Extraction) leave() {
	x.last().close()
	x.chain = x.chain[:len(x.chain)-1]
}

// leaveAll closes all of it.
func (x *Extraction) leaveAll() {
	for len(x.chain) > 0 {
		x.leave()
	}
}

func (p *place) close() {
	p.dir.Close()
	_ = p.root.Close() // what was made in it is flushed in other ways
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
