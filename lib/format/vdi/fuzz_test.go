package vdi

import (
	"bytes"
	"io"
	"testing"

	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

// FuzzOpen opens anything, reads all of it in every way, and compares the ways.
func FuzzOpen(f *testing.F) {
	v := testimage.CraftVDI(block)
	f.Add(v.B)
	f.Add(v.B[:len(v.B)-700])
	f.Add(v.U32(0x4c, 2).U32(0x180, 1<<20).B)
	f.Add(v.U32(0x1b8, 1).B)
	lim := limits.Limits{VirtualSize: 16 << 20, Metadata: 1 << 20}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := formattest.Agree(t, b, formattest.Reader{
			Open: func(blob io.ReaderAt, size int64) (image.Image, error) {
				img, err := Open(t.Context(), blob, size, lim)
				if err != nil {
					return nil, err
				}
				return img, nil
			},
			Learner: func() image.Learner { return NewLearner(lim) },
		})
		_, descErr := Describe(t.Context(), bytes.NewReader(b), int64(len(b)), lim)
		if err == nil && descErr != nil {
			t.Fatalf("opens, but is not described: %v", descErr)
		}
		_, _ = Describe(t.Context(), bytes.NewReader(b), -1, lim)
	})
}
