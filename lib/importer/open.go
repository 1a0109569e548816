package importer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/archive"
	"github.com/cdictl/cdictl/lib/compress"
	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/verify"
)

// opened is a source whose codec and format are known. Either random is set, or the content comes in order only.
type opened struct {
	name   string
	source source.Source
	opts   Options
	blob   source.Blob
	info   source.Info
	random io.ReaderAt // the blob out of order; nil where that is impossible
	codec  string      // "" for none
	format format.Format
	head   []byte // of the content under the codec
	tail   []byte // its last bytes, where they could be read

	siblings *siblings // the files beside it; nil where there are none

	// content is what lies under the codec, from its start. Nobody reads it where random is used instead.
	content  io.Reader
	decoder  io.Closer // the codec's; nil without one
	verifier *verify.Reader

	// Where the disk lies in an archive, blob, info and content are those of its file there.
	inArchive bool
	archive   *archive.Stream // that content comes from; nil if it is a window
	digest    verify.Digest   // of a window, by the archive's manifest
	outer     io.Closer       // decoder of the codec over the archive

	points *points // of the codec; nil: they are not asked for
}

// open opens src and looks at its first bytes. The blob observes ctx until Close.
func open(ctx context.Context, src source.Source, o Options, want verify.Digest) (_ *opened, err error) {
	o.Limits = o.Limits.WithDefaults()
	env := source.Env{Limiter: o.Limiter, Tracker: o.Tracker, OnRetry: o.OnRetry, Trace: o.Trace, OnNotice: o.notice}
	blob, err := src.Open(ctx, env)
	if err != nil {
		return nil, onSource("open", src.String(), err)
	}
	c := &opened{name: src.String(), source: src, opts: o, blob: blob, info: blob.Info()}
	c.siblings = newSiblings(ctx, src, env, c.info.Size, !want.IsZero())
	defer func() {
		if err != nil {
			err = onSource("read", c.name, err)
			c.Close()
		}
	}()
	o.Tracker.SetStoredTotal(c.info.Size)
	if ra, ok := blob.(io.ReaderAt); ok && c.info.Size >= 0 {
		c.random = ra
	}
	return c, c.detect(ctx, want)
}

// Close ends all reads.
func (c *opened) Close() error {
	var err error
	if c.decoder != nil {
		err = c.decoder.Close()
	}
	if c.outer != nil {
		err = errors.Join(err, c.outer.Close())
	}
	return errors.Join(err, c.blob.Close())
}

func (c *opened) detect(ctx context.Context, want verify.Digest) error {
	c.verifier = verify.NewReader(c.blob, want)
	return c.look(ctx, want, c.verifier)
}

// look finds out what is stored: r has it in order.
func (c *opened) look(ctx context.Context, want verify.Digest, r io.Reader) error {
	if err := c.peek(r, c.random); err != nil {
		return err
	}
	if codec, ok := compress.Detect(c.head); ok {
		if err := c.decode(codec); err != nil {
			return err
		}
	} else if c.random != nil {
		n := min(c.info.Size, format.TailSize)
		c.tail = make([]byte, n)
		if err := readAt(c.random, c.tail, c.info.Size-n); err != nil {
			return err
		}
	}
	var err error
	if c.format, err = format.Detect(c.head, c.tail); c.format.Archive {
		return c.enter(ctx, want)
	}
	if err == nil && !c.inArchive && c.opts.Disk != "" {
		err = errdef.WithHint(fmt.Errorf("%s is no archive, disk %q was asked for: %w", c.format.Name, c.opts.Disk, errdef.ErrUsage), "leave out --disk")
	}
	return err
}

// peek sets content and head, the latter by random access where there is any: then the stream stays unread.
func (c *opened) peek(r io.Reader, ra io.ReaderAt) error {
	if ra != nil {
		c.content = r
		c.head = make([]byte, min(c.info.Size, format.PeekSize))
		return readAt(ra, c.head, 0)
	}
	b := bufio.NewReaderSize(r, format.PeekSize)
	head, err := b.Peek(format.PeekSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	c.content, c.head = b, bytes.Clone(head)
	return nil
}

// decode lays codec over the stream. What is then seen must be a disk, not a second codec.
func (c *opened) decode(codec compress.Codec) error {
	l := c.opts.Limits
	o := compress.Options{Window: l.Window, Expansion: l.Expansion, Workers: l.Workers}
	if _, marks := c.blob.(source.Marker); c.opts.points && c.codec == "" && (c.random != nil || marks) {
		known, v := &points{}, c.verifier
		c.points = known
		o.OnPoint = func(p compress.Point) { known.add(p, v) }
	}
	r, err := codec.NewReader(c.content, o)
	if err != nil {
		return err
	}
	if c.codec != "" { // over the archive that this one lies in
		c.codec += ", "
	}
	c.codec, c.decoder, c.random = c.codec+codec.Name(), r, nil
	if err := c.peek(r, nil); err != nil {
		return err
	}
	if inner, ok := compress.Detect(c.head); ok {
		return errdef.WithHint(fmt.Errorf("%s inside %s: one codec may lie over a disk, not two: %w", inner.Name(), codec.Name(), errdef.ErrUnsupported),
			"unpack the outer one first")
	}
	return nil
}

func (c *opened) formatOptions() format.Options {
	o := format.Options{Limits: c.opts.Limits, Snapshot: c.opts.Snapshot, AllowBacking: c.opts.AllowBacking, Dir: c.info.Dir}
	if c.siblings != nil && c.random != nil {
		o.Sibling = c.siblings.open
	}
	if !c.info.Local {
		o.Gap = 64 << 10 // half a millisecond at 1 Gbit/s, far less than a round trip
	}
	return o
}

// readAt reads all of p. The source told its size, so an end before is a change.
func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("content ends at %d, before %d: %w", off+int64(n), off+int64(len(p)), errdef.ErrChanged)
	}
	return err
}

// onSource says that err belongs to the source, unless something below said so already.
func onSource(op, name string, err error) error {
	var e *errdef.Error
	if err == nil || errors.As(err, &e) || errors.Is(err, context.Canceled) {
		return err
	}
	return &errdef.Error{Op: op, Side: errdef.Source, Name: name, Err: err}
}
