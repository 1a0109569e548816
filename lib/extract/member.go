package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
)

// chunk is what is written at a time, and how often the context is asked.
const chunk = 256 << 10

// member makes one.
func (x *Extraction) member(ctx context.Context, h *header, r io.Reader) error {
	path, err := local("member", h.name)
	if err != nil {
		return err
	}
	if h.kind == kindFolder {
		return x.folder(path, h)
	}
	if path == "" {
		return fmt.Errorf("tar: member %.200q would replace the folder itself: %w", h.name, errdef.ErrCorrupt)
	}
	switch h.kind {
	case kindChar, kindBlock, kindFifo:
		return x.skip(path, h)
	}
	if err := x.newTop(path); err != nil {
		return err
	}
	dir, base := split(path)
	if h.kind == kindLink {
		return x.link(path, dir, base, h)
	}
	at, err := x.into(dir)
	if err != nil {
		return err
	}
	if h.kind == kindSymlink {
		return x.symlink(at, path, base, h)
	}
	return x.file(ctx, at, path, base, h, r)
}

// skip leaves out a device or a FIFO.
func (x *Extraction) skip(path string, h *header) error {
	if !x.o.SkipDevices {
		what := map[byte]string{kindChar: "a character device", kindBlock: "a block device", kindFifo: "a FIFO"}[h.kind]
		return errdef.WithHint(fmt.Errorf("tar: member %.200q is %s: %w", h.name, what, errdef.ErrRefused), "leave them out: --skip-devices")
	}
	x.stats.Skipped++
	return x.skip1(path)
}

// skip1 remembers that path was left out, for links to it.
func (x *Extraction) skip1(path string) error {
	if x.skipped[path] {
		return nil
	}
	x.skipped[path] = true
	return x.remember(64 + int64(len(path)))
}

// folder makes a folder, or says what one that is there already is to be.
func (x *Extraction) folder(path string, h *header) error {
	h.sparse = nil
	n := int64(0)
	for _, a := range slices.Concat(h.xattrs, h.acls) {
		n += 64 + int64(len(a.name)+len(a.value))
	}
	if err := x.remember(n); err != nil {
		return err
	}
	if path == "" {
		x.self = &folder{h}
		return nil
	}
	if f := x.folders[path]; f != nil {
		if f.h == nil {
			x.stats.Folders++
		}
		f.h = h
		return nil
	}
	dir, base := split(path)
	at, err := x.into(dir)
	if err != nil {
		return err
	}
	// A folder in the place of a link: the link goes, and is not followed.
	if fi, err := at.root.Lstat(base); err == nil && !fi.IsDir() {
		if err := x.replace(at, path, base); err != nil {
			return err
		}
	}
	if err := x.makeFolder(at.root, path, base); err != nil {
		return err
	}
	x.folders[path].h = h
	x.stats.Folders++
	return nil
}

// replace removes what an earlier member of the same name made.
func (x *Extraction) replace(at *place, path, base string) error {
	fi, err := at.root.Lstat(base)
	if err != nil {
		return x.onEntry("replace", path, err)
	}
	if fi.IsDir() {
		return fmt.Errorf("tar: member %.200q would replace a folder: %w", path, errdef.ErrCorrupt)
	}
	if x.folded {
		if err := x.exact(at, path, base); err != nil {
			return err
		}
	}
	switch {
	case fi.Mode()&fs.ModeSymlink != 0:
		x.stats.Symlinks--
	default: // which may have been a hard link: the sum is right
		x.stats.Files--
	}
	return x.onEntry("replace", path, at.root.Remove(base))
}

// exact reports an error if base is in at only under another spelling.
func (x *Extraction) exact(at *place, path, base string) error {
	d, err := at.root.Open(".")
	if err != nil {
		return x.onEntry("open", path, err)
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1000)
		for _, n := range names {
			if n == base {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return x.alike(path)
		}
		if err != nil {
			return x.onEntry("open", path, err)
		}
	}
}

// create does make, again if a member of the same name had to go.
func (x *Extraction) create(at *place, path, base string, make func() error) error {
	err := make()
	if errors.Is(err, fs.ErrExist) {
		if err := x.replace(at, path, base); err != nil {
			return err
		}
		err = make()
	}
	return err
}

// symlink stores a link as it is, wherever it leads.
func (x *Extraction) symlink(at *place, path, base string, h *header) error {
	if h.link == "" {
		return fmt.Errorf("tar: the symbolic link %.200q leads nowhere: %w", h.name, errdef.ErrCorrupt)
	}
	err := x.create(at, path, base, func() error { return at.root.Symlink(h.link, base) })
	if err != nil {
		return x.onEntry("make", path, err)
	}
	x.stats.Symlinks++
	return x.onEntry("make", path, x.dressLink(at, base, h))
}

// link makes a hard link to what an earlier member made.
func (x *Extraction) link(path, dir, base string, h *header) error {
	to, err := local("target of a hard link", h.link)
	if err != nil {
		return err
	}
	if to == "" || to == path {
		return fmt.Errorf("tar: %.200q is a hard link to itself, or to nothing: %w", h.name, errdef.ErrCorrupt)
	}
	if x.skipped[to] {
		x.stats.Skipped++
		return x.skip1(path)
	}
	toDir, toBase := split(to)
	missing := fmt.Errorf("tar: %.200q is a hard link to %.200q, which no earlier member made: %w", h.name, h.link, errdef.ErrCorrupt)
	if _, known := x.folders[toDir]; !known && toDir != "" {
		if err := x.wayTo(toDir); err != nil {
			return err
		}
		return missing
	}
	at, err := x.into(toDir)
	if err != nil {
		return err
	}
	fi, err := at.root.Lstat(toBase)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return missing
	case err != nil:
		return x.onEntry("link", to, err)
	case fi.IsDir():
		return fmt.Errorf("tar: %.200q is a hard link to %.200q, which is a folder: %w", h.name, h.link, errdef.ErrCorrupt)
	}
	if at, err = x.into(dir); err != nil {
		return err
	}
	err = x.create(at, path, base, func() error { return x.tree.Link(to, path) })
	if err != nil {
		return x.onEntry("link", path, err)
	}
	x.stats.HardLinks++
	return nil
}

// wayTo says why there is no folder at path, if that is because a link is on the way.
func (x *Extraction) wayTo(path string) error {
	for i := range path + "/" {
		if i == len(path) || path[i] == '/' {
			if fi, err := x.tree.Lstat(path[:i]); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
				return through(path[:i], fi)
			}
		}
	}
	return nil
}

// file makes a file.
func (x *Extraction) file(ctx context.Context, at *place, path, base string, h *header, r io.Reader) error {
	if h.size > x.o.Limits.VirtualSize-x.stats.Bytes {
		return errdef.WithHint(fmt.Errorf("tar: with %.200q the files have %d bytes and more, above the limit of %d: %w", h.name, x.stats.Bytes+h.size/2, x.o.Limits.VirtualSize, errdef.ErrLimit),
			"if the archive is trusted, raise --max-virtual-size")
	}
	var f *os.File
	err := x.create(at, path, base, func() (err error) {
		f, err = at.root.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return x.onEntry("make", path, err)
	}
	defer f.Close()
	x.stats.Files, x.stats.Bytes = x.stats.Files+1, x.stats.Bytes+h.size
	if err := x.fill(ctx, f, path, h, r); err != nil {
		return err
	}
	if err := x.dressFile(f, h); err != nil {
		return x.onEntry("write", path, err)
	}
	if x.made++; x.made <= few {
		return x.onEntry("write", path, keep(f, at, base, h))
	}
	if err := f.Close(); err != nil {
		return x.onEntry("write", path, err)
	}
	return x.onEntry("write", path, setTimes(at, base, h)) // last: closing a file may be a change on some filesystems
}

// keep makes a file durable, with its times.
func keep(f *os.File, at *place, base string, h *header) error {
	if err := f.Sync(); err != nil { // what is written later than a time is set may change it
		return err
	}
	if err := setTimes(at, base, h); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// fill writes the content.
func (x *Extraction) fill(ctx context.Context, f *os.File, path string, h *header, r io.Reader) error {
	if !h.holes {
		return x.copy(ctx, f, path, r, 0, h.size)
	}
	makeSparse(f)
	if err := f.Truncate(h.size); err != nil {
		return x.onEntry("write", path, err)
	}
	for _, p := range h.pieces {
		if err := x.copy(ctx, f, path, r, p.off, p.n); err != nil {
			return err
		}
	}
	return nil
}

// copy writes n bytes at off.
func (x *Extraction) copy(ctx context.Context, f *os.File, path string, r io.Reader, off, n int64) error {
	if x.buf == nil {
		x.buf = make([]byte, chunk)
	}
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := x.buf[:min(n, chunk)]
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		if _, err := f.WriteAt(b, off); err != nil {
			return x.onEntry("write", path, err)
		}
		off, n = off+int64(len(b)), n-int64(len(b))
		x.stats.Written += int64(len(b))
	}
	return nil
}
