// Package filesink writes a disk to a new file: sparse, in a hidden part beside the target, and visible only when it is
// whole and durable.
//
// On Linux large writes go past the page cache (O_DIRECT), small ones through it at a bounded distance: the obvious way,
// buffered writes into a sparse file, takes 3 to 6 times the CPU. See BenchmarkWrite.
package filesink

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/fsop"
	"github.com/cdictl/cdictl/lib/sink"
)

// Direct says when writes bypass the page cache.
type Direct uint8

const (
	// DirectAuto bypasses it for large writes where the filesystem can.
	DirectAuto Direct = iota
	// DirectOn bypasses it for every whole page; Open fails with errdef.ErrUnsupported where the filesystem cannot.
	DirectOn
	// DirectOff never does.
	DirectOff
)

// Options of a Target. The zero value is useful.
type Options struct {
	// Force replaces an existing regular file, at Commit and at once, and keeps its permissions. A symbolic link is
	// followed: the file behind it is replaced, the link stays.
	Force  bool
	Direct Direct
	// Mode, if not 0, is given to the file whatever the umask and the file that it replaces have.
	Mode fs.FileMode
	// UID and GID, if not nil, are given to the file where this process may give files away. Where it may not, the file
	// keeps its owner, and that is no error: look at it if it matters.
	UID, GID *int
	// Tap, for tests, sees each operation that decides what is left after a power failure.
	Tap fsop.Tap
}

// A Target is one file to be made. It implements sink.Target.
type Target struct {
	path string
	o    Options
}

// New names the file at path. Without Force, anything that has the name already, a symbolic link too, is an error.
func New(path string, o Options) *Target { return &Target{path, o} }

// String returns the path.
func (t *Target) String() string { return t.path }

// Open makes the hidden part, ".NAME.cdictl.part" in the target's folder, and locks it: errdef.ErrBusy while another
// process (or another sink of this one) writes it. A part that a killed process left is dropped, or with sink.Resume gone
// on with. A known size is claimed
// at once, so errdef.ErrTooSmall and, with Preallocate, errdef.ErrNoSpace come before any data.
//
// The sink takes writes of a known size up to that size. With size -1 it grows with them. Commit cuts or extends it to
// the size it is told.
func (t *Target) Open(ctx context.Context, o sink.Options) (sink.Sink, error) {
	if err := ctx.Err(); err != nil {
		return nil, t.fail("open", err)
	}
	switch {
	case o.Mode != sink.New && o.Mode != sink.Resume:
		return nil, t.fail("open", errdef.WithHint(fmt.Errorf("a file cannot be changed in place yet, only made: %w", errdef.ErrUnsupported),
			"start again with a new file, or --force to replace the old one"))
	case o.Size < -1:
		return nil, t.fail("open", fmt.Errorf("size %d: %w", o.Size, errdef.ErrUsage))
	}
	path, err := t.resolve()
	if err != nil {
		return nil, err
	}
	part := partPath(path)
	if o.Mode == sink.Resume {
		return t.resume(ctx, path, part, o)
	}
	f, err := lockPart(part, t.o.Tap)
	if err != nil {
		return nil, t.explain("open", err, o.Size)
	}
	d := newDisk(t, f, path, part, o)
	if err = t.forget(path); err == nil { // it is of another part
		err = d.prepare(ctx)
	}
	if err != nil {
		_ = d.Close()
		return nil, t.explain("open", err, -1)
	}
	if !locked(f) {
		return passing{d}, nil
	}
	return d, nil
}

// passing is a sink that is no sink.Keeper: where there are no locks, a part that was kept looks like one that is being
// written, and whoever came to go on with it would be refused.
type passing struct{ sink.Sink }

// resolve checks what has the target's name now and returns the absolute path of the file to make.
func (t *Target) resolve() (string, error) {
	if t.path == "" {
		return "", t.fail("open", fmt.Errorf("the path is empty: %w", errdef.ErrUsage))
	}
	path, err := filepath.Abs(t.path)
	if err != nil {
		return "", t.fail("open", err)
	}
	isDir := os.IsPathSeparator(t.path[len(t.path)-1])
	fi, err := os.Stat(path)
	if err == nil {
		isDir = isDir || fi.IsDir()
	}
	link, lerr := os.Lstat(path)
	switch {
	case isDir:
		return "", t.fail("open", errdef.WithHint(fmt.Errorf("it is a folder: %w", errdef.ErrUsage), "name a file in it: "+filepath.Join(t.path, "disk.img")))
	case errors.Is(lerr, fs.ErrNotExist):
		return path, t.checkFolder(filepath.Dir(path))
	case lerr != nil:
		return "", t.explain("open", lerr, -1)
	case err == nil && !fi.Mode().IsRegular():
		return "", t.fail("open", errdef.WithHint(fmt.Errorf("it is no regular file but %s: %w", kind(fi.Mode()), errdef.ErrUnsupported),
			"write to a new file, or to - and pipe that"))
	case !t.o.Force:
		t.tidy(path)
		return "", t.fail("open", exists())
	case link.Mode()&fs.ModeSymlink == 0:
		return path, nil
	}
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return "", t.fail("open", errdef.WithHint(fmt.Errorf("it is a symbolic link to nothing: %w", errdef.ErrUsage), "remove the link, or make the file behind it"))
	}
	return path, nil
}

func (t *Target) checkFolder(dir string) error {
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t.fail("open", errdef.WithHint(fmt.Errorf("there is no folder %s: %w", dir, errdef.ErrUsage), "make it first: mkdir -p "+dir))
	case err == nil && !fi.IsDir():
		return t.fail("open", errdef.WithHint(fmt.Errorf("%s is no folder: %w", dir, errdef.ErrUsage), "name a file in a folder that exists"))
	case err != nil:
		return t.explain("open", err, -1)
	}
	return nil
}

func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeCharDevice != 0:
		return "a character device"
	case m&fs.ModeDevice != 0:
		return "a block device"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "something special (" + m.Type().String() + ")"
}

func exists() error {
	return errdef.WithHint(errdef.ErrExists, "choose another name, or replace it with --force")
}

// partPath is the same for every writer of path, so that they meet at its lock.
func partPath(path string) string {
	dir, name := filepath.Split(path)
	part := "." + name + ".cdictl.part"
	if len(part) > 255 { // the longest name that common filesystems take
		part = fmt.Sprintf(".%x.cdictl.part", sha256.Sum256([]byte(name)))
	}
	return filepath.Join(dir, part)
}

func (t *Target) fail(op string, err error) error {
	return &errdef.Error{Op: op, Side: errdef.Target, Name: t.path, Err: err}
}

// explain gives an operating system's error the class and the hint it deserves, and drops the path that it repeats.
// size is the size that the disk should get, -1 where unknown.
func (t *Target) explain(op string, err error, size int64) error {
	var e *errdef.Error
	if errors.As(err, &e) {
		return err
	}
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		err = pe.Err
	case errors.As(err, &le):
		err = le.Err
	}
	switch {
	case isQuota(err):
		err = errdef.WithHint(fmt.Errorf("%w: %w", errdef.ErrNoSpace, err), "the user's or project's quota is used up: free some of it or have it raised")
	case isNoSpace(err):
		err = errdef.WithHint(fmt.Errorf("%w: %w", errdef.ErrNoSpace, err), "free some space, or choose another filesystem")
	case isTooBig(err) && size >= 0:
		err = errdef.WithHint(fmt.Errorf("the filesystem cannot hold a file of %d bytes: %w: %w", size, errdef.ErrTooSmall, err), "choose another filesystem, or raise the file size limit (ulimit -f)")
	case isTooBig(err):
		err = errdef.WithHint(fmt.Errorf("the filesystem cannot hold so large a file: %w: %w", errdef.ErrTooSmall, err), "choose another filesystem, or raise the file size limit (ulimit -f)")
	case errors.Is(err, fs.ErrPermission):
		err = errdef.WithHint(err, "check that this user may write to the folder, and that no part of another user is in the way: "+partPath(t.path))
	case isReadOnly(err):
		err = errdef.WithHint(err, "choose a folder on a filesystem that is mounted writable")
	}
	return t.fail(op, err)
}
