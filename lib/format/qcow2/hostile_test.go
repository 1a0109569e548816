package qcow2

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

func TestCrafted(t *testing.T) {
	zlib, zlibDisk := craft(compressZlib)
	zstd, zstdDisk := craft(compressZstd)
	ext, extDisk := craftExtended()
	for _, c := range []struct {
		name     string
		img      crafted
		disk     []byte
		snapshot string
	}{
		{"zlib", zlib, zlibDisk, ""},
		{"zlib snapshot by name", zlib, zlibDisk, "one"},
		{"zlib snapshot by ID", zlib, zlibDisk, "1"},
		{"zstd", zstd, zstdDisk, ""},
		{"extended", ext, extDisk, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			blob := bytes.NewReader(c.img)
			formattest.Run(t, formattest.Suite{
				Open: func() (image.Image, error) {
					return Open(t.Context(), blob, blob.Size(), Options{Snapshot: c.snapshot})
				},
				Want: bytes.NewReader(c.disk), Size: int64(len(c.disk)), Blob: blob, BlobSize: blob.Size(),
			})
			formattest.RunLearner(t, formattest.LearnerSuite{
				New:  func() image.Learner { return NewLearner(Options{Snapshot: c.snapshot}) },
				Want: bytes.NewReader(c.disk), Size: int64(len(c.disk)), Blob: blob, BlobSize: blob.Size(),
			})
		})
	}
}

// readAll opens an image and reads all of it in every way, also as a stream.
func readAll(t testing.TB, c []byte, o Options) ([]byte, error) {
	disk, err := readOpened(t, c, o)
	learnt, lerr := learnAll(t, c, o)
	if (lerr == nil) != (err == nil) && !errors.Is(lerr, errdef.ErrLimit) {
		t.Fatalf("learner: %v; but opened: %v", lerr, err)
	}
	if lerr == nil && !bytes.Equal(learnt, disk) {
		t.Fatal("what was learnt and ReadAt differ")
	}
	return disk, err
}

// learnAll puts the disk together from the runs of a Learner.
func learnAll(t testing.TB, c []byte, o Options) ([]byte, error) {
	l, blob := NewLearner(o), bytes.NewReader(c)
	runs, err := formattest.Learn(l, blob, blob.Size())
	if err == nil {
		err = l.Finish(blob.Size())
	}
	if err != nil {
		return nil, err
	}
	disk := make([]byte, l.Size())
	for _, r := range runs {
		if r.Guest < 0 || r.Length <= 0 || r.Guest+r.Length > l.Size() || r.Stored < 0 || !r.Packed && r.StoredEnd() > blob.Size() {
			t.Fatalf("bad run %+v", r)
		}
		stored := make([]byte, min(r.StoredLength, blob.Size()-r.Stored))
		if n, err := blob.ReadAt(stored, r.Stored); n < len(stored) {
			t.Fatalf("run %+v: %v", r, err)
		}
		if !r.Packed {
			copy(disk[r.Guest:], stored)
		} else if err := l.Unpack(disk[r.Guest:][:r.Length], stored); err != nil {
			return nil, err
		}
	}
	return disk, nil
}

func readOpened(t testing.TB, c []byte, o Options) ([]byte, error) {
	blob := bytes.NewReader(c)
	img, err := Open(t.Context(), blob, blob.Size(), o)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	disk := make([]byte, img.Size())
	n, err := img.ReadAt(disk, 0)
	if err == io.EOF && n == len(disk) {
		err = nil
	}
	for off := int64(0); off < img.Size(); {
		x, xerr := image.Next(img, off, math.MaxInt64)
		if xerr != nil {
			if err == nil {
				t.Fatalf("extent at %d: %v; but reading works", off, xerr)
			}
			break
		}
		off = x.End()
	}
	got, runErr := assemble(t, img.(image.Mapper), blob)
	if (runErr == nil) != (err == nil) {
		t.Fatalf("runs: %v; but ReadAt: %v", runErr, err)
	}
	if err == nil && !bytes.Equal(got, disk) {
		t.Fatal("runs and ReadAt differ")
	}
	return disk, err
}

func assemble(t testing.TB, m image.Mapper, blob *bytes.Reader) ([]byte, error) {
	disk := make([]byte, m.Size())
	pos := int64(0)
	for r, err := range m.Runs(0, m.Size()) {
		if err != nil {
			return nil, err
		}
		if r.Guest < pos || r.Length <= 0 || r.Guest+r.Length > m.Size() || r.Stored < 0 || r.StoredEnd() > blob.Size() {
			t.Fatalf("bad run %+v", r)
		}
		pos = r.Guest + r.Length
		stored := make([]byte, r.StoredLength)
		if n, err := blob.ReadAt(stored, r.Stored); n < len(stored) {
			t.Fatalf("run %+v: %v", r, err)
		}
		if !r.Packed {
			copy(disk[r.Guest:pos], stored)
		} else if err := m.Unpack(disk[r.Guest:pos], stored); err != nil {
			return nil, err
		}
	}
	return disk, nil
}

func TestHostile(t *testing.T) {
	for _, h := range testimage.QCOW2Hostiles() {
		t.Run(h.String(), func(t *testing.T) {
			c, want := h.Make()
			defer formattest.Frugal(t)()
			before := formattest.Allocated()
			got, err := readAll(t, c, Options{Snapshot: h.Snapshot})
			if n := formattest.Allocated() - before; n > 32<<20 {
				t.Errorf("%d bytes were allocated", n)
			}
			if problem := h.Check(err); problem != nil {
				t.Fatal(problem)
			}
			if err == nil && !bytes.Equal(got[:min(len(got), 1024)], want[:min(len(got), 1024)]) {
				t.Error("the start of the disk is wrong")
			}
			// Whoever describes must not fall over either.
			_, _ = Describe(t.Context(), bytes.NewReader(c), int64(len(c)), Options{})
			_, _ = Describe(t.Context(), bytes.NewReader(c), -1, Options{})
		})
	}
}

// TestLimits shows that limits hold before anything is allocated.
func TestLimits(t *testing.T) {
	c, _ := craft(compressZlib)
	if _, err := readAll(t, c, Options{Limits: limits.Limits{VirtualSize: craftSize - 1}}); !errors.Is(err, errdef.ErrLimit) {
		t.Errorf("virtual size: %v", err)
	}
	if _, err := readAll(t, c, Options{Limits: limits.Limits{Metadata: 7}}); !errors.Is(err, errdef.ErrLimit) {
		t.Errorf("L1: %v", err)
	}
	if _, err := readAll(t, c, Options{Limits: limits.Limits{Metadata: 50}, Snapshot: "one"}); !errors.Is(err, errdef.ErrLimit) {
		t.Errorf("snapshot table: %v", err)
	}
	if hint := errdef.Hint(func() error { _, err := readAll(t, c, Options{Limits: limits.Limits{Metadata: 7}}); return err }()); hint == "" {
		t.Error("no hint")
	}
}
