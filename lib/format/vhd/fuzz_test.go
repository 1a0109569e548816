package vhd

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

// FuzzOpen opens anything, reads all of it in every way, and compares the ways. Checksums are set again where the
// input says so, or the fuzzer would spend its time on them.
func FuzzOpen(f *testing.F) {
	v := testimage.CraftVHD("win ", "")
	f.Add(v.B, true)
	f.Add(v.B, false)
	f.Add(v.B[:len(v.B)-1], false)
	f.Add(testimage.CraftVHD("qemu", "").B, true)
	f.Add(testimage.CraftVHD("win ", "p").B, true)
	lim := limits.Limits{VirtualSize: 16 << 20, Metadata: 1 << 20}
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal && len(b) >= testimage.VHDHeader+1024 {
			b = (&testimage.VHD{B: bytes.Clone(b)}).Seal().B
		}
		_, err := formattest.Agree(t, b, limited(t, lim))
		_, descErr := Describe(t.Context(), bytes.NewReader(b), int64(len(b)), lim)
		if err == nil && descErr != nil {
			t.Fatalf("opens, but is not described: %v", descErr)
		}
		_, _ = Describe(t.Context(), bytes.NewReader(b), -1, lim)
	})
}

// FuzzConvert lets anything pass as a stream. Checksums are set again where the input says so.
func FuzzConvert(f *testing.F) {
	v := testimage.CraftVHD("win ", "")
	f.Add(v.B, true, []byte{0})
	f.Add(v.B, false, []byte{128, 3, 200})
	f.Add(v.B[:len(v.B)-1], false, []byte{2, 129})
	lim := limits.Limits{VirtualSize: 4 << 20, Metadata: 1 << 20}
	f.Fuzz(func(t *testing.T, b []byte, seal bool, script []byte) {
		if seal && len(b) >= testimage.VHDHeader+1024 {
			b = (&testimage.VHD{B: bytes.Clone(b)}).Seal().B
		}
		transfertest.Convert(t, b, limited(t, lim), script)
	})
}

// FuzzDifferential changes a good file and compares with qemu-img. A change is 6 bytes: a place, an offset there, and
// what is written. The creator is left alone: whose disks have their size in CHS is no longer what older versions of
// qemu think.
func FuzzDifferential(f *testing.F) {
	testimage.Require(f, "qemu-img")
	f.Add([]byte{})
	f.Add([]byte{1, 4, 0, 0, 0, 22})
	f.Add([]byte{3, 0, 1, 0, 0, 40})
	places := []int{8, testimage.VHDBAT, testimage.VHDHeader, 48, testimage.VHDData}
	lim := limits.Limits{VirtualSize: 16 << 20, Metadata: 1 << 20}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, changes []byte) {
		v := testimage.CraftVHD("win ", "")
		for ; len(changes) >= 6; changes = changes[6:] {
			at := places[int(changes[0])%len(places)] + int(changes[1])
			copy(v.B[at:], changes[2:6])
		}
		copy(v.B[28:], "win ")
		formattest.AgreeWithQemu(t, v.Seal().B, limited(t, lim), dir, "vpc")
	})
}
