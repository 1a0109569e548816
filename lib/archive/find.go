package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/source"
)

// Find finds the disk in an archive of size bytes that can be read out of order. Only headers, description and manifest are
// read.
func Find(ctx context.Context, ra io.ReaderAt, size int64, o Options) (Disk, error) {
	r := io.NewSectionReader(ra, 0, size)
	pos := func() int64 {
		n, _ := r.Seek(0, io.SeekCurrent) // cannot fail
		return n
	}
	f := newFiles(r, pos)
	var all []member
	var ovf *description
	var ovfText []byte
	var manifests []member
	for {
		if err := ctx.Err(); err != nil {
			return Disk{}, err
		}
		m, err := f.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Disk{}, err
		}
		if m.size > size-m.offset && !m.sparse {
			return Disk{}, fmt.Errorf("archive: member %q at %d (%d bytes) passes the end of the archive (%d bytes): %w", m.name, m.offset, m.size, size, errdef.ErrCorrupt)
		}
		switch {
		case isDescription(m.name) && ovf != nil:
			return Disk{}, fmt.Errorf("archive: two descriptions, %q and %q: %w", ovf.name, m.name, errdef.ErrUnsupported)
		case isDescription(m.name):
			if ovfText, err = f.read(m, maxDescription, "description"); err != nil {
				return Disk{}, err
			}
			if ovf, err = parseOVF(m.name, ovfText); err != nil {
				return Disk{}, err
			}
		case isManifest(m.name):
			manifests = append(manifests, m)
		}
		all = append(all, m)
	}
	if ovf == nil {
		return onlyDisk(all, o)
	}
	name, err := ovf.disk(o.Disk)
	if err != nil {
		return Disk{}, err
	}
	var mf *manifest
	for _, m := range manifests {
		if !strings.EqualFold(m.name, manifestOf(ovf.name)) {
			continue
		}
		if m.size > maxManifest {
			return Disk{}, fmt.Errorf("archive: manifest %q has %d bytes, more than %d: %w", m.name, m.size, maxManifest, errdef.ErrLimit)
		}
		b := make([]byte, m.size)
		if n, err := ra.ReadAt(b, m.offset); n < len(b) {
			return Disk{}, err
		}
		if mf, err = parseManifest(m.name, b); err != nil {
			return Disk{}, err
		}
	}
	if err := mf.check(ovf.name, ovfText); err != nil {
		return Disk{}, err
	}
	for _, m := range all {
		if m.name == name {
			return m.disk(mf)
		}
	}
	return Disk{}, missing(ovf, name)
}

func missing(ovf *description, name string) error {
	return fmt.Errorf("archive: %s names the disk %.200q, which is not in the archive: %w", ovf.name, name, errdef.ErrCorrupt)
}

// disk is the member as a disk.
func (m member) disk(mf *manifest) (Disk, error) {
	if m.sparse {
		return Disk{}, m.refuseSparse()
	}
	d, err := mf.digest(m.name)
	return Disk{Name: m.name, Offset: m.offset, Size: m.size, Digest: d}, err
}

// onlyDisk chooses among the members of an archive without a description.
func onlyDisk(all []member, o Options) (Disk, error) {
	if len(all) == 0 {
		return Disk{}, errEmpty
	}
	list := make([]candidate, len(all))
	for i, m := range all {
		list[i] = candidate{names: []string{m.name, path.Base(m.name)}, size: m.size}
	}
	i, err := choose(list, o.Disk)
	if err != nil {
		return Disk{}, err
	}
	return all[i].disk(nil)
}

var errEmpty = fmt.Errorf("archive: no regular file in the tar, want at least 1: %w", errdef.ErrUnsupported)

// Window returns the part of blob that holds d, which Find found in it, as a blob of its own: it is an io.ReaderAt, and an
// image.Extenter if blob is one. blob must be an io.ReaderAt, and is closed with the window.
func Window(blob source.Blob, d Disk) source.Blob {
	w := &window{Blob: blob, ra: blob.(io.ReaderAt), d: d}
	if x, ok := blob.(image.Extenter); ok {
		return &windowHoles{w, x}
	}
	return w
}

// window is a part of a blob.
type window struct {
	source.Blob
	ra  io.ReaderAt
	d   Disk
	pos int64 // of Read
	at  bool  // the archive has been read up to the disk
}

// Info is that of the archive, as far as it is true of the disk.
func (w *window) Info() source.Info {
	i := w.Blob.Info()
	i.Size, i.Name, i.Allocated, i.Dir, i.Digest = w.d.Size, path.Base(w.d.Name), 0, "", ""
	return i
}

// skipped is how much of the archive before the disk is rather read than skipped: an archive that is read in order may be
// read ahead by its source, and descriptions are small.
const skipped = 1 << 20

// Read reads on in order.
func (w *window) Read(p []byte) (int, error) {
	if w.d.Offset > skipped {
		n, err := w.ReadAt(p, w.pos)
		w.pos += int64(n)
		if n > 0 && errors.Is(err, io.EOF) {
			err = nil // the next Read says it
		}
		return n, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !w.at {
		if _, err := io.CopyN(io.Discard, w.Blob, w.d.Offset); err != nil {
			return 0, w.short(err)
		}
		w.at = true
	}
	rest := w.d.Size - w.pos
	if rest == 0 {
		return 0, io.EOF
	}
	n, err := w.Blob.Read(p[:min(int64(len(p)), rest)])
	w.pos += int64(n)
	if errors.Is(err, io.EOF) && w.pos < w.d.Size {
		err = w.short(err)
	}
	return n, err
}

// short is for an archive that ends before the disk does, which it did not when it was opened.
func (w *window) short(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("archive: it ends inside of %q: %w", w.d.Name, errdef.ErrChanged)
	}
	return err
}

// ReadAt reads from the disk's file.
func (w *window) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("archive: read at negative offset %d: %w", off, errdef.ErrUsage)
	}
	if len(p) == 0 {
		return 0, nil
	}
	rest := w.d.Size - off
	if rest <= 0 {
		return 0, io.EOF
	}
	n, err := w.ra.ReadAt(p[:min(int64(len(p)), rest)], w.d.Offset+off)
	if n < len(p) && int64(n) == rest && (err == nil || errors.Is(err, io.EOF)) {
		return n, io.EOF
	}
	if int64(n) < min(int64(len(p)), rest) && errors.Is(err, io.EOF) {
		err = w.short(err)
	}
	return n, err
}

type windowHoles struct {
	*window
	holes image.Extenter
}

// NextExtent tells the holes of the archive's file.
func (w *windowHoles) NextExtent(off, n int64) (image.Extent, error) {
	if off < 0 || n <= 0 || off >= w.d.Size {
		return image.Extent{}, fmt.Errorf("archive: query [%d,+%d) in %d bytes: %w", off, n, w.d.Size, errdef.ErrUsage)
	}
	x, err := image.Next(w.holes, w.d.Offset+off, min(n, w.d.Size-off))
	x.Start -= w.d.Offset
	return x, err
}
