package vhdx

import (
	"bytes"
	"encoding/binary"
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

// fuzzKinds are what FuzzChanges and FuzzConvert change.
func fuzzKinds() []*testimage.VHDX {
	return []*testimage.VHDX{
		testimage.CraftSmallVHDX(512, ""), testimage.CraftSmallVHDX(512, "").Dirty(),
		testimage.CraftSmallVHDX(4096, "p"), testimage.CraftSmallVHDX(4096, "").Dirty(),
	}
}

func addChanges(add func(kind byte, changes []byte)) {
	add(0, []byte{})
	add(1, []byte{})
	add(1, []byte{6, 0, 8, 0, 0, 1, 7, 0, 0, 255, 255, 255})
	add(2, []byte{5, 0, 0, 6, 0, 64})
	add(3, []byte{3, 0, 48, 0, 0, 1, 2, 0, 16, 1, 0, 0})
}

var changePlaces = []int{
	h1, h2, rt, testimage.VHDXRegions2, meta, testimage.VHDXBAT, testimage.VHDXLog, testimage.VHDXLog + 1<<20 - 3*4096, items,
}

// changed is a file of a kind with changes. A change is 6 bytes: a place, an offset there, and what is written. Checksums are
// set again, or the fuzzer would spend its time on them: those of the headers always, those of the log's entries where
// the kind says so.
func changed(kinds []*testimage.VHDX, kind byte, changes []byte) []byte {
	v := &testimage.VHDX{B: bytes.Clone(kinds[kind&3].B)}
	for ; len(changes) >= 6; changes = changes[6:] {
		at := changePlaces[int(changes[0])%len(changePlaces)] + int(binary.BigEndian.Uint16(changes[1:]))
		copy(v.B[at:], changes[3:6])
	}
	if kind&4 == 0 {
		for at := testimage.VHDXLog; at < testimage.VHDXLog+1<<20; at += 4096 {
			n := int(binary.LittleEndian.Uint32(v.B[at+8:]))
			if string(v.B[at:at+4]) == "loge" && n >= 64 && n <= testimage.VHDXLog+1<<20-at {
				testimage.SealLogEntry(v.B[at:][:n])
			}
		}
	}
	return v.Seal().B
}

// FuzzChanges changes crafted files, and reads what comes out in every way.
func FuzzChanges(f *testing.F) {
	addChanges(func(kind byte, changes []byte) { f.Add(kind, changes) })
	lim := limits.Limits{VirtualSize: 32 << 20, Metadata: 4 << 20}
	kinds := fuzzKinds()
	f.Fuzz(func(t *testing.T, kind byte, changes []byte) {
		b := changed(kinds, kind, changes)
		_, err := formattest.Agree(t, b, limited(t, lim))
		_, descErr := Describe(t.Context(), bytes.NewReader(b), int64(len(b)), lim)
		if err == nil && descErr != nil {
			t.Fatalf("opens, but is not described: %v", descErr)
		}
		_, _ = Describe(t.Context(), bytes.NewReader(b), -1, lim)
	})
}

// FuzzConvert lets changed files pass as a stream.
func FuzzConvert(f *testing.F) {
	addChanges(func(kind byte, changes []byte) { f.Add(kind, changes, []byte{kind | kind<<7, 203, 3, 129}) })
	lim := limits.Limits{VirtualSize: 4 << 20, Metadata: 4 << 20}
	kinds := fuzzKinds()
	f.Fuzz(func(t *testing.T, kind byte, changes, script []byte) {
		transfertest.Convert(t, changed(kinds, kind, changes), limited(t, lim), script)
	})
}

// FuzzDifferential changes a good file and compares with qemu-img. A change is 6 bytes: a place, an offset there, and
// what is written. Sectors of 4096 bytes are left out: qemu reads such a disk wrong.
func FuzzDifferential(f *testing.F) {
	testimage.Require(f, "qemu-img")
	f.Add([]byte{})
	f.Add([]byte{1, 0, 3, 0, 0, 0})
	f.Add([]byte{0, 0, 2, 0, 0, 0})
	places := []int{items, testimage.VHDXBAT, testimage.VHDXBAT + 32, meta, rt}
	lim := limits.Limits{VirtualSize: 16 << 20, Metadata: 1 << 20}
	v := testimage.CraftVHDX(512, "")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, changes []byte) {
		v := &testimage.VHDX{B: bytes.Clone(v.B)}
		for ; len(changes) >= 6; changes = changes[6:] {
			at := places[int(changes[0])%len(places)] + int(changes[1]&0x3f)
			copy(v.B[at:], changes[2:6])
		}
		if binary.LittleEndian.Uint32(v.B[items+32:]) == 4096 {
			return
		}
		formattest.AgreeWithQemu(t, v.Seal().B, limited(t, lim), dir, "vhdx")
	})
}
