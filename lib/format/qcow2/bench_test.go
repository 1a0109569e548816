package qcow2

import (
	"encoding/binary"
	"io"
	"testing"

	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
)

// BenchmarkReadAt reads disks in pieces of 1 MiB out of a file in the page cache, with one goroutine.
func BenchmarkReadAt(b *testing.B) {
	const size = 64 << 20
	for _, c := range []testimage.Case{
		{Name: "plain", Size: size},
		{Name: "plain-512", Size: size, Options: "cluster_size=512"},
		{Name: "zlib", Size: size, Compress: true},
		{Name: "zstd", Size: size, Options: "compression_type=zstd", Compress: true},
	} {
		b.Run(c.Name, func(b *testing.B) {
			img := openImage(b, testimage.Make(b, b.TempDir(), c), Options{})
			buf := make([]byte, 1<<20)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				for off := int64(0); off < size; off += int64(len(buf)) {
					if _, err := img.ReadAt(buf, off); err != nil && err != io.EOF {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkRuns lists all runs of a compressed disk.
func BenchmarkRuns(b *testing.B) {
	const size = 64 << 20
	img := openImage(b, testimage.Make(b, b.TempDir(), testimage.Case{Name: "zlib-4k", Options: "cluster_size=4k", Size: size, Compress: true}), Options{})
	b.SetBytes(size)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n = 0
		for _, err := range img.(image.Mapper).Runs(0, size) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	b.ReportMetric(float64(n), "runs/op")
}

// zeroTail is a file of any size with zeros behind its head.
type zeroTail struct {
	head []byte
	l2   int64 // from here on a table that maps cluster i to a place of its own, every other one a hole
}

func (z zeroTail) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(z.head)) {
		n = copy(p, z.head[off:])
	}
	clear(p[n:])
	for i := max(n, int(z.l2-off)); i+8 <= len(p); i += 8 {
		if no := (off + int64(i) - z.l2) / 8; no%2 == 0 {
			binary.BigEndian.PutUint64(p[i:], uint64(1<<40+no<<16))
		}
	}
	return len(p), nil
}

// BenchmarkExtents walks a disk of 1 TiB: all holes, and with every L2 table full of alternating clusters.
func BenchmarkExtents(b *testing.B) {
	const size, entries = 1 << 40, 1 << 11
	for _, full := range []bool{false, true} {
		name := "holes"
		if full {
			name = "alternating"
		}
		b.Run(name, func(b *testing.B) {
			c := make(crafted, 4<<16)
			copy(c, Magic)
			c.U32(4, 3).U32(20, 16).U64(24, size).U32(36, entries).U64(40, 3<<16).U64(48, 1<<16).U32(56, 1).U32(96, 4).U32(100, 104)
			if full {
				for i := range entries {
					c.U64(3<<16+8*i, uint64(4+i)<<16)
				}
			}
			img, err := Open(b.Context(), zeroTail{c, 4 << 16}, 1<<42, Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = 0
				for off := int64(0); off < size; n++ {
					x, err := image.Next(img, off, size-off)
					if err != nil {
						b.Fatal(err)
					}
					off = x.End()
				}
			}
			b.ReportMetric(float64(n), "extents/op")
		})
	}
}
