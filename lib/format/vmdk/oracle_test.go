package vmdk

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
)

const mib = 1 << 20

// A made is a disk that qemu-img and qemu-io make.
type made struct {
	name    string
	size    int64
	options string
	blank   bool
	io      []string // qemu-io commands afterwards
	flat    bool     // qemu-img map tells a flat file's holes as data
	many    bool     // it lies in several files
	learn   bool     // it can be learnt
}

var life = []string{
	"write -P 0x11 100000 70000", "write -P 0x22 1M 300k", "write -z 2M 200k", "write -z -u 2500k 129k", "write -P 0x33 3100k 1000",
	"write -P 0x44 7777777 512", "write -z 4096000 10240", "write -P 0x55 5M 1", "write -z 6M 1M",
}

func mades() []made {
	const size = 9*mib + 512*7
	return []made{
		{name: "sparse", size: size, options: "subformat=monolithicSparse", learn: true},
		{name: "sparse-life", size: size, options: "subformat=monolithicSparse", io: life, learn: true},
		{name: "sparse-blank", size: size, options: "subformat=monolithicSparse", blank: true, learn: true},
		{name: "sparse-blank-life", size: 70 * mib, options: "subformat=monolithicSparse", blank: true, io: append(life, "write -P 9 69M 64k"), learn: true},
		{name: "zeroed", size: size, options: "subformat=monolithicSparse,zeroed_grain=on", io: life, learn: true},
		{name: "compat6", size: size, options: "subformat=monolithicSparse,compat6=on", learn: true},
		{name: "lsilogic", size: size, options: "subformat=monolithicSparse,adapter_type=lsilogic", learn: true},
		{name: "one-sector", size: 512, options: "subformat=monolithicSparse", learn: true},
		{name: "stream", size: size, options: "subformat=streamOptimized", learn: true},
		{name: "stream-aligned", size: 8 * mib, options: "subformat=streamOptimized,adapter_type=buslogic", learn: true},
		{name: "stream-blank", size: size, options: "subformat=streamOptimized", blank: true, learn: true},
		{name: "stream-one-sector", size: 512, options: "subformat=streamOptimized", learn: true},
		{name: "flat", size: size, options: "subformat=monolithicFlat", flat: true, many: true},
		{name: "flat-life", size: size, options: "subformat=monolithicFlat", blank: true, io: life, flat: true, many: true},
		{name: "split-sparse", size: size, options: "subformat=twoGbMaxExtentSparse", io: life, many: true},
		{name: "split-flat", size: size, options: "subformat=twoGbMaxExtentFlat", flat: true, many: true},
	}
}

// make makes the disk in dir and returns its path.
func (m made) make(t testing.TB, dir string) string {
	t.Helper()
	testimage.Require(t, "qemu-img", "qemu-io")
	path := filepath.Join(dir, m.name+".vmdk")
	if m.blank {
		run(t, "qemu-img", "create", "-q", "-f", "vmdk", "-o", m.options, path, fmt.Sprint(m.size))
	} else {
		raw := filepath.Join(t.TempDir(), "raw")
		if err := testimage.WriteRaw(raw, m.size, 1); err != nil {
			t.Fatal(err)
		}
		run(t, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", m.options, raw, path)
	}
	if len(m.io) > 0 {
		args := []string{"-t", "unsafe", "-f", "vmdk"}
		for _, c := range m.io {
			args = append(args, "-c", c)
		}
		run(t, "qemu-io", append(args, path)...)
	}
	return path
}

func run(t testing.TB, tool string, args ...string) {
	t.Helper()
	if _, err := testimage.Run(t.Context(), tool, args...); err != nil {
		t.Fatal(err)
	}
}

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

// sized is an open file as a File.
type sized struct {
	*os.File
	size int64
}

func (s sized) Size() int64 { return s.size }

// siblings opens the files in dir.
func siblings(dir string) func(string) (File, error) {
	return func(name string) (File, error) {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		fi, err := f.Stat()
		if err != nil {
			return nil, err
		}
		return sized{f, fi.Size()}, nil
	}
}

// oracle is the disk as qemu-img reads it.
func oracle(t testing.TB, path string) (*os.File, int64) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "oracle")
	if err := testimage.Raw(t.Context(), path, raw, "-f", "vmdk"); err != nil {
		t.Fatal(err)
	}
	return openFile(t, raw)
}

// sameAsQemu runs the conformance suites on a disk.
func sameAsQemu(t *testing.T, path string, m made) {
	t.Helper()
	want, size := oracle(t, path)
	blob, stored := openFile(t, path)
	gaps := []int64{0}
	if slices.Contains([]string{"sparse-life", "stream", "split-sparse"}, m.name) {
		gaps = append(gaps, 256<<10) // as over a network
	}
	for _, gap := range gaps {
		s := formattest.Suite{
			Open: func() (image.Image, error) {
				return Open(t.Context(), blob, stored, Options{Sibling: siblings(filepath.Dir(path)), Gap: gap})
			},
			Want: want, Size: size,
		}
		if !m.many {
			s.Blob, s.BlobSize = blob, stored
		}
		if !m.flat {
			s.QemuMap = path
		}
		t.Run(fmt.Sprintf("gap %d", gap), func(t *testing.T) { formattest.Run(t, s) })
	}
	if m.learn {
		t.Run("learner", func(t *testing.T) {
			formattest.RunLearner(t, formattest.LearnerSuite{
				New: func() image.Learner { return NewLearner(Options{}) }, Blob: blob, BlobSize: stored, Want: want, Size: size,
			})
		})
	}
}

// TestOracle compares every kind that qemu-img writes with what it reads of it.
func TestOracle(t *testing.T) {
	for i, m := range mades() {
		if testing.Short() && i%3 != 0 {
			continue // the same code on other tables
		}
		t.Run(m.name, func(t *testing.T) {
			sameAsQemu(t, m.make(t, t.TempDir()), m)
		})
	}
}

var _ io.ReaderAt = sized{}
