package formattest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
)

// Agree reads the disk of a small file that may be hostile in every way: by ReadAt, from the runs of a Mapper, and
// from those of a Learner. What can be read must be one disk, and an error one that has an exit code of its own. It
// returns the disk. The Learner sees no end of the file before it has placed the data, so it may read what Open
// refuses.
func Agree(t testing.TB, blob []byte, r Reader) ([]byte, error) {
	t.Helper()
	ra, size := bytes.NewReader(blob), int64(len(blob))
	l := r.Learner()
	learnt, learnErr := learn(l, ra, size)
	img, err := r.Open(ra, size)
	for _, err := range []error{err, learnErr} {
		if err != nil && errdef.ExitCode(err) == 1 {
			t.Fatalf("error of no class: %v", err)
		}
	}
	if err != nil {
		return nil, err
	}
	defer img.Close()
	if learnErr != nil {
		t.Fatalf("the image opens, but its Learner says: %v", learnErr)
	}
	disk := make([]byte, img.Size())
	if _, err := img.ReadAt(disk, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if l.Size() != img.Size() {
		t.Fatalf("size %d, by the Learner %d", img.Size(), l.Size())
	}
	if got := place(t, ra, img.Size(), learnt, l.Unpack); !bytes.Equal(got, disk) {
		t.Fatal("the Learner's runs are another disk")
	}
	extents(t, img, disk)
	m, ok := img.(image.Mapper)
	if !ok {
		return disk, nil
	}
	var runs []image.Run
	for run, err := range m.Runs(0, img.Size()) {
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	if got := place(t, ra, img.Size(), runs, m.Unpack); !bytes.Equal(got, disk) {
		t.Fatal("the runs are another disk")
	}
	return disk, nil
}

// LearnDisk is the disk that l finds in blob, put together from its runs. It suits hostile files, as [Learn] does.
func LearnDisk(l image.Learner, blob []byte) ([]byte, error) {
	ra := bytes.NewReader(blob)
	runs, err := learn(l, ra, ra.Size())
	if err != nil {
		return nil, err
	}
	return fromRuns(ra, l.Size(), runs, l.Unpack)
}

// learn is Learn and Finish.
func learn(l image.Learner, blob io.ReaderAt, size int64) ([]image.Run, error) {
	runs, err := Learn(l, blob, size)
	if err == nil {
		err = l.Finish(size)
	}
	return runs, err
}

// place puts a disk together from runs that must be right.
func place(t testing.TB, ra io.ReaderAt, size int64, runs []image.Run, unpack func(dst, stored []byte) error) []byte {
	t.Helper()
	disk, err := fromRuns(ra, size, runs, unpack)
	if err != nil {
		t.Fatalf("ReadAt reads it, but %v", err)
	}
	return disk
}

func fromRuns(ra io.ReaderAt, size int64, runs []image.Run, unpack func(dst, stored []byte) error) ([]byte, error) {
	disk := make([]byte, size)
	for _, r := range runs {
		if r.Guest < 0 || r.Length <= 0 || r.Length > size-r.Guest {
			panic(misuse("run %+v does not fit a disk of %d bytes", r, size))
		}
		dst := disk[r.Guest:][:r.Length]
		if !r.Packed {
			if n, err := ra.ReadAt(dst, r.Stored); n < len(dst) {
				return nil, fmt.Errorf("run %+v: %w: %w", r, err, errdef.ErrCorrupt)
			}
			continue
		}
		stored := make([]byte, r.StoredLength)
		n, err := ra.ReadAt(stored, r.Stored)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("run %+v: %w", r, err)
		}
		if err := unpack(dst, stored[:n]); err != nil {
			return nil, fmt.Errorf("run %+v: %w", r, err)
		}
	}
	return disk, nil
}

// extents checks that what is said to be zeros is.
func extents(t testing.TB, img image.Image, disk []byte) {
	t.Helper()
	for off := int64(0); off < img.Size(); {
		x, err := image.Next(img, off, img.Size()-off)
		if err != nil {
			t.Fatal(err)
		}
		if x.Kind.IsZero() && len(bytes.TrimLeft(disk[off:x.End()], "\x00")) > 0 {
			t.Fatalf("extent %+v has data", x)
		}
		off = x.End()
	}
}

// AgreeWithQemu is [Agree] for a file that may be hostile, and compares with qemu-img: what we read without an error
// must be what it reads. Where it refuses a file that we read, or reads one that we refuse, nothing is wrong. dir is
// for files.
func AgreeWithQemu(t testing.TB, blob []byte, r Reader, dir, format string) {
	t.Helper()
	got, err := Agree(t, blob, r)
	if err != nil {
		return
	}
	path := filepath.Join(dir, "x."+format)
	if err := os.WriteFile(path, blob, 0o600); err != nil {
		t.Fatal(err)
	}
	// It reads a table for a fuzzer's disk of 2 TiB before it refuses it.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := testimage.Raw(ctx, path, path+".raw", "-f", format); err != nil {
		t.Skip(err)
	}
	want, err := os.ReadFile(path + ".raw")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		keep := filepath.Join(os.TempDir(), "differs."+format)
		_ = os.WriteFile(keep, blob, 0o600)
		t.Fatalf("qemu-img reads other bytes (%d, ours %d); the image is in %s", len(want), len(got), keep)
	}
}
