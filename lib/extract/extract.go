// Package extract unpacks a tar into a folder, from a reader of its content in order.
//
// Nothing ever lands outside of the folder, and no name is resolved by anybody but this package: all members are made beneath
// an os.Root, folder by folder, and none of them may be anything but a folder that an earlier member made. Symbolic links are
// stored as they are and never followed. Names that are absolute or have "..", and what leads through a link, are
// errdef.ErrRefused; so are devices and FIFOs, unless they are to be skipped. Whatever readers of tars disagree about is
// errdef.ErrCorrupt.
//
// Everything is made in a hidden folder, [Hidden], in the target. [Extraction.Commit] makes it durable and then renames the
// top entries of the archive into the target, one after the other; a list of them, durable before the first, lets whoever
// comes after a crash take all of them back. So as long as Hidden is there the folder is not complete, and it goes with the
// last step. Entries that are replaced wait in Hidden until then.
//
// Owners are set by number where this process may, and if it may not, files get no set-user-ID or set-group-ID bit of the
// owner that they do not have. Modes are those of the archive, whatever the umask. A member that comes twice replaces the
// earlier one, as with tar, but never a folder.
package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/limits"
)

// Options of an Extraction. The zero value is useful.
type Options struct {
	// Limits.Entries bounds the members, VirtualSize the sizes of all files together, Metadata what is remembered of folders
	// and sparse files.
	Limits limits.Limits
	// SkipDevices leaves out devices and FIFOs instead of refusing the archive.
	SkipDevices bool
	// Force replaces what is in the folder under the name of an entry at the top of the archive: all of it, folders are not
	// merged. Without it that is errdef.ErrExists.
	Force bool
	// OnNotice is told what people should know. May be nil.
	OnNotice func(text string)
}

// Stats count what was made.
type Stats struct {
	Files     int64 `json:"files"`
	Folders   int64 `json:"folders"`
	Symlinks  int64 `json:"symlinks"`
	HardLinks int64 `json:"hardLinks"`
	// Skipped are devices and FIFOs, and links to them.
	Skipped int64 `json:"skipped"`
	// Bytes is the size of all files, Written what of them was written: holes are not.
	Bytes   int64 `json:"bytes"`
	Written int64 `json:"bytesWritten"`
	// Members of which something could not be kept: owner, attributes (xattr, ACL, SELinux label).
	OwnersLost     int64 `json:"ownersLost"`
	AttributesLost int64 `json:"attributesLost"`
}

// An Extraction is one under way. It is not safe for concurrent use.
type Extraction struct {
	path  string
	o     Options
	stats Stats
	state *state
	tree  *os.Root // where members are made
	ours  bool     // the target is
	made  int      // files; the first few are durable

	count   int64
	tops    int      // folders at the top
	chain   []*place // of open folders, each in the one before; the last is that of the last member
	top     string   // the entry at the top that it belongs to
	folders map[string]*folder
	skipped map[string]bool
	memory  int64 // that these two take
	self    *folder
	ids     ids
	lost    string // the first attribute that is, and whose
	buf     []byte
	folded  bool // the filesystem takes names that differ in case for one
	done    bool
}

// Open prepares the folder at path, which is made if it is not there. What a killed run left in it is dropped.
func Open(path string, o Options) (_ *Extraction, err error) {
	o.Limits = o.Limits.WithDefaults()
	x := &Extraction{path: path, o: o, folders: map[string]*folder{}, skipped: map[string]bool{}}
	defer func() { err = x.onTarget("open", err) }()
	switch fi, serr := os.Stat(path); {
	case errors.Is(serr, fs.ErrNotExist):
		if err := os.Mkdir(path, 0o777); err != nil {
			return nil, err
		}
		x.ours = true
	case serr != nil:
		return nil, serr
	case !fi.IsDir():
		return nil, errdef.WithHint(fmt.Errorf("it is no folder: %w", errdef.ErrExists), "name a folder, or one that is not there yet")
	}
	found := false
	if x.state, found, err = openState(path, true); err != nil {
		x.unmake()
		return nil, err
	}
	if found {
		x.notice("dropped what an interrupted extraction left")
	}
	if x.tree, err = x.state.begin(); err == nil {
		x.folded, err = x.state.folded()
	}
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

// Discard drops what a killed run left in the folder at path, and reports whether there was anything.
func Discard(path string) (bool, error) {
	s, found, err := openState(path, false)
	if err == nil && s != nil {
		err = errors.Join(s.remove(), s.close())
	}
	return found, (&Extraction{path: path}).onTarget("clean", err)
}

// Unpack makes what the tar in r holds, to its end. It is called once.
func (x *Extraction) Unpack(ctx context.Context, r io.Reader) error {
	t := newReader(r, x.o.Limits)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := t.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if x.count++; x.count > x.o.Limits.Entries {
			return errdef.WithHint(fmt.Errorf("tar: more than %d members: %w", x.o.Limits.Entries, errdef.ErrLimit), "if the archive is trusted, raise --max-entries")
		}
		if err := x.member(ctx, h, t); err != nil {
			return err
		}
	}
}

// Commit makes all durable, and then visible. After it, or after its error, only Close may be called.
func (x *Extraction) Commit(ctx context.Context) error {
	if err := x.finishFolders(); err != nil {
		return err
	}
	x.leaveAll()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := x.sync(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // a sync takes its time; what follows does not
		return err
	}
	if err := x.onTarget("commit", x.state.publish(x.o.Force, x.finishTop, x.syncTops)); err != nil {
		return err
	}
	x.done = true
	x.tellLost()
	if err := x.tree.Close(); err != nil {
		return x.onTarget("commit", err)
	}
	x.tree = nil
	if err := x.onTarget("clean", x.state.remove()); err != nil {
		return err
	}
	if err := x.finishSelf(); err != nil {
		return err
	}
	return x.onTarget("sync", x.state.syncFolder(x.path, x.ours))
}

// Close ends it. Without Commit nothing is left.
func (x *Extraction) Close() error {
	x.leaveAll()
	var err error
	if x.tree != nil {
		err = x.tree.Close()
		x.tree = nil
	}
	if x.state != nil {
		if !x.done {
			err = errors.Join(err, x.state.remove())
		}
		err = errors.Join(err, x.state.close())
		x.state = nil
	}
	if !x.done {
		x.unmake()
	}
	return x.onTarget("close", err)
}

// unmake removes the target if it is ours; if somebody has put something into it, it stays.
func (x *Extraction) unmake() {
	if x.ours {
		_ = os.Remove(x.path)
	}
}

// few reports whether all files are durable by themselves, and folders will be.
func (x *Extraction) few() bool { return x.made <= few && len(x.folders) <= few }

// fewTops does it for the folders at the top alone, which change once more behind that.
func (x *Extraction) fewTops() bool { return x.tops <= few }

// sync makes durable what was not made so one by one.
func (x *Extraction) sync() error {
	if x.few() {
		return nil
	}
	return x.onTarget("sync", x.state.sync())
}

func (x *Extraction) syncTops() error {
	if x.fewTops() {
		return nil
	}
	return x.state.sync()
}

// Stats tells what was made so far.
func (x *Extraction) Stats() Stats { return x.stats }

func (x *Extraction) notice(text string) {
	if x.o.OnNotice != nil {
		x.o.OnNotice(text)
	}
}

// onTarget says that err is the target's, unless something below has said whose it is.
func (x *Extraction) onTarget(op string, err error) error { return x.onEntry(op, "", err) }

// onEntry is onTarget of an entry.
func (x *Extraction) onEntry(op, name string, err error) error {
	var e *errdef.Error
	if err == nil || errors.As(err, &e) || errors.Is(err, context.Canceled) {
		return err
	}
	// The names in these are beneath some folder of ours, which says nothing to anybody.
	if p := (*fs.PathError)(nil); errors.As(err, &p) && err == error(p) {
		err = p.Err
	} else if l := (*os.LinkError)(nil); errors.As(err, &l) && err == error(l) {
		err = l.Err
	}
	if tooBig(err) {
		err = fmt.Errorf("%w: %w", err, errdef.ErrTooSmall)
	}
	if name != "" {
		err = fmt.Errorf("%.200q: %w", strings.TrimSuffix(name, "/"), err)
	}
	return &errdef.Error{Op: op, Side: errdef.Target, Name: x.path, Err: err}
}
