package vmdk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
)

// memFile is content as a File.
type memFile struct{ *bytes.Reader }

func (memFile) Close() error { return nil }

// files are the files of a disk in memory.
type files map[string][]byte

func (f files) open(name string) (File, error) {
	b, ok := f[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return memFile{bytes.NewReader(b)}, nil
}

// streams are the shapes that are right.
var streams = map[string]testimage.VMDKStream{
	"footer":             {},
	"directory in head":  {InHeader: true},
	"redundant":          {Redundant: true},
	"out of order":       {Grains: []int{513, 3, 511, 1, 514, 7, 2}},
	"out of order, head": {Grains: []int{514, 513, 2, 1, 3, 7, 511}, InHeader: true},
}

func TestCrafted(t *testing.T) {
	sparse, disk := craftSparse()
	all := map[string]crafted{"sparse": sparse}
	for name, shape := range streams {
		all["stream "+name], _ = craftStream(shape)
	}
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			blob := bytes.NewReader(c)
			formattest.Run(t, formattest.Suite{
				Open: func() (image.Image, error) { return Open(t.Context(), blob, blob.Size(), Options{}) },
				Want: bytes.NewReader(disk), Size: int64(len(disk)), Blob: blob, BlobSize: blob.Size(),
			})
			formattest.RunLearner(t, formattest.LearnerSuite{
				New: func() image.Learner { return NewLearner(Options{}) }, Blob: blob, BlobSize: blob.Size(),
				Want: bytes.NewReader(disk), Size: int64(len(disk)),
			})
			matchesQemu(t, files{"x.vmdk": c}, disk)
		})
	}
}

// multis are disks of several files; each begins with x.vmdk.
func multis() map[string]struct {
	files files
	disk  []byte
} {
	sparse, disk := craftSparse()
	stream, _ := craftStream(testimage.VMDKStream{InHeader: true}) // QEMU looks for a footer in the wrong file
	cowd, _ := craftCOWD()
	se, _ := craftSE()
	const n = craftSize / sector
	rw := func(kind, name, more string) string { return fmt.Sprintf("RW %d %s \"%s\"%s", n, kind, name, more) }
	text := func(createType string, lines ...string) []byte { return []byte(descriptorText(createType, lines...)) }
	twice := append(bytes.Clone(disk), disk...)
	shifted := append(make([]byte, 3*sector), disk...)
	return map[string]struct {
		files files
		disk  []byte
	}{
		"vmfs":       {files{"x.vmdk": text("vmfs", rw("VMFS", "x-flat.vmdk", "")), "x-flat.vmdk": disk}, disk},
		"vmfs, long": {files{"x.vmdk": text("vmfs", rw("VMFS", "x-flat.vmdk", "")), "x-flat.vmdk": append(bytes.Clone(disk), 1, 2, 3)}, disk},
		"cowd":       {files{"x.vmdk": text("vmfsSparse", rw("VMFSSPARSE", "x-delta.vmdk", "")), "x-delta.vmdk": cowd}, disk},
		"sesparse":   {files{"x.vmdk": text("seSparse", rw("SESPARSE", "x-sesparse.vmdk", "")), "x-sesparse.vmdk": se}, disk},
		"two sparse": {files{"x.vmdk": text("twoGbMaxExtentSparse", rw("SPARSE", "a", ""), rw("SPARSE", "b", "")), "a": sparse, "b": sparse}, twice},
		"flat at an offset, twice": {files{
			"x.vmdk": text("monolithicFlat", rw("FLAT", "a", " 3"), fmt.Sprintf("RW %d FLAT \"a\" 0", n+3)), "a": shifted,
		}, append(bytes.Clone(disk), shifted...)},
		"everything": {files{
			"x.vmdk": bytes.ReplaceAll(text("twoGbMaxExtentFlat", rw("SPARSE", "stream", ""), rw("FLAT", "flat", "  0"), rw("VMFSSPARSE", "cowd", ""),
				rw("SESPARSE", "se", ""), rw("SPARSE", "sparse", "")), []byte("\n"), []byte("\r\n")),
			"stream": stream, "flat": disk, "cowd": cowd, "se": se, "sparse": sparse,
		}, bytes.Repeat(disk, 5)},
	}
}

func TestMulti(t *testing.T) {
	for name, m := range multis() {
		t.Run(name, func(t *testing.T) {
			blob := bytes.NewReader(m.files["x.vmdk"])
			formattest.Run(t, formattest.Suite{
				Open: func() (image.Image, error) {
					return Open(t.Context(), blob, blob.Size(), Options{Sibling: m.files.open})
				},
				Want: bytes.NewReader(m.disk), Size: int64(len(m.disk)),
			})
			matchesQemu(t, m.files, m.disk)
		})
	}
}

// matchesQemu checks that the generators are right: qemu-img reads the same.
func matchesQemu(t *testing.T, all files, disk []byte) {
	t.Helper()
	testimage.Require(t, "qemu-img")
	dir := t.TempDir()
	for name, b := range all {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, size := oracle(t, filepath.Join(dir, "x.vmdk"))
	got := make([]byte, size)
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, disk) {
		t.Errorf("qemu-img reads something else: %d bytes, want %d, %v", size, len(disk), err)
	}
}

// A disk of more files than may be open reads from all of them, and closes all of them.
func TestManyFiles(t *testing.T) {
	const n = 3 * maxOpen
	open := 0
	var lines []string
	all := files{}
	var disk []byte
	for i := range n {
		name := fmt.Sprintf("f%03d", i)
		all[name] = bytes.Repeat([]byte{byte(i + 1)}, sector)
		disk = append(disk, all[name]...)
		lines = append(lines, fmt.Sprintf("RW 1 FLAT %q 0", name))
	}
	text := []byte(descriptorText("twoGbMaxExtentFlat", lines...))
	most := 0
	img, err := Open(t.Context(), bytes.NewReader(text), int64(len(text)), Options{Sibling: func(name string) (File, error) {
		f, err := all.open(name)
		if err == nil {
			open++
			most = max(most, open)
		}
		return counted{f, &open}, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(disk))
	for range 2 {
		if _, err := img.ReadAt(got, 0); err != nil || !bytes.Equal(got, disk) {
			t.Fatalf("read: %v", err)
		}
	}
	if most > maxOpen+1 {
		t.Errorf("%d files were open at once", most)
	}
	if err := img.Close(); err != nil || open != 0 {
		t.Errorf("close: %v, %d files are open", err, open)
	}
	if _, err := img.ReadAt(got, 0); err == nil {
		t.Error("a closed disk reads")
	}
}

type counted struct {
	File
	n *int
}

func (c counted) Close() error {
	*c.n--
	return c.File.Close()
}

// A file that was closed and is another when it is opened again is an error.
func TestChangedFile(t *testing.T) {
	all := files{}
	var lines []string
	for i := range maxOpen + 1 {
		name := fmt.Sprint(i)
		all[name] = make([]byte, sector)
		lines = append(lines, fmt.Sprintf("RW 1 FLAT %q 0", name))
	}
	text := []byte(descriptorText("twoGbMaxExtentFlat", lines...))
	img, err := Open(t.Context(), bytes.NewReader(text), int64(len(text)), Options{Sibling: all.open})
	if err != nil {
		t.Fatal(err)
	}
	all["0"] = make([]byte, 2*sector)
	if _, err := img.ReadAt(make([]byte, sector), 0); !errors.Is(err, errdef.ErrChanged) {
		t.Errorf("read: %v", err)
	}
	if err := img.Close(); err != nil {
		t.Error(err)
	}
}
