package registrysource

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cdictl/cdictl/lib/compress"
	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/verify"
)

const (
	maxEntries = 2_000_000 // of one layer; a full desktop has some 300,000 files
	maxName    = 4096      // PATH_MAX
)

// store is where an image lies. It is used by one goroutine.
type store interface {
	// load tells the image that the name means.
	load(ctx context.Context) (*image, error)
	// open begins to read a layer as it is stored, at a byte of it.
	open(ctx context.Context, l layer, at int64) (io.ReadCloser, error)
	Close() error
}

// tarball reads the tar of a layer once, in order.
type tarball struct {
	layer    layer
	body     io.Closer
	stored   *verify.Reader
	codec    compress.Codec
	decoder  io.Closer
	unpacked *verify.Reader
	tr       *tar.Reader
	most     int64 // of the tar
	n        int
	done     bool
	notes    notes
}

// An entry of a layer.
type entry struct {
	name string // cleaned
	link string // of a hard link, cleaned
	kind byte
	size int64
	odd  bool // a sparse file
}

func (e entry) regular() bool { return e.kind == tar.TypeReg }
func (e entry) hard() bool    { return e.kind == tar.TypeLink }

// tarball opens layer l, whatever codec lies over it.
func (s *Source) tarball(ctx context.Context, st store, l layer) (_ *tarball, err error) {
	body, err := st.open(ctx, l, 0)
	if err != nil {
		return nil, err
	}
	t := &tarball{layer: l, body: body, most: s.o.Limits.VirtualSize}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	t.stored = verify.NewReader(&exact{r: body, what: l.String(), rest: l.size}, l.stored)
	br := bufio.NewReaderSize(t.stored, 64<<10)
	head, err := br.Peek(compress.PeekSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var r io.Reader = br
	if codec, ok := compress.Detect(head); ok {
		d, err := codec.NewReader(br, s.decoding(t))
		if err != nil {
			return nil, err
		}
		t.codec, t.decoder, r = codec, d, d
	}
	t.unpacked = verify.NewReader(r, l.unpacked)
	t.tr = tar.NewReader(t.unpacked)
	return t, nil
}

// decoding is how a layer is decoded.
func (s *Source) decoding(t *tarball) compress.Options {
	o := compress.Options{Window: s.o.Limits.Window, Expansion: s.o.Limits.Expansion, Workers: s.o.Limits.Workers}
	if t.restarts() {
		o.OnPoint = func(p compress.Point) { t.notes.add(p, t.stored) }
	}
	return o
}

// next is the next entry, or io.EOF.
func (t *tarball) next() (entry, error) {
	h, err := t.tr.Next()
	if errors.Is(err, tar.ErrInsecurePath) {
		err = nil // names lead nowhere here
	}
	if err == io.EOF {
		return entry{}, io.EOF
	}
	if err != nil {
		return entry{}, t.wrong(err)
	}
	switch t.n++; {
	case t.n > maxEntries:
		return entry{}, fmt.Errorf("%s has more than %d files: %w", t.layer, maxEntries, errdef.ErrLimit)
	case len(h.Name) > maxName || len(h.Linkname) > maxName:
		return entry{}, fmt.Errorf("%s has a name longer than %d bytes: %w", t.layer, maxName, errdef.ErrLimit)
	case h.Size < 0 || t.unpacked.Bytes()+h.Size > t.most:
		return entry{}, errdef.WithHint(fmt.Errorf("%s has more than %d bytes unpacked: %w", t.layer, t.most, errdef.ErrLimit), "if the image is trusted, raise --max-virtual-size")
	}
	e := entry{name: clean(h.Name), kind: h.Typeflag, size: h.Size}
	switch h.Typeflag {
	case tar.TypeLink:
		e.link = clean(h.Linkname)
	case tar.TypeGNUSparse:
		e.kind, e.odd = tar.TypeReg, true
	}
	for k := range h.PAXRecords {
		e.odd = e.odd || strings.HasPrefix(k, "GNU.sparse.")
	}
	return e, nil
}

// wrong is an error of the tar reader: what it does not like itself is corrupt.
func (t *tarball) wrong(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%s: tar: %w: %w", t.layer, err, errdef.ErrCorrupt)
	} else if err == io.EOF {
		err = corrupt("%s ends inside of a file", t.layer)
	}
	return t.blame(err)
}

// blame finds out whether what cannot be read is what was pushed: a layer that is damaged on the way looks the same.
func (t *tarball) blame(err error) error {
	if !errors.Is(err, errdef.ErrCorrupt) {
		return err
	}
	if t.decoder != nil {
		_ = t.decoder.Close() // it has read until now
	}
	if e := t.stored.Verify(); errors.Is(e, errdef.ErrDigestMismatch) {
		return lies(t.layer.String(), e)
	}
	return err
}

// finish reads the layer to its end and compares it with its digest.
func (t *tarball) finish() error {
	if t.done {
		return nil
	}
	if err := t.unpacked.Verify(); err != nil {
		return t.digest(err)
	}
	// A decoder has read to the end of what is stored; without one there may be more than the tar.
	if err := t.stored.Verify(); err != nil {
		return t.digest(err)
	}
	if n := t.stored.Bytes(); t.layer.size >= 0 && n != t.layer.size {
		return lies(t.layer.String(), fmt.Errorf("%d bytes, expected %d: %w", n, t.layer.size, errdef.ErrDigestMismatch))
	}
	t.done = true
	return nil
}

// digest tells which layer is not what the manifest says.
func (t *tarball) digest(err error) error {
	if errors.Is(err, errdef.ErrDigestMismatch) {
		return lies(t.layer.String(), err)
	}
	return t.blame(err)
}

// close ends all reads: what a decoder reads ahead from goes first.
func (t *tarball) close() {
	_ = t.body.Close()
	if t.decoder != nil {
		_ = t.decoder.Close()
	}
}

// exact refuses what is longer than the manifest says before more of it is read. A size of -1 is not known.
type exact struct {
	r    io.Reader
	what string
	rest int64
}

func (x *exact) Read(p []byte) (int, error) {
	n, err := x.r.Read(p)
	if x.rest < 0 {
		return n, err
	}
	if int64(n) > x.rest {
		return 0, lies(x.what, fmt.Errorf("it is longer than the manifest says: %w", errdef.ErrDigestMismatch))
	}
	x.rest -= int64(n)
	return n, err
}
