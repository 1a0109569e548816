package vhd

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

func reader(t *testing.T) formattest.Reader {
	return formattest.Reader{
		Open: func(blob io.ReaderAt, size int64) (image.Image, error) {
			img, err := Open(t.Context(), blob, size, limits.Limits{})
			if err != nil {
				return nil, err
			}
			return img, nil
		},
		Learner: func() image.Learner { return NewLearner(limits.Limits{}) },
	}
}

// TestOracle compares with what qemu-img makes of what it wrote.
func TestOracle(t *testing.T) {
	for i, c := range testimage.VHDCases() {
		if testing.Short() && i%3 != 0 {
			continue // the same code on other tables
		}
		t.Run(c.Name, func(t *testing.T) { formattest.Oracle(t, c, reader(t)) })
	}
}

// sameAsQemu compares a disk with what qemu-img reads from file.
func sameAsQemu(t *testing.T, file, disk []byte) {
	t.Helper()
	testimage.Require(t, "qemu-img")
	path := filepath.Join(t.TempDir(), "disk.vhd")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := testimage.Raw(t.Context(), path, path+".raw", "-f", "vpc"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path + ".raw")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, disk) {
		t.Errorf("qemu-img reads another disk, of %d bytes", len(got))
	}
}
