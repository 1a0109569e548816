package containerdisk

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/progress"
)

// KubeVirt's launcher runs qemu as this user and group, and looks for a disk that they may read.
const qemuID = 107

// packed is a disk in a layer that is ready to be sent.
type packed struct {
	disk   *importer.Disk
	size   int64 // of the file
	layer  blob
	kind   string // media type
	diffID string // digest of the tar
	spools []*os.File
}

func (p *packed) close() {
	for _, f := range p.spools {
		_ = f.Close() // it has no name, and this is the end of it
	}
	_ = p.disk.Close()
}

// pack opens the source, converts it, and makes the layer of it.
func (r *Request) pack(ctx context.Context) (_ *packed, err error) {
	d, err := importer.OpenDisk(ctx, r.Source, r.DiskOptions)
	if err != nil {
		return nil, err
	}
	p := &packed{disk: d, kind: mediaTypes[r.LayerCompression]}
	defer func() {
		if err != nil {
			p.close()
			err = r.onSource(ctx, err)
		}
	}()
	var file io.ReaderAt = sparse{d}
	p.size = d.Size()
	if r.Format == "qcow2" {
		f, err := r.spool(p)
		if err != nil {
			return nil, err
		}
		if p.size, err = r.convert(ctx, f, d); err != nil {
			return nil, err
		}
		file = f.f
	}
	t, err := newTarball(r.Name, p.size, file, r.Created)
	if err != nil {
		return nil, err
	}
	r.Tracker.Restart("hashing", t.size)
	diff := sha256.New()
	if r.LayerCompression == "none" {
		if err := t.hash(ctx, diff, r.Tracker); err != nil {
			return nil, err
		}
		p.diffID = digestSum(diff)
		p.layer = blob{"layer", p.diffID, t.size, t}
		return p, nil
	}
	f, err := r.spool(p)
	if err != nil {
		return nil, err
	}
	r.Tracker.SetPhase("compressing")
	stored := sha256.New()
	n, err := compress(ctx, t, r.LayerCompression, r.Limits.WithDefaults().Workers, io.MultiWriter(&appendTo{f: f}, stored), diff, r.Tracker)
	if err != nil {
		return nil, err
	}
	p.diffID = digestSum(diff)
	p.layer = blob{"layer", digestSum(stored), n, f.f}
	return p, nil
}

// convert writes the disk as a qcow2. In place of its name it has a length.
func (r *Request) convert(ctx context.Context, f *scratch, d *importer.Disk) (int64, error) {
	q, err := format.ByName(r.Format)
	if err != nil {
		return 0, err
	}
	r.Tracker.Restart("converting", d.Size())
	return q.Write(ctx, f, d, format.WriteOptions{Limits: r.Limits, Compression: r.Compression, Done: r.Tracker.AddVirtual})
}

func (r *Request) onSource(ctx context.Context, err error) error {
	if e := (*errdef.Error)(nil); errors.As(err, &e) || ctx.Err() != nil {
		return err
	}
	return &errdef.Error{Op: "read", Side: errdef.Source, Name: r.Source.String(), Err: err}
}

// sparse does not read what is known to be zeros.
type sparse struct{ image.Image }

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off+int64(n) < s.Size() {
		x, err := image.Next(s, off+int64(n), min(int64(len(p)-n), s.Size()-off-int64(n)))
		if err != nil {
			return n, err
		}
		part := p[n:][:x.Length]
		if x.Kind.IsZero() {
			clear(part)
		} else if got, err := s.Image.ReadAt(part, x.Start); got < len(part) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n + got, err
		}
		n += len(part)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// scratch is a file without a name.
type scratch struct {
	f     *os.File
	dir   string
	track *progress.Tracker
}

func (r *Request) spool(p *packed) (*scratch, error) {
	f, err := importer.OpenSpool(r.Scratch, -1) // how far the data will shrink is not known
	if err != nil {
		return nil, err
	}
	p.spools = append(p.spools, f)
	return &scratch{f, r.Scratch, r.Tracker}, nil
}

func (s *scratch) WriteAt(p []byte, off int64) (int, error) {
	n, err := s.f.WriteAt(p, off)
	s.track.AddSpooled(int64(n))
	if err == nil {
		return n, nil
	}
	e := &errdef.Error{Op: "write scratch file in", Name: s.dir, Err: err}
	var pe *os.PathError
	if errors.As(err, &pe) {
		e.Err = pe.Err // its path is one that nobody can look at
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		e.Err, e.Hint = fmt.Errorf("%w: %w", errdef.ErrNoSpace, e.Err), "name a folder with room for the compressed disk: --scratch DIR"
	}
	return n, e
}

// appendTo writes one behind the other.
type appendTo struct {
	f   *scratch
	off int64
}

func (a *appendTo) Write(p []byte) (int, error) {
	n, err := a.f.WriteAt(p, a.off)
	a.off += int64(n)
	return n, err
}

// A tarball is the layer as a tar: what stands before the file, the file, what stands behind it. It is never written as a whole.
type tarball struct {
	head, tail []byte
	file       io.ReaderAt
	end        int64 // of the file, in the tar
	size       int64
}

// newTarball has the folder and the file as KubeVirt wants them: readable for its user, and writable for nobody.
func newTarball(name string, size int64, file io.ReaderAt, created time.Time) (*tarball, error) {
	if created.IsZero() {
		created = time.Unix(0, 0)
	}
	created = created.UTC().Truncate(time.Second) // fractions would want another kind of header
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "disk/", Mode: 0o555},
		{Typeflag: tar.TypeReg, Name: "disk/" + name, Mode: 0o440, Size: size},
	} {
		h.Uid, h.Gid, h.ModTime = qemuID, qemuID, created
		if err := w.WriteHeader(&h); err != nil {
			return nil, fmt.Errorf("a tar cannot say this: %w: %w", err, errdef.ErrUsage)
		}
	}
	t := &tarball{head: b.Bytes(), file: file}
	t.end = int64(len(t.head)) + size
	t.tail = make([]byte, -t.end&511+2*512) // to the block's end, and two empty ones
	t.size = t.end + int64(len(t.tail))
	return t, nil
}

// ReadAt reads the tar.
func (t *tarball) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		switch {
		case at < int64(len(t.head)):
			n += copy(p[n:], t.head[at:])
		case at < t.end:
			part := p[n:]
			part = part[:min(int64(len(part)), t.end-at)]
			got, err := t.file.ReadAt(part, at-int64(len(t.head)))
			n += got
			if got < len(part) {
				if err == nil || errors.Is(err, io.EOF) {
					err = fmt.Errorf("the disk ends before its end: %w", errdef.ErrChanged)
				}
				return n, err
			}
		case at < t.size:
			n += copy(p[n:], t.tail[at-t.end:])
		default:
			return n, io.EOF
		}
	}
	return n, nil
}

// hash reads all of it.
func (t *tarball) hash(ctx context.Context, h hash.Hash, track *progress.Tracker) error {
	b := make([]byte, chunk)
	for off := int64(0); off < t.size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := b[:min(int64(len(b)), t.size-off)]
		if _, err := t.ReadAt(part, off); err != nil {
			return err
		}
		h.Write(part)
		off += int64(len(part))
		track.AddVirtual(int64(len(part)))
	}
	return nil
}

func digestSum(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

func digestOf(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}
