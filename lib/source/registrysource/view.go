package registrysource

import (
	"fmt"
	"path"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

// maxMarks bounds the names that a view remembers. Of an image's files only those count that lie below /disk/, or on the
// way to the one that is looked for.
const maxMarks = 10_000

// diskDir is where a container disk lies (KubeVirt's containerDisk).
const diskDir = "disk"

// whiteouts of the OCI Image Format Specification, section Representing Changes.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// A view is what the layers seen so far, from the top, leave visible of those below. Marks of a layer count for the layers
// below it only, so they are kept apart until it ends.
type view struct {
	target string // the file that is looked for; "": any below diskDir

	gone   map[string]bool // what lies at or below this name in a lower layer is not seen
	dirs   map[string]bool // a folder: what is no folder at this name in a lower layer is not seen
	opaque map[string]bool // what lies below this folder in a lower layer is not seen

	now []mark // of the layer that is being read
	n   int
}

type mark struct {
	to   map[string]bool
	name string
}

func newView(target string) *view {
	return &view{target: target, gone: map[string]bool{}, dirs: map[string]bool{}, opaque: map[string]bool{}}
}

// root is the name at or below which files are looked for.
func (v *view) root() string {
	if v.target != "" {
		return v.target
	}
	return diskDir
}

// matters reports whether what happens at name can show or hide a file that is looked for.
func (v *view) matters(name string) bool {
	root := v.root()
	return name == "" || name == root || strings.HasPrefix(root, name+"/") || v.target == "" && strings.HasPrefix(name, root+"/")
}

// wanted reports whether a file of this name is looked for.
func (v *view) wanted(name string) bool {
	if v.target != "" {
		return name == v.target
	}
	return strings.HasPrefix(name, diskDir+"/")
}

// visible reports whether a file at name in the layer that is being read is seen through those above.
func (v *view) visible(name string) bool {
	if v.dirs[name] {
		return false
	}
	for p := name; ; p = parent(p) {
		if v.gone[p] || p != name && v.opaque[p] {
			return false
		}
		if p == "" {
			return true
		}
	}
}

func parent(name string) string {
	if dir := path.Dir(name); dir != "." {
		return dir
	}
	return ""
}

// see takes an entry of the layer that is being read. It reports whether it is a whiteout, which is no file.
func (v *view) see(name string, dir bool) (bool, error) {
	folder, base := parent(name), path.Base(name)
	switch {
	case base == opaque:
		return true, v.mark(v.opaque, folder)
	case strings.HasPrefix(base, whiteout+whiteout):
		return true, nil // of the storage driver that made it (aufs)
	case strings.HasPrefix(base, whiteout):
		hidden := strings.TrimPrefix(base, whiteout)
		if hidden == "" || hidden == "." || hidden == ".." {
			return true, corrupt("%.100q hides nothing", name)
		}
		return true, v.mark(v.gone, path.Join(folder, hidden))
	case dir:
		return false, v.mark(v.dirs, name)
	}
	return false, v.mark(v.gone, name)
}

func (v *view) mark(to map[string]bool, name string) error {
	if !v.matters(name) {
		return nil
	}
	if v.n++; v.n > maxMarks {
		return fmt.Errorf("more than %d files and folders below /%s: %w", maxMarks, v.root(), errdef.ErrLimit)
	}
	v.now = append(v.now, mark{to, name})
	return nil
}

// endLayer makes the marks of the layer that has been read count.
func (v *view) endLayer() {
	for _, m := range v.now {
		m.to[m.name] = true
	}
	v.now = nil
}

// closed reports whether nothing that is looked for can be seen in the layers below.
func (v *view) closed() bool {
	for p := v.root(); ; p = parent(p) {
		if v.gone[p] || v.opaque[p] && (v.target == "" || p != v.target) || v.target != "" && v.dirs[v.target] {
			return true
		}
		if p == "" {
			return false
		}
	}
}
