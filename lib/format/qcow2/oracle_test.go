package qcow2

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
)

func openFile(t testing.TB, path string) (*os.File, int64) {
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

func openImage(t testing.TB, path string, o Options) image.Image {
	t.Helper()
	f, size := openFile(t, path)
	img, err := Open(t.Context(), f, size, o)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	return img
}

// TestOracle compares every feature with what qemu-img makes of it.
func TestOracle(t *testing.T) {
	few := []string{"v2-zlib", "zstd-4k", "extended-l2-zstd-life", "snapshot-zlib", "empty-0"}
	for _, c := range testimage.Qcow2Cases() {
		if testing.Short() && !slices.Contains(few, c.Name) {
			continue // the same code on other tables
		}
		t.Run(c.Name, func(t *testing.T) {
			dir := t.TempDir()
			path := testimage.Make(t, dir, c)
			raw := filepath.Join(dir, "raw")
			if err := testimage.Raw(t.Context(), path, raw, c.OracleArgs()...); err != nil {
				t.Fatal(err)
			}
			want, size := openFile(t, raw)
			blob, stored := openFile(t, path)
			s := formattest.Suite{
				Open: func() (image.Image, error) {
					return Open(t.Context(), blob, stored, Options{Snapshot: c.Snapshot})
				},
				Want: want, Size: size, Blob: blob, BlobSize: stored,
			}
			if c.Snapshot == "" {
				s.QemuMap = path
			}
			formattest.Run(t, s)
			t.Run("learner", func(t *testing.T) {
				formattest.RunLearner(t, formattest.LearnerSuite{
					New:  func() image.Learner { return NewLearner(Options{Snapshot: c.Snapshot}) },
					Want: want, Size: size, Blob: blob, BlobSize: stored,
				})
			})

			// Again, as over a network.
			img := openImage(t, path, Options{Snapshot: c.Snapshot, Gap: 256 << 10})
			got, err := testimage.Sum(io.NewSectionReader(img, 0, img.Size()))
			if err != nil {
				t.Fatal(err)
			}
			if want, err := testimage.Sum(want); err != nil || got != want {
				t.Errorf("digest is %s, qemu-img's %s, %v", got, want, err)
			}
		})
	}
}
