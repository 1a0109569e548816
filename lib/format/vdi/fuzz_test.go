package vdi

import (
	"bytes"
	"io"
	"testing"

	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
	"github.com/cdictl/cdictl/lib/transfer/transfertest"
)

func limited(t *testing.T, lim limits.Limits) formattest.Reader {
	return formattest.Reader{
		Open: func(blob io.ReaderAt, size int64) (image.Image, error) {
			img, err := Open(t.Context(), blob, size, lim)
			if err != nil {
				return nil, err
			}
			return img, nil
		},
		Learner: func() image.Learner { return NewLearner(lim) },
	}
}

// FuzzOpen opens anything, reads all of it in every way, and compares the ways.
func FuzzOpen(f *testing.F) {
	v := testimage.CraftVDI(block)
	f.Add(v.B)
	f.Add(v.B[:len(v.B)-700])
	f.Add(v.U32(0x4c, 2).U32(0x180, 1<<20).B)
	f.Add(v.U32(0x1b8, 1).B)
	lim := limits.Limits{VirtualSize: 16 << 20, Metadata: 1 << 20}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := formattest.Agree(t, b, limited(t, lim))
		_, descErr := Describe(t.Context(), bytes.NewReader(b), int64(len(b)), lim)
		if err == nil && descErr != nil {
			t.Fatalf("opens, but is not described: %v", descErr)
		}
		_, _ = Describe(t.Context(), bytes.NewReader(b), -1, lim)
	})
}

// FuzzConvert lets anything pass as a stream.
func FuzzConvert(f *testing.F) {
	v := testimage.CraftVDI(block)
	f.Add(v.B, []byte{0})
	f.Add(v.B[:len(v.B)-700], []byte{128, 3, 200})
	f.Add(v.U32(0x4c, 2).B, []byte{2, 129})
	lim := limits.Limits{VirtualSize: 4 << 20, Metadata: 1 << 20}
	f.Fuzz(func(t *testing.T, b, script []byte) {
		transfertest.Convert(t, b, limited(t, lim), script)
	})
}

// FuzzDifferential changes a good file and compares with qemu-img. A change is 6 bytes: a place, an offset there, and
// what is written.
func FuzzDifferential(f *testing.F) {
	testimage.Require(f, "qemu-img")
	f.Add([]byte{})
	f.Add([]byte{1, 4, 254, 255, 255, 255})
	f.Add([]byte{0, 0, 2, 0, 0, 0})
	places := []int{0x4c, testimage.VDIMap, 0x154, 0x170}
	lim := limits.Limits{VirtualSize: 16 << 20, Metadata: 1 << 20}
	v := testimage.CraftVDI(1 << 20)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, changes []byte) {
		b := bytes.Clone(v.B)
		for ; len(changes) >= 6; changes = changes[6:] {
			at := places[int(changes[0])%len(places)] + int(changes[1]&0x3f)
			copy(b[at:], changes[2:6])
		}
		formattest.AgreeWithQemu(t, b, limited(t, lim), dir, "vdi")
	})
}
