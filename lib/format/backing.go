package format

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/qcow2"
	"github.com/cdictl/cdictl/lib/image"
)

// maxChain is the largest number of backing files under an image. Chains made by hand or by snapshots have a handful;
// each holds its tables in memory.
const maxChain = 64

// openQcow2 opens an image and, if that is allowed, the chain of files under it.
func openQcow2(ctx context.Context, ra io.ReaderAt, size int64, o Options) (image.Image, error) {
	q := qcow2.Options{Limits: o.Limits, Snapshot: o.Snapshot, Gap: o.Gap}
	if o.AllowBacking != "" {
		q.Backing = (&chain{ctx: ctx, o: o, dir: o.Dir}).open
	}
	return qcow2.Open(ctx, ra, size, q)
}

func learnQcow2(o Options) image.Learner {
	return qcow2.NewLearner(qcow2.Options{Limits: o.Limits, Snapshot: o.Snapshot})
}

// A chain opens what lies under one image. It lives during Open only, which is why it may hold a context.
type chain struct {
	ctx  context.Context
	o    Options
	dir  string        // of the image above, "" if that is no local file
	seen []fs.FileInfo // the files above, to find a loop
}

// open is qcow2.Options.Backing: name and format come from a header and are hostile.
func (c *chain) open(name, format string) (image.Image, error) {
	if err := c.ctx.Err(); err != nil {
		return nil, err
	}
	if len(c.seen) >= maxChain {
		return nil, fmt.Errorf("the chain is deeper than %d files: %w", maxChain, errdef.ErrCorrupt)
	}
	path, err := c.resolve(name)
	if err != nil {
		return nil, err
	}
	f, err := openInside(c.o.AllowBacking, path)
	if err != nil {
		return nil, err
	}
	img, err := c.openFile(f, path, format)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &fileImage{img, f}, nil
}

func (c *chain) openFile(f *os.File, path, format string) (image.Image, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	for _, above := range c.seen {
		if os.SameFile(above, st) {
			return nil, fmt.Errorf("%s is below itself: the chain is a loop: %w", path, errdef.ErrCorrupt)
		}
	}
	kind, err := detectFile(f, st.Size(), format)
	if err != nil {
		return nil, err
	}
	o := Options{Limits: c.o.Limits, AllowBacking: c.o.AllowBacking}
	if kind.Name != "qcow2" && kind.Name != "vmdk" { // no other has a chain that is read
		return kind.Open(c.ctx, f, st.Size(), o)
	}
	under := &chain{ctx: c.ctx, o: o, dir: filepath.Dir(path), seen: append(c.seen[:len(c.seen):len(c.seen)], st)}
	if kind.Name == "vmdk" {
		return under.openVMDK(f, path, st.Size())
	}
	return qcow2.Open(c.ctx, f, st.Size(), qcow2.Options{Limits: o.Limits, Backing: under.open})
}

// detectFile takes the format that the image above names: whoever made it said so. Where it names none, the magic
// tells; qemu-img would guess too, and warns. The magic also tells which of the formats of one name it is: a VHD may be
// fixed or dynamic.
func detectFile(f *os.File, size int64, name string) (Format, error) {
	head := make([]byte, min(size, PeekSize))
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return Format{}, err
	}
	tail := make([]byte, min(size, TailSize))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return Format{}, err
	}
	if name == "" {
		return Detect(head, tail)
	}
	for _, kind := range list() {
		if kind.Name == name && kind.match(head, tail) {
			return kind, kind.Refusal()
		}
	}
	return ByName(name)
}

// resolve makes a path of the name of a backing file: as it is if absolute, else from the folder of the image above.
// Names that lead to anything but a local file are refused.
func (c *chain) resolve(name string) (string, error) {
	switch {
	case name == "" || strings.ContainsRune(name, 0):
		return "", fmt.Errorf("backing file name %q: %w", name, errdef.ErrCorrupt)
	case hasProtocol(name):
		return "", errdef.WithHint(fmt.Errorf("backing file %q is not a plain path: %w", name, errdef.ErrRefused),
			"only local files inside the allowed folder are read; flatten the image: qemu-img convert -O qcow2 IN OUT")
	case filepath.IsAbs(name):
		return name, nil
	case c.dir == "":
		return "", errdef.WithHint(fmt.Errorf("backing file %q is relative to an image that is no local file: %w", name, errdef.ErrRefused),
			"download the image into the folder of its backing file first")
	}
	// Not filepath.Join: it would take "a/.." away before a symlink at a is followed.
	return c.dir + string(filepath.Separator) + name, nil
}

// openInside opens a regular file for reading if it lies inside dir, after all symlinks. The links are resolved first,
// because os.Root takes no absolute ones; that os.Root does the opening makes the answer hold if they change meanwhile.
func openInside(dir, path string) (*os.File, error) {
	top, err := realPath(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of backing files: %w", err)
	}
	file, err := realPath(path)
	if err != nil {
		return nil, fmt.Errorf("backing file: %w", err)
	}
	rel, err := filepath.Rel(top, file)
	if err != nil || !filepath.IsLocal(rel) {
		return nil, errdef.WithHint(fmt.Errorf("backing file %s lies outside of %s: %w", path, dir, errdef.ErrRefused),
			"name a folder that holds the whole chain with --allow-backing")
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, fmt.Errorf("folder of backing files: %w", err)
	}
	defer root.Close() //nolint:errcheck // only read; an open file outlives it
	// Before opening: opening a FIFO would wait for a writer.
	if st, err := root.Stat(rel); err != nil {
		return nil, fmt.Errorf("backing file: %w", err)
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("backing file %s is not a regular file: %w", path, errdef.ErrRefused)
	}
	f, err := root.Open(rel)
	if err != nil {
		return nil, fmt.Errorf("backing file: %w", err)
	}
	return f, nil
}

func realPath(path string) (string, error) {
	abs := path
	if !filepath.IsAbs(abs) {
		wd, err := os.Getwd()
		if err != nil {
			return "", err
		}
		abs = wd + string(filepath.Separator) + path // not cleaned, as in resolve
	}
	return filepath.EvalSymlinks(abs)
}

// hasProtocol reports whether qemu would take a name for something else than a path: a colon before the first slash, as
// in "nbd:…", "http://…" and "json:{…}". A drive letter is none.
func hasProtocol(name string) bool {
	if filepath.VolumeName(name) != "" {
		return false
	}
	i := strings.IndexAny(name, `:/\`)
	return i >= 0 && name[i] == ':'
}

// fileImage is an image of a chain with the file that it reads.
type fileImage struct {
	image.Image
	f *os.File
}

// Unwrap returns the image.
func (i *fileImage) Unwrap() image.Image { return i.Image }

// Close closes what lies under the image, and its file.
func (i *fileImage) Close() error { return errors.Join(i.Image.Close(), i.f.Close()) }
