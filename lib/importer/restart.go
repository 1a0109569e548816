package importer

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/cdictl/cdictl/lib/compress"
	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/verify"
)

// points are the places of a compressed stream where decoding could go on, those not yet known to be durable. Safe for
// concurrent use.
type points struct {
	mu   sync.Mutex
	list []journal.Point
}

const (
	// pointStep is how far points lie apart at least, in stored bytes: what lies between is fetched again.
	pointStep = 1 << 20
	// maxPoints wait for what they are points of to be written: that is less than what is decoded ahead.
	maxPoints = 256
)

// add takes a point, with the state of the hash there or a little before.
func (x *points) add(p compress.Point, v *verify.Reader) {
	hashed, state, ok := v.Mark(p.Stored)
	if !ok {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := len(x.list); n == maxPoints || n > 0 && p.Stored-x.list[n-1].Stored < pointStep {
		return
	}
	x.list = append(x.list, journal.Point{Stored: p.Stored, Out: p.Out, Pos: p.Out, Codec: p.State, Hashed: hashed, Hash: state})
}

// any reports whether there is one.
func (x *points) any() bool {
	if x == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.list) > 0
}

// before returns the last point with less than out bytes of content before it, nil if there is none, and forgets those
// before that.
func (x *points) before(out int64) *journal.Point {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	n := 0
	for n < len(x.list) && x.list[n].Out < out {
		n++
	}
	if n == 0 {
		return nil
	}
	x.list = x.list[n-1:]
	p := x.list[0]
	return &p
}

// restart makes c.content begin at p: behind p.Pos bytes of it.
func (c *opened) restart(ctx context.Context, p *journal.Point, want verify.Digest) error {
	if c.codec != "" {
		// The stream has begun, for the head.
		if err := c.reopen(ctx); err != nil {
			return err
		}
	}
	if err := startAt(c.blob, p); err != nil {
		return err
	}
	c.verifier = verify.NewReader(c.blob, want)
	if p.Hashed > 0 {
		if err := c.verifier.Resume(p.Hashed, p.Hash); err != nil {
			return err
		}
	}
	c.content = c.verifier
	if c.codec == "" {
		c.content = behind(c.verifier, p.Pos-p.Hashed)
		return nil
	}
	codec, _ := compress.ByName(c.codec)
	l := c.opts.Limits
	c.points = &points{}
	first := compress.Point{Stored: p.Stored, Out: p.Out, State: p.Codec}
	// What is flushed before the next one is met counts too.
	c.points.list = append(c.points.list, journal.Point{Stored: p.Stored, Out: p.Out, Pos: p.Out, Codec: p.Codec, Hashed: p.Hashed, Hash: p.Hash})
	v, known := c.verifier, c.points
	r, err := codec.Resume(behind(v, p.Stored-p.Hashed), first, compress.Options{Window: l.Window, Expansion: l.Expansion, Workers: l.Workers,
		OnPoint: func(p compress.Point) { known.add(p, v) }})
	if err != nil {
		return err
	}
	c.decoder, c.content = r, behind(r, p.Pos-p.Out)
	return nil
}

// startAt makes b begin where the hash of p was.
func startAt(b source.Blob, p *journal.Point) error {
	switch b := b.(type) {
	case source.Marker:
		return b.StartWith(p.Source, p.Hashed)
	case source.Starter:
		return b.StartAt(p.Hashed)
	}
	return fmt.Errorf("the source gives no ranges any more: %w", errdef.ErrChanged)
}

// reopen opens the source once more, as it was.
func (c *opened) reopen(ctx context.Context) error {
	blob, err := c.source.Open(ctx, source.Env{Limiter: c.opts.Limiter, Tracker: c.opts.Tracker, OnRetry: c.opts.OnRetry, Trace: c.opts.Trace})
	if err != nil {
		return err
	}
	if is := blob.Info(); is.Identity != c.info.Identity || is.Size != c.info.Size {
		_ = blob.Close()
		return fmt.Errorf("was %s, is %s: %w", c.info.Identity, is.Identity, errdef.ErrChanged)
	}
	_ = c.blob.Close() // first, so that the decoder does not wait for it
	_ = c.decoder.Close()
	c.blob, c.decoder = blob, nil
	return nil
}

// behind is r without its first n bytes. They are read when the first of the others is.
func behind(r io.Reader, n int64) io.Reader { return &skipper{r, n} }

type skipper struct {
	io.Reader
	n int64
}

func (s *skipper) Read(p []byte) (int, error) {
	for s.n > 0 && len(p) > 0 {
		k, err := s.Reader.Read(p[:min(int64(len(p)), s.n)])
		s.n -= int64(k)
		if err != nil {
			return 0, err
		}
	}
	return s.Reader.Read(p)
}
