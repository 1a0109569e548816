package formattest

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
)

// A Reader is what an implementation of a format has to read.
type Reader struct {
	Open    func(blob io.ReaderAt, size int64) (image.Image, error)
	Learner func() image.Learner
}

// Oracle makes the image of a case and runs both suites on it, against the disk that qemu-img reads.
func Oracle(t *testing.T, c Case, r Reader) {
	dir := t.TempDir()
	path := testimage.Make(t, dir, c)
	Compare(t, path, r, c.OracleArgs()...)
}

// Compare runs both suites on the image at path, against the disk that qemu-img reads. args are as for testimage.Raw.
func Compare(t *testing.T, path string, r Reader, args ...string) {
	raw := filepath.Join(t.TempDir(), "raw")
	if err := testimage.Raw(t.Context(), path, raw, args...); err != nil {
		t.Fatal(err)
	}
	want, size := openFile(t, raw)
	blob, stored := openFile(t, path)
	Both(t, blob, stored, want, size, r)
}

// Both runs both suites on an image whose disk is known.
func Both(t *testing.T, blob io.ReaderAt, stored int64, want io.ReaderAt, size int64, r Reader) {
	Run(t, Suite{
		Open: func() (image.Image, error) { return r.Open(blob, stored) },
		Want: want, Size: size, Blob: blob, BlobSize: stored,
	})
	t.Run("learner", func(t *testing.T) {
		RunLearner(t, LearnerSuite{New: r.Learner, Blob: blob, BlobSize: stored, Want: want, Size: size})
	})
}

func openFile(t *testing.T, path string) (*os.File, int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return f, fi.Size()
}
