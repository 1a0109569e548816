package format

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
)

// delta makes a delta over base, and writes into it.
func delta(t *testing.T, dir, name, base string, writes ...string) {
	t.Helper()
	run(t, dir, "qemu-img", "create", "-q", "-f", "vmdk", "-b", base, "-F", "vmdk", name)
	for _, w := range writes {
		run(t, dir, "qemu-io", "-f", "vmdk", "-c", w, name)
	}
}

func TestDeltaIsQemus(t *testing.T) {
	need(t, "qemu-img", "qemu-io")
	tests := []struct {
		name  string
		build func(t *testing.T, dir string) // leaves top.vmdk
	}{
		{"over sparse", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "base.raw", "base.vmdk")
			delta(t, dir, "top.vmdk", "base.vmdk", "write -P 7 100k 30k", "write -P 8 1M 1M")
		}},
		{"over several files", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=twoGbMaxExtentFlat", "base.raw", "base.vmdk")
			delta(t, dir, "top.vmdk", "base.vmdk", "write -P 7 100k 30k")
		}},
		{"over a stream", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", "base.raw", "base.vmdk")
			delta(t, dir, "top.vmdk", "base.vmdk", "write -P 7 1 512")
		}},
		{"three deep", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "base.raw", "base.vmdk")
			delta(t, dir, "a.vmdk", "base.vmdk", "write -P 7 100k 30k")
			delta(t, dir, "top.vmdk", "a.vmdk", "write -P 9 2M 100k")
		}},
		{"several files over sparse", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "base.raw", "base.vmdk")
			run(t, dir, "qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", "-b", "base.vmdk", "-F", "vmdk", "top.vmdk")
			run(t, dir, "qemu-io", "-f", "vmdk", "-c", "write -P 7 100k 30k", "top.vmdk")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := chainDir(t)
			tt.build(t, dir)
			path := filepath.Join(dir, "top.vmdk")
			if _, _, err := open(t, path, Options{}); !errors.Is(err, errdef.ErrUnsupported) || !strings.Contains(err.Error(), "delta of the parent") {
				t.Errorf("without leave: %v", err)
			}
			img, kind, err := open(t, path, Options{AllowBacking: dir})
			if err != nil {
				t.Fatal(err)
			}
			sameAsQemu(t, img, path, "-f", "vmdk")
			run(t, dir, "qemu-img", "convert", "-f", "vmdk", "-O", "raw", "top.vmdk", "want.raw")
			want, err := os.ReadFile(filepath.Join(dir, "want.raw"))
			if err != nil {
				t.Fatal(err)
			}
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			st, err := file.Stat()
			if err != nil {
				t.Fatal(err)
			}
			formattest.Run(t, formattest.Suite{
				Open: func() (image.Image, error) {
					return kind.Open(t.Context(), file, st.Size(), Options{AllowBacking: dir, Dir: dir, Sibling: siblings(dir)})
				},
				Want: bytes.NewReader(want), Size: int64(len(want)),
			})
		})
	}
}

func TestDeltaRefused(t *testing.T) {
	need(t, "qemu-img", "qemu-io")
	outside := t.TempDir()
	run(t, outside, "qemu-img", "create", "-q", "-f", "vmdk", "base.vmdk", "3M")
	for _, tt := range []struct {
		name  string
		build func(t *testing.T, dir string)
		want  error
	}{
		{"parent outside", func(t *testing.T, dir string) { delta(t, dir, "top.vmdk", filepath.Join(outside, "base.vmdk")) }, errdef.ErrRefused},
		{"parent was written to", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "create", "-q", "-f", "vmdk", "base.vmdk", "3M")
			delta(t, dir, "top.vmdk", "base.vmdk")
			run(t, dir, "qemu-io", "-f", "vmdk", "-c", "write 0 64k", "base.vmdk")
		}, errdef.ErrCorrupt},
		{"parent is another format", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "create", "-q", "-f", "vmdk", "base.vmdk", "3M")
			delta(t, dir, "top.vmdk", "base.vmdk")
			run(t, dir, "qemu-img", "create", "-q", "-f", "qcow2", "base.vmdk", "3M")
		}, errdef.ErrUnsupported},
		{"parent is gone", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "create", "-q", "-f", "vmdk", "base.vmdk", "3M")
			delta(t, dir, "top.vmdk", "base.vmdk")
			if err := os.Remove(filepath.Join(dir, "base.vmdk")); err != nil {
				t.Fatal(err)
			}
		}, os.ErrNotExist},
		{"loop", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "create", "-q", "-f", "vmdk", "base.vmdk", "3M")
			delta(t, dir, "top.vmdk", "base.vmdk")
			b, err := os.ReadFile(filepath.Join(dir, "top.vmdk"))
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, "base.vmdk"), b)
		}, errdef.ErrCorrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			tt.build(t, dir)
			if _, _, err := open(t, filepath.Join(dir, "top.vmdk"), Options{AllowBacking: dir}); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}
