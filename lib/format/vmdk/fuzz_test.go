package vmdk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
	"github.com/cdictl/cdictl/lib/transfer/transfertest"
)

var (
	fuzzLimits    = limits.Limits{VirtualSize: 16 << 20, Metadata: 4 << 20}
	convertLimits = limits.Limits{VirtualSize: 4 << 20, Metadata: 4 << 20} // three disks are made of each input
)

// fuzzSeeds are disks of one file.
func fuzzSeeds() [][]byte {
	sparse, _ := craftSparse()
	seeds := [][]byte{sparse}
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		c, _ := craftStream(streams[name])
		seeds = append(seeds, c)
	}
	return seeds
}

// FuzzOpen opens anything, reads all of it in every way, and compares the ways, of which a Learner is one.
func FuzzOpen(f *testing.F) {
	for _, b := range fuzzSeeds() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o := Options{Limits: fuzzLimits}
		_, _ = Describe(t.Context(), bytes.NewReader(b), int64(len(b)), o)
		_, _ = Describe(t.Context(), bytes.NewReader(b), -1, o)
		_, _ = compareWays(t, b, o)
	})
}

// compareWays reads a disk by its tables and by a Learner.
func compareWays(t *testing.T, b []byte, o Options) ([]byte, error) {
	t.Helper()
	opened, err := readAll(t, b, o)
	learnt, lerr := learnAll(b, o)
	if err == nil && lerr == nil && !bytes.Equal(opened, learnt) {
		t.Fatal("a Learner finds another disk")
	}
	// Where tables lie before the grains, a Learner sees all that Open sees.
	if (err == nil) != (lerr == nil) && len(b) > sector {
		if h, e := parseSparse(b[:sector]); e == nil && (!h.packed() || h.gd < h.overhead) {
			t.Fatalf("open: %v; learner: %v", err, lerr)
		}
	}
	return opened, err
}

// FuzzChanged changes bytes of good disks where it matters: what we read without an error must be what qemu-img reads. (Where
// it refuses a disk that we read, something that only a writer needs is broken.)
//
// A change is 7 bytes: where, counted from a place worth changing, and 4 bytes that are written, or-ed or added there.
func FuzzChanged(f *testing.F) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		testimage.Require(f, "qemu-img")
	}
	seeds := fuzzSeeds()
	for i := range seeds {
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte{0, 0, 20, 0, 0, 0, 8})
		f.Add(uint8(i), []byte{2, 0, 4, 2, 0, 0, 0})
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, which uint8, changes []byte) {
		b := bytes.Clone(seeds[int(which)%len(seeds)])
		places := []int{0, sector, atGD * sector, atGT0 * sector, 8 * sector, len(b) - 3*sector, len(b) - 8*sector}
		for ; len(changes) >= 7; changes = changes[7:] {
			at := (places[int(changes[0])%len(places)] + int(binary.BigEndian.Uint16(changes[1:]))%2048) % (len(b) - 4)
			v, old := binary.LittleEndian.Uint32(changes[3:]), binary.LittleEndian.Uint32(b[at:])
			switch changes[3] % 3 {
			case 1:
				v |= old
			case 2:
				v += old
			}
			binary.LittleEndian.PutUint32(b[at:], v)
		}
		got, err := compareWays(t, b, Options{Limits: fuzzLimits})
		if err != nil {
			return
		}
		path := filepath.Join(dir, "x.vmdk")
		raw := path + ".raw"
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := testimage.Raw(t.Context(), path, raw, "-f", "vmdk"); err != nil {
			t.Skip(err)
		}
		want, err := os.ReadFile(raw)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			keep := filepath.Join(os.TempDir(), "vmdk-differs.vmdk")
			_ = os.WriteFile(keep, b, 0o600)
			t.Fatalf("qemu-img reads other bytes (%d, ours %d); the disk is in %s", len(want), len(got), keep)
		}
	})
}

// FuzzDescriptor opens disks whose descriptor is hostile, over files that are good. No name that is not a plain file may
// be asked for.
func FuzzDescriptor(f *testing.F) {
	all := files{}
	for _, m := range multis() {
		f.Add(m.files["x.vmdk"])
		for name, b := range m.files {
			if name != "x.vmdk" {
				all[name] = b
			}
		}
	}
	f.Add([]byte(descriptorText("vmfs", `RW 1 VMFS "../../etc/passwd"`, `RW 1 FLAT "/etc/passwd" 0`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.HasPrefix(b, []byte(Magic)) {
			return // FuzzOpen has these
		}
		o := Options{Limits: fuzzLimits, Sibling: func(name string) (File, error) {
			if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\:\x00\r\n") {
				t.Fatalf("file %q is asked for", name)
			}
			return all.open(name)
		}}
		_, _ = Describe(t.Context(), bytes.NewReader(b), int64(len(b)), o)
		d, err := readAll(t, b, o)
		if errors.Is(err, errdef.ErrUsage) {
			t.Fatal(err)
		}
		_ = d
	})
}

// FuzzExtents opens hostile ESX extents.
func FuzzExtents(f *testing.F) {
	cowd, _ := craftCOWD()
	se, _ := craftSE()
	f.Add([]byte(cowd))
	f.Add([]byte(se))
	text := map[string][]byte{}
	for _, kind := range []string{"VMFSSPARSE", "SESPARSE"} {
		text[kind] = []byte(descriptorText("vmfsSparse", "RW 4119 "+kind+` "x"`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		kind := "VMFSSPARSE"
		if bytes.HasPrefix(b, []byte(MagicSE[:4])) {
			kind = "SESPARSE"
		}
		_, err := readAll(t, text[kind], Options{Limits: fuzzLimits, Sibling: files{"x": b}.open})
		if errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	})
}

// FuzzConvert lets anything pass as a stream.
func FuzzConvert(f *testing.F) {
	for i, b := range fuzzSeeds() {
		f.Add(b, []byte{byte(i), 200, 3, 129})
		f.Add(b, []byte{128 + byte(i), 255})
	}
	f.Fuzz(func(t *testing.T, b, script []byte) {
		transfertest.Convert(t, b, formattest.Reader{
			Open: func(blob io.ReaderAt, size int64) (image.Image, error) {
				return Open(t.Context(), blob, size, Options{Limits: convertLimits})
			},
			Learner: func() image.Learner { return NewLearner(Options{Limits: convertLimits}) },
		}, script)
	})
}
