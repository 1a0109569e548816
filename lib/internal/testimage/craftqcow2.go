package testimage

import (
	"bytes"
	"encoding/binary"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// Bits, and numbers of header extensions and compressions, as the specification has them.
const (
	qcow2Copied       = 1 << 63
	qcow2Compressed   = 1 << 62
	qcow2Zero         = 1
	qcow2Dirty        = 1 << 0
	qcow2Corrupt      = 1 << 1
	qcow2DataFile     = 1 << 2
	qcow2Compression  = 1 << 3
	qcow2ExtendedL2   = 1 << 4
	qcow2DataFileRaw  = 1 << 1 // among the features that who does not know them must clear
	qcow2FeatureNames = 0x6803f857
	qcow2Bitmaps      = 0x23852875
	qcow2Zlib         = 0
	qcow2Zstd         = 1
)

// Where a crafted qcow2 has what. Its clusters have 4 KiB; it has 512 L2 entries, of which an image of 8 clusters uses 8.
const (
	qcow2Bits    = 12
	QCOW2Cluster = 1 << qcow2Bits
	QCOW2Size    = 8*QCOW2Cluster - 512

	QCOW2RefTable  = 1 * QCOW2Cluster
	QCOW2L1        = 3 * QCOW2Cluster
	QCOW2L2        = 4 * QCOW2Cluster
	QCOW2Snapshots = 5 * QCOW2Cluster
	QCOW2Data      = 6 * QCOW2Cluster
	QCOW2Packed    = 8*QCOW2Cluster + 100
	QCOW2End       = 9 * QCOW2Cluster
)

// A QCOW2 is an image made byte by byte: cluster 0 is data, 1 and 2 are data in one piece, 3 is zero, 4 is compressed,
// 5 is a hole, 6 is zero and preallocated, 7 is data. It has one snapshot, "one" with ID "1", which shares everything.
type QCOW2 []byte

// U32 writes a number, and returns c.
func (c QCOW2) U32(off int, v uint32) QCOW2 {
	binary.BigEndian.PutUint32(c[off:], v)
	return c
}

// U64 is as U32.
func (c QCOW2) U64(off int, v uint64) QCOW2 {
	binary.BigEndian.PutUint64(c[off:], v)
	return c
}

// L2 sets entry i of the L2 table.
func (c QCOW2) L2(i int, v uint64) QCOW2 { return c.U64(QCOW2L2+8*i, v) }

// QCOW2PackedEntry is the L2 entry of a compressed cluster.
func QCOW2PackedEntry(host, sectors uint64) uint64 {
	return qcow2Compressed | host | (sectors-1)<<(62-(qcow2Bits-8))
}

// CraftQCOW2 makes a valid image and its disk.
func CraftQCOW2(compression uint8) (QCOW2, []byte) {
	c := make(QCOW2, QCOW2End)
	copy(c, "QFI\xfb")
	c.U32(4, 3).U32(20, qcow2Bits).U64(24, QCOW2Size)
	c.U32(36, 1).U64(40, QCOW2L1).U64(48, QCOW2RefTable).U32(56, 1).U32(60, 1).U64(64, QCOW2Snapshots)
	c.U32(96, 4).U32(100, 112)
	if compression != 0 {
		c.U64(72, qcow2Compression)
		c[104] = compression
	}
	c.U64(QCOW2RefTable, 2*QCOW2Cluster)
	for i := range QCOW2End / QCOW2Cluster {
		binary.BigEndian.PutUint16(c[2*QCOW2Cluster+2*i:], 1)
	}
	disk := make([]byte, 8*QCOW2Cluster)
	part := func(i int) []byte { return disk[i*QCOW2Cluster:][:QCOW2Cluster] }
	for _, i := range []int{0, 1, 2, 4, 7} {
		for j := range part(i) {
			part(i)[j] = byte(i*37 + j/(i+1))
		}
	}
	// A quarter of cluster 4 does not compress, so that it has more than one sector.
	for j, x := 0, uint32(1); j < QCOW2Cluster/4; j++ {
		x = x*1664525 + 1013904223
		part(4)[j] = byte(x >> 24)
	}
	packed := PackQCOW2(compression, part(4))
	copy(c[QCOW2Packed:], packed)
	c.U64(QCOW2L1, qcow2Copied|QCOW2L2)
	c.L2(0, qcow2Copied|QCOW2Data+QCOW2Cluster).L2(1, QCOW2Data).L2(2, qcow2Copied|QCOW2Data+QCOW2Cluster)
	copy(part(0), part(2)) // clusters 0 and 2 share their place
	copy(c[QCOW2Data:], part(1))
	copy(c[QCOW2Data+QCOW2Cluster:], part(2))
	c.L2(3, qcow2Zero).L2(4, QCOW2PackedEntry(QCOW2Packed, uint64(QCOW2Packed%512+len(packed)+511)/512)).L2(6, qcow2Zero|qcow2Copied|QCOW2Data)
	// Cluster 7 reaches as far as the disk; the file ends there.
	c.L2(7, qcow2Copied|QCOW2End)
	c = append(c, part(7)[:QCOW2Cluster-512]...)
	c.Snapshot(QCOW2Snapshots, QCOW2L1, "1", "one")
	return c, disk[:QCOW2Size]
}

// Snapshot writes an entry of the table of snapshots.
func (c QCOW2) Snapshot(off int, l1 uint64, id, name string) {
	c.U64(off, l1).U32(off+8, 1)
	binary.BigEndian.PutUint16(c[off+12:], uint16(len(id)))
	binary.BigEndian.PutUint16(c[off+14:], uint16(len(name)))
	c.U32(off+36, 16).U64(off+48, QCOW2Size)
	copy(c[off+56:], id+name)
}

// CraftExtendedQCOW2 makes an image with extended L2 entries and clusters of 16 KiB, whose only cluster has data in
// subclusters 0, 1 and 31, zeros in 2, and nothing elsewhere.
func CraftExtendedQCOW2() (QCOW2, []byte) {
	const cluster = 16 << 10
	c := make(QCOW2, 6*cluster)
	copy(c, "QFI\xfb")
	c.U32(4, 3).U32(20, 14).U64(24, 2*cluster).U32(36, 1).U64(40, 3*cluster).U64(48, cluster).U32(56, 1)
	c.U64(72, qcow2ExtendedL2).U32(96, 4).U32(100, 112)
	c.U64(3*cluster, 4*cluster)
	c.U64(4*cluster, 5*cluster).U64(4*cluster+8, 1<<34|1<<31|3)
	for i := range cluster {
		c[5*cluster+i] = byte(i/7 + 1)
	}
	disk := make([]byte, 2*cluster)
	copy(disk, c[5*cluster:5*cluster+1024])
	copy(disk[cluster-512:cluster], c[6*cluster-512:])
	return c, disk
}

// PackQCOW2 compresses a cluster.
func PackQCOW2(compression uint8, b []byte) []byte {
	var out bytes.Buffer
	if compression == qcow2Zstd {
		w, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		return w.EncodeAll(b, nil)
	}
	w, _ := flate.NewWriter(&out, 9)
	if _, err := w.Write(b); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}
