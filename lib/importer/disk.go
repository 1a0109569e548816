package importer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/verify"
)

// DiskOptions of OpenDisk.
type DiskOptions struct {
	Options
	// Checksum of the stored bytes, checked before OpenDisk returns; zero: none.
	Checksum verify.Digest
	// Spool is a folder for a hidden, sparse raw copy of what only comes in order, or must be verified and is far away.
	// Empty: such a source is errdef.ErrScratchNeeded.
	Spool string
}

// A Disk is the content of an image from anywhere, open for reading out of order. Its reads end with the context that it
// was opened with.
type Disk struct {
	image.Image
	// Format and Codec are those of the source.
	Format, Codec string

	name   string
	plain  bool // the stored file is the disk's bytes in order
	copied bool // what is read is a copy
	free   func() error
}

// Close closes the image and the source, and drops the copy if there is one.
func (d *Disk) Close() error { return errors.Join(d.Image.Close(), d.free()) }

// OpenDisk opens the disk at s: in place if its source can be read out of order, else by way of a copy.
func OpenDisk(ctx context.Context, s source.Source, o DiskOptions) (*Disk, error) {
	c, err := open(ctx, s, o.Options, o.Checksum)
	if err != nil {
		return nil, err
	}
	o.Checksum = c.expected(o.Checksum)
	if c.random == nil || !o.Checksum.IsZero() && !c.info.Local {
		// The stream has begun, and some can be had once only: the copy is made of what was opened.
		return c.copied(ctx, s, o)
	}
	if !o.Checksum.IsZero() {
		o.Tracker.SetPhase("verifying")
		if err := c.verifier.Verify(); err != nil {
			return nil, errors.Join(onSource("verify", c.name, err), c.Close())
		}
	}
	fo := c.formatOptions()
	fo.Holes, _ = c.blob.(image.Extenter)
	img, err := c.format.Open(ctx, c.random, c.info.Size, fo)
	if err != nil {
		return nil, errors.Join(onSource("read", c.name, err), c.Close())
	}
	if err := c.opts.Limits.CheckVirtualSize(img.Size()); err != nil {
		return nil, errors.Join(onSource("read", c.name, err), img.Close(), c.Close())
	}
	return &Disk{Image: img, Format: c.format.Name, Codec: c.codec, name: c.name, plain: !c.format.Random, free: c.Close}, nil
}

// copied imports what c has into a spool, and opens that.
func (c *opened) copied(ctx context.Context, s source.Source, o DiskOptions) (*Disk, error) {
	if o.Spool == "" {
		c.Close()
		return nil, onSource("read", c.name, errdef.WithHint(fmt.Errorf("%s comes in order only: %w", c.format.Name, errdef.ErrScratchNeeded),
			"name a folder with room for the disk: --scratch DIR"))
	}
	f, err := newSpool(o.Spool, -1) // it takes only the disk's data, of which nobody knows how much it is
	if err != nil {
		c.Close()
		return nil, err
	}
	t := &spoolTarget{spoolSink: &spoolSink{f: f, dir: o.Spool, count: o.Tracker.AddSpooled}}
	r := Request{Source: s, Target: t, Checksum: o.Checksum, Spool: o.Spool, Options: o.Options}
	res, err := importOpened(ctx, c, r)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	raw, err := format.ByName("raw")
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	img, err := raw.Open(ctx, f, res.VirtualSize, format.Options{Limits: o.Limits, Holes: t})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Disk{Image: img, Format: res.Format, Codec: res.Codec, name: c.name, copied: true, free: f.Close}, nil
}

// spoolTarget is a spool that a disk is imported to. It remembers where it was written, so that what is not needs no reading.
type spoolTarget struct {
	*spoolSink
	mu    sync.Mutex
	parts []uint64 // a bit for each part
	size  int64
}

const spoolPart = 1 << 20

func (t *spoolTarget) Open(context.Context, sink.Options) (sink.Sink, error) { return t, nil }
func (t *spoolTarget) String() string                                        { return "spool in " + t.dir }

func (t *spoolTarget) WriteAt(p []byte, off int64) (int, error) {
	t.mu.Lock()
	for i := off / spoolPart; i <= (off+int64(len(p))-1)/spoolPart; i++ {
		for int64(len(t.parts)) <= i/64 {
			t.parts = append(t.parts, 0)
		}
		t.parts[i/64] |= 1 << (i % 64)
	}
	t.mu.Unlock()
	return t.spoolSink.WriteAt(p, off)
}

func (t *spoolTarget) Commit(_ context.Context, size int64) error {
	t.size = size
	return t.explain(t.f.Truncate(size))
}

// NextExtent tells what was written, after Commit.
func (t *spoolTarget) NextExtent(off, limit int64) (image.Extent, error) {
	if off < 0 || off >= t.size || limit <= 0 {
		return image.Extent{}, fmt.Errorf("query [%d,+%d) in %d bytes: %w", off, limit, t.size, errdef.ErrUsage)
	}
	limit = min(limit, t.size-off)
	x := image.Extent{Start: off, Kind: t.kind(off / spoolPart)}
	for x.Length < limit && t.kind(x.End()/spoolPart) == x.Kind {
		x.Length = min((x.End()/spoolPart+1)*spoolPart-off, limit)
	}
	return x, nil
}

func (t *spoolTarget) kind(i int64) image.Kind {
	if i/64 < int64(len(t.parts)) && t.parts[i/64]>>(i%64)&1 != 0 {
		return image.Data
	}
	return image.Hole
}
