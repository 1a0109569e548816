package format

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/limits"
)

func TestRawIsQemus(t *testing.T) {
	need(t, "qemu-img")
	for _, size := range []int{1, 511, 512, 513, 4095, 1_000_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.raw")
			writeFile(t, path, random(size))
			img, f, err := open(t, path, Options{})
			if err != nil || f.Name != "raw" {
				t.Fatal(f, err)
			}
			sameAsQemu(t, img, path, "-f", "raw")
			if n, err := f.StreamSize(nil, int64(size)); err != nil || n != img.Size() {
				t.Errorf("StreamSize = %d, %v", n, err)
			}
		})
	}
}

func TestFixedVHDIsQemus(t *testing.T) {
	need(t, "qemu-img")
	const size = 10 << 20 // 20480 sectors
	type chs struct {
		c    uint16
		h, s byte
	}
	short := chs{301, 4, 17} // 12 sectors less than there are
	for _, tt := range []struct {
		creator string
		chs     chs
	}{
		{"vpc ", short}, {"qemu", short}, {"qem2", short}, {"win ", short}, {"d2v ", short}, {"CTXS", short}, {"tap\x00", short},
		{"vpc ", chs{65535, 16, 255}}, {"qemu", chs{65535, 16, 255}}, {"win ", chs{65535, 16, 255}},
	} {
		t.Run(fmt.Sprintf("%q %v", tt.creator, tt.chs), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.vhd")
			b := withFooter(random(size), tt.creator, tt.chs.c, tt.chs.h, tt.chs.s)
			writeFile(t, path, b)
			img, f, err := open(t, path, Options{})
			if err != nil || f.Name != "vpc" {
				t.Fatal(f, err)
			}
			sameAsQemu(t, img, path, "-f", "vpc")
			if n, err := f.StreamSize(b[len(b)-TailSize:], int64(len(b))); err != nil || n != img.Size() {
				t.Errorf("StreamSize = %d, %v; Size = %d", n, err, img.Size())
			}
			if _, ok := img.(image.Mapper); !ok {
				t.Error("a fixed VHD does not tell where its bytes lie")
			}
		})
	}
	for _, options := range []string{"subformat=fixed", "subformat=fixed,force_size=on"} {
		t.Run(options, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, "in.raw"), random(5<<20))
			run(t, dir, "qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", options, "in.raw", "disk.vhd")
			img, _, err := open(t, filepath.Join(dir, "disk.vhd"), Options{})
			if err != nil {
				t.Fatal(err)
			}
			sameAsQemu(t, img, filepath.Join(dir, "disk.vhd"), "-f", "vpc")
		})
	}
}

func TestFixedVHDConformance(t *testing.T) {
	data := random(300_000 - 300_000%512)
	b := withFooter(data, "win ", 0, 0, 0)
	f, err := ByName("vpc")
	if err != nil {
		t.Fatal(err)
	}
	formattest.Run(t, formattest.Suite{
		Open: func() (image.Image, error) {
			return f.Open(t.Context(), bytes.NewReader(b), int64(len(b)), Options{})
		},
		Want: bytes.NewReader(data), Size: int64(len(data)),
		Blob: bytes.NewReader(b), BlobSize: int64(len(b)),
	})
}

func TestHolesOfTheFile(t *testing.T) {
	b := withFooter(make([]byte, 8192), "win ", 0, 0, 0)
	holes := holesFunc(func(off, max int64) (image.Extent, error) {
		if off < 4096 {
			return image.Extent{Start: off, Length: min(max, 4096-off), Kind: image.Hole}, nil
		}
		return image.Extent{Start: off, Length: max, Kind: image.Data}, nil
	})
	for _, name := range []string{"raw", "vpc"} {
		f, err := ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		img, err := f.Open(t.Context(), bytes.NewReader(b), int64(len(b)), Options{Holes: holes})
		if err != nil {
			t.Fatal(err)
		}
		x, err := image.Next(img, 100, 1<<20)
		if want := (image.Extent{Start: 100, Length: 3996, Kind: image.Hole}); err != nil || x != want {
			t.Errorf("%s: %+v, %v", name, x, err)
		}
		x, err = image.Next(img, 4096, 1<<20)
		if want := (image.Extent{Start: 4096, Length: min(int64(len(b)), img.Size()) - 4096, Kind: image.Data}); err != nil || x != want {
			t.Errorf("%s: %+v, %v", name, x, err)
		}
	}
}

type holesFunc func(off, max int64) (image.Extent, error)

func (f holesFunc) NextExtent(off, max int64) (image.Extent, error) { return f(off, max) }

func TestOpenRefuses(t *testing.T) {
	fixed := withFooter(make([]byte, 4096), "win ", 0, 0, 0)
	tests := []struct {
		name, format string
		size         int64
		o            Options
		want         error
	}{
		{"snapshot of raw", "raw", 4608, Options{Snapshot: "s1"}, errdef.ErrUsage},
		{"snapshot of a vhd", "vpc", 4608, Options{Snapshot: "s1"}, errdef.ErrUsage},
		{"raw above the limit", "raw", 4608, Options{Limits: limits.Limits{VirtualSize: 4096}}, errdef.ErrLimit},
		{"raw that would overflow", "raw", math.MaxInt64, Options{}, errdef.ErrLimit},
		{"vhd above the limit", "vpc", 4608, Options{Limits: limits.Limits{VirtualSize: 4095}}, errdef.ErrLimit},
		{"raw of unknown size", "raw", -1, Options{}, errdef.ErrUsage},
		{"vhd of unknown size", "vpc", -1, Options{}, errdef.ErrUsage},
		{"vhd less than a footer", "vpc", 511, Options{}, errdef.ErrCorrupt},
		{"vhd that shrank", "vpc", 5000, Options{}, errdef.ErrChanged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := ByName(tt.format)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Open(t.Context(), bytes.NewReader(fixed), tt.size, tt.o); !errors.Is(err, tt.want) {
				t.Errorf("Open: %v, want %v", err, tt.want)
			}
		})
	}
	qcow2, _ := ByName("qcow2")
	if _, err := qcow2.StreamSize(nil, 5); !errors.Is(err, errdef.ErrUsage) {
		t.Errorf("StreamSize of qcow2: %v", err)
	}
	raw, _ := ByName("raw")
	if _, err := raw.Open(t.Context(), bytes.NewReader(nil), 0, Options{}); err != nil {
		t.Errorf("an empty disk: %v", err)
	}
}
