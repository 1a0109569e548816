package vdi

import (
	"io"
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
	for i, c := range testimage.VDICases() {
		if testing.Short() && i%3 != 0 {
			continue // the same code on other tables
		}
		t.Run(c.Name, func(t *testing.T) { formattest.Oracle(t, c, reader(t)) })
	}
}
