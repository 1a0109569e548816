// Package sinktest is the conformance suite of sinks: every implementation passes Run.
package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
)

// A Factory makes places for disks of one kind.
type Factory struct {
	// New makes an empty place, which goes away by t.Cleanup.
	New func(t *testing.T) Place
	// Sparse says that zeros and what was never written take no space; Place.Allocated must be set.
	Sparse bool
	// Preallocate says that Options.Preallocate really allocates; Place.Allocated must be set.
	Preallocate bool
}

// A Place is one target and what there is to see of it from outside.
type Place struct {
	Target sink.Target
	// Read returns what is visible under the target's name; an error that is fs.ErrNotExist where nothing is.
	Read func() ([]byte, error)
	// Leftovers names what is in the target's surroundings beside the target itself. Nil: nothing to look at.
	Leftovers func() ([]string, error)
	// Allocated tells the bytes that the visible disk takes in storage. Nil: unknown.
	Allocated func() (int64, error)
	// Occupy puts a foreign disk with this content under the target's name. Nil: the kind of place has no names.
	Occupy func(content []byte) error
	// Forced is the same target with leave to replace what is there. Nil: there is no such thing.
	Forced sink.Target
	// Fixed says that the place has a size of its own (a device): Read returns all of it, and what is behind the disk
	// must be zeros. One writer at a time has it.
	Fixed bool
	// Hidden returns an error if anything of a disk can be recognised. Nil: Read says fs.ErrNotExist where nothing is.
	Hidden func() error
}

// Sizes at which sinks go wrong: nothing, less than a sector, around a page, a round decimal number, and several chunks
// with a ragged end.
var Sizes = []int{0, 1, 511, 513, 4095, 4096, 1_000_000, 3<<20 + 7}

// Run checks every promise of sink.Target and sink.Sink. A sink whose Caps say Ordered is written in order, and is not
// asked to take anything back.
func Run(t *testing.T, f Factory) {
	ordered := isOrdered(t, f)
	for _, size := range Sizes {
		t.Run(fmt.Sprintf("size=%d", size), func(t *testing.T) {
			t.Run("in order", func(t *testing.T) { f.inOrder(t, size, int64(size)) })
			t.Run("in order, size unknown", func(t *testing.T) { f.inOrder(t, size, -1) })
			t.Run("zeros only", func(t *testing.T) { f.zerosOnly(t, size) })
			if !ordered {
				t.Run("at random", func(t *testing.T) { f.atRandom(t, size, false) })
				t.Run("at random, preallocated", func(t *testing.T) { f.atRandom(t, size, true) })
			}
		})
	}
	t.Run("commit beyond what was written", f.commitLarger)
	t.Run("limits", f.limits)
	t.Run("cancel", func(t *testing.T) { f.cancel(t, ordered) })
	if ordered {
		t.Run("out of order", f.outOfOrder)
		return
	}
	t.Run("untouched", f.untouched)
	t.Run("zero over data", f.zeroOverData)
	t.Run("commit less", f.commitLess)
	t.Run("close drops", f.closeDrops)
	t.Run("existing", f.existing)
	t.Run("busy", f.busy)
	if f.Sparse {
		t.Run("sparse", f.sparse)
	}
	if f.Preallocate {
		t.Run("preallocate", f.preallocate)
	}
}

func isOrdered(t *testing.T, f Factory) bool {
	s := open(t, f.New(t), sink.Options{Size: 1})
	return s.Caps().Ordered
}

// open opens p's target and closes the sink at the end of the test.
func open(t *testing.T, p Place, o sink.Options) sink.Sink {
	t.Helper()
	s, err := p.Target.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("Open %s with %+v: %v", p.Target, o, err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := s.Close(); err != nil {
				t.Errorf("Close %s: %v", p.Target, err)
			}
		}
	})
	c := s.Caps()
	if c.Align < 0 || c.Align&(c.Align-1) != 0 || c.Chunk < 0 {
		t.Errorf("Caps %+v: Align is no power of two, or Chunk is negative", c)
	}
	return s
}

// content returns size bytes without a zero among them: what should be zero cannot be right by luck.
func content(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{9}).Read(b)
	for i := range b {
		b[i] |= 1
	}
	return b
}

func write(t *testing.T, s sink.Sink, p []byte, off int64) {
	t.Helper()
	if n, err := s.WriteAt(p, off); n != len(p) || err != nil {
		t.Errorf("WriteAt(%d bytes, %d): %d, %v", len(p), off, n, err)
	}
}

func zero(t *testing.T, s sink.Sink, off, n int64) {
	t.Helper()
	if err := s.Zero(off, n); err != nil {
		t.Errorf("Zero(%d, %d): %v", off, n, err)
	}
}

// commit commits and compares what is visible then with want.
func commit(t *testing.T, p Place, s sink.Sink, want []byte) {
	t.Helper()
	if err := s.Commit(t.Context(), int64(len(want))); err != nil {
		t.Fatalf("Commit(%d): %v", len(want), err)
	}
	expect(t, p, want)
	if err := s.Close(); err != nil {
		t.Errorf("Close after Commit: %v", err)
	}
	expect(t, p, want)
	leftovers(t, p)
}

func expect(t *testing.T, p Place, want []byte) {
	t.Helper()
	got, err := p.Read()
	if err != nil {
		t.Fatalf("read the committed disk: %v", err)
	}
	if p.Fixed && len(want) < len(got) {
		want = append(want[:len(want):len(want)], make([]byte, len(got)-len(want))...)
	}
	if bytes.Equal(got, want) {
		return
	}
	n := 0
	for n < min(len(got), len(want)) && got[n] == want[n] {
		n++
	}
	t.Errorf("the disk has %d bytes, want %d; the first difference is at %d", len(got), len(want), n)
}

func leftovers(t *testing.T, p Place) {
	t.Helper()
	if p.Leftovers == nil {
		return
	}
	names, err := p.Leftovers()
	if err != nil || len(names) > 0 {
		t.Errorf("left behind: %q, %v", names, err)
	}
}

// nothing checks that no disk is visible.
func nothing(t *testing.T, p Place) {
	t.Helper()
	if p.Hidden != nil {
		if err := p.Hidden(); err != nil {
			t.Error(err)
		}
		return
	}
	if b, err := p.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a disk of %d bytes is visible (%v)", len(b), err)
	}
}

func allocated(t *testing.T, p Place) int64 {
	t.Helper()
	n, err := p.Allocated()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// cancel checks that nothing becomes visible when the context ends before Commit or Open.
func (f Factory) cancel(t *testing.T, ordered bool) {
	p := f.New(t)
	s := open(t, p, sink.Options{Size: 100_000})
	write(t, s, content(100_000), 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Commit(ctx, 100_000); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit after cancel: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if !ordered {
		nothing(t, p)
	}
	leftovers(t, p)
	p = f.New(t)
	if s, err := p.Target.Open(ctx, sink.Options{Size: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open after cancel: %v", err)
		if err == nil {
			_ = s.Close()
		}
	}
	leftovers(t, p)
}

// limits checks what no sink may accept.
func (f Factory) limits(t *testing.T) {
	s := open(t, f.New(t), sink.Options{Size: 10_000})
	p := content(8192)
	for _, off := range []int64{-1, 10_000 - 8191, 10_000, 1 << 62} {
		if n, err := s.WriteAt(p, off); err == nil || n != 0 {
			t.Errorf("WriteAt(%d bytes, %d) of 10,000: %d, %v, want an error", len(p), off, n, err)
		}
	}
	for _, q := range [][2]int64{{-1, 5}, {0, -1}, {0, 10_001}, {10_000, 1}, {1 << 62, 1 << 62}} {
		if err := s.Zero(q[0], q[1]); err == nil {
			t.Errorf("Zero(%d, %d) of 10,000: no error", q[0], q[1])
		}
	}
	if n, err := s.WriteAt(nil, 0); n != 0 || err != nil {
		t.Errorf("WriteAt of nothing: %d, %v", n, err)
	}
	if err := s.Zero(0, 0); err != nil {
		t.Errorf("Zero of nothing: %v", err)
	}
	if err := s.Commit(t.Context(), -1); err == nil {
		t.Error("Commit(-1): no error")
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := s.WriteAt(p, 0); err == nil {
		t.Error("WriteAt after Close: no error")
	}
	if err := s.Zero(0, 10); err == nil {
		t.Error("Zero after Close: no error")
	}
	if err := s.Commit(t.Context(), 10); err == nil {
		t.Error("Commit after Close: no error")
	}
	for _, o := range []sink.Options{{Size: -2}, {Size: 1, Mode: 77}} {
		if s, err := f.New(t).Target.Open(t.Context(), o); !errors.Is(err, errdef.ErrUsage) && !errors.Is(err, errdef.ErrUnsupported) {
			t.Errorf("Open with %+v: %v, want ErrUsage or ErrUnsupported", o.Size, err)
			if err == nil {
				_ = s.Close()
			}
		}
	}
}
