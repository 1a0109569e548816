// Package sourcetest is the conformance suite of sources: every implementation passes Run.
package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/source"
)

// A Case is one kind of source.
type Case struct {
	// New makes a source of exactly this content. It is called anew for each check and frees what it made by t.Cleanup.
	New func(t *testing.T, content []byte) source.Source
	// Stalled, if not nil, makes a source that delivers some bytes and then nothing more, without an end.
	Stalled func(t *testing.T) source.Source
	// Broken, if not nil, makes a source whose Open or Read fails.
	Broken func(t *testing.T) source.Source

	// ReaderAt and Extents say that the blob must be one. A blob that is one is checked whatever they say.
	ReaderAt, Extents bool
	// UnknownSize says that Info.Size must be -1. Otherwise it must be right.
	UnknownSize bool
	// Secrets must not occur in a name, an Info or an error.
	Secrets []string
	// Sizes of the contents; nil means DefaultSizes.
	Sizes []int
}

// DefaultSizes has the sizes at which sources go wrong: nothing, less than a sector, around a page, a round decimal
// number, and several buffers with a ragged end.
var DefaultSizes = []int{0, 1, 511, 513, 4095, 4096, 1_000_000, 3<<20 + 7}

// soon is how long an operation may take to notice that its context has ended: for ever would be noticed, and no machine stands
// still for so long.
const soon = time.Minute

// Run checks every promise of source.Source and source.Blob that c makes.
func Run(t *testing.T, c Case) {
	sizes := c.Sizes
	if sizes == nil {
		sizes = DefaultSizes
	}
	for _, size := range sizes {
		t.Run(fmt.Sprintf("size=%d", size), func(t *testing.T) { c.runSize(t, Content(size)) })
	}
	t.Run("limited", c.limited)
	t.Run("cancel", c.cancel)
	t.Run("canceled before Open", c.canceledBefore)
	t.Run("cancel while limited", c.cancelLimited)
	if c.Stalled != nil {
		t.Run("cancel while stalled", c.cancelStalled)
	}
	if c.Broken != nil {
		t.Run("broken", c.broken)
	}
}

// Content returns size bytes that differ from place to place, the same ones each time, with runs of zeros of several
// lengths and alignments in them.
func Content(size int) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1, 2, 3})
	_, _ = r.Read(b)
	for _, hole := range [][2]int{{64 << 10, 256 << 10}, {700_001, 799_999}, {1 << 20, 2 << 20}, {size - 5000, size}} {
		if from, to := hole[0], min(hole[1], size); from > 0 && from < to && size > 16384 {
			clear(b[from:to])
		}
	}
	return b
}

func (c Case) runSize(t *testing.T, content []byte) {
	t.Run("Read", func(t *testing.T) { c.read(t, content) })
	t.Run("Info", func(t *testing.T) { c.info(t, content) })
	t.Run("Close", func(t *testing.T) { c.closing(t, content) })
	b := c.open(t, c.New(t, content), source.Env{})
	ra, isRA := b.(io.ReaderAt)
	x, isX := b.(image.Extenter)
	switch {
	case c.ReaderAt && !isRA:
		t.Errorf("%T is no io.ReaderAt", b)
	case c.Extents && !isX:
		t.Errorf("%T is no image.Extenter", b)
	}
	if isRA {
		t.Run("ReadAt", func(t *testing.T) { readAt(t, ra, content) })
		t.Run("ReadAt concurrently with Read", func(t *testing.T) { readAtConcurrently(t, b, ra, content) })
	}
	if isX {
		t.Run("extents", func(t *testing.T) { extents(t, x, content) })
	}
}

// open opens s for the length of the test.
func (c Case) open(t *testing.T, s source.Source, env source.Env) source.Blob {
	t.Helper()
	b, err := s.Open(t.Context(), env)
	if err != nil {
		t.Fatalf("Open %s: %v", s, err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close %s: %v", s, err)
		}
	})
	return b
}

func (c Case) read(t *testing.T, content []byte) {
	for _, buf := range []int{1 << 20, 4096, 1013} {
		tr := new(progress.Tracker)
		b := c.open(t, c.New(t, content), source.Env{Tracker: tr})
		if n, err := b.Read(nil); n != 0 || err != nil && err != io.EOF {
			t.Errorf("Read of nothing: %d, %v", n, err)
		}
		// One byte more than the content could hide: what follows the end must be the end, each time it is asked.
		got, err := io.ReadAll(sized{b, buf})
		if err != nil {
			t.Fatalf("Read in steps of %d: %v after %d of %d bytes", buf, err, len(got), len(content))
		}
		same(t, fmt.Sprintf("Read in steps of %d", buf), got, content, 0)
		for range 2 {
			if n, err := b.Read(make([]byte, 16)); n != 0 || err != io.EOF {
				t.Errorf("Read after the end: %d, %v, want 0, EOF", n, err)
			}
		}
		if n := tr.Snapshot().Stored; n < int64(len(content)) {
			t.Errorf("the tracker counted %d stored bytes, want at least %d", n, len(content))
		}
	}
}

// sized reads in steps of n bytes.
type sized struct {
	r io.Reader
	n int
}

func (s sized) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

func (c Case) info(t *testing.T, content []byte) {
	s := c.New(t, content)
	b := c.open(t, s, source.Env{})
	i := b.Info()
	switch {
	case c.UnknownSize && i.Size != -1:
		t.Errorf("Info.Size is %d, want -1", i.Size)
	case !c.UnknownSize && i.Size != int64(len(content)):
		t.Errorf("Info.Size is %d, want %d", i.Size, len(content))
	case i.Strong && i.Identity == "":
		t.Error("Info is strong without an identity")
	}
	c.noSecrets(t, "String", s.String())
	c.noSecrets(t, "%+v of the source", fmt.Sprintf("%v %+v", s, s))
	c.noSecrets(t, "Info", fmt.Sprintf("%+v", i))
	if i.Reopenable {
		again := c.open(t, s, source.Env{})
		sameInfo(t, "opened again", again.Info(), i)
		got, err := io.ReadAll(again)
		if err != nil {
			t.Fatalf("Read when opened again: %v", err)
		}
		same(t, "Read when opened again", got, content, 0)
	}
	if st, ok := s.(source.Statter); ok {
		si, err := st.Stat(t.Context(), source.Env{})
		if err != nil {
			t.Fatalf("Stat: %v", err)
		}
		sameInfo(t, "Stat", si, i)
	}
}

func sameInfo(t *testing.T, what string, got, want source.Info) {
	t.Helper()
	if got.Size != want.Size || got.Identity != want.Identity || got.Strong != want.Strong {
		t.Errorf("%s: Info %+v, want the size, identity and strength of %+v", what, got, want)
	}
}

func (c Case) closing(t *testing.T, content []byte) {
	b, err := c.New(t, content).Open(t.Context(), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = b.Read(make([]byte, 100))
	for _, n := range []string{"first", "second"} {
		if err := b.Close(); err != nil {
			t.Errorf("%s Close: %v", n, err)
		}
	}
	if n, err := b.Read(make([]byte, 100)); err == nil {
		t.Errorf("Read after Close gives %d bytes and no error", n)
	}
	if ra, ok := b.(io.ReaderAt); ok && len(content) > 0 {
		if n, err := ra.ReadAt(make([]byte, 1), 0); err == nil || err == io.EOF {
			t.Errorf("ReadAt after Close: %d, %v", n, err)
		}
	}
}

// broken checks that an error arrives and tells no secrets.
func (c Case) broken(t *testing.T) {
	s := c.Broken(t)
	b, err := s.Open(t.Context(), source.Env{})
	if err == nil {
		_, err = io.Copy(io.Discard, b)
		_ = b.Close()
	}
	if err == nil {
		t.Fatal("a broken source was read without an error")
	}
	c.noSecrets(t, "the error", fmt.Sprintf("%v %+v", err, err))
	c.noSecrets(t, "String", s.String())
}

func (c Case) noSecrets(t *testing.T, what, s string) {
	t.Helper()
	for _, secret := range c.Secrets {
		if strings.Contains(s, secret) {
			t.Errorf("%s shows a secret: %q", what, s)
		}
	}
}

// canceled reports an error unless err says that the context was canceled.
func canceled(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%s: %v, want context.Canceled", what, err)
	}
}
