package qcow2

import (
	"bytes"
	"encoding/binary"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// Where a crafted image has what. Its clusters have 4 KiB; it has 512 L2 entries, of which an image of 8 clusters uses 8.
const (
	craftBits    = 12
	craftCluster = 1 << craftBits
	craftSize    = 8*craftCluster - 512

	atRefTable = 1 * craftCluster
	atL1       = 3 * craftCluster
	atL2       = 4 * craftCluster
	atSnaps    = 5 * craftCluster
	atData     = 6 * craftCluster
	atPacked   = 8*craftCluster + 100
	craftEnd   = 9 * craftCluster
)

// A crafted is an image made byte by byte: cluster 0 is data, 1 and 2 are data in one piece, 3 is zero, 4 is compressed,
// 5 is a hole, 6 is zero and preallocated, 7 is data. It has one snapshot, "one" with ID "1", which shares everything.
type crafted []byte

func (c crafted) u32(off int, v uint32) crafted {
	binary.BigEndian.PutUint32(c[off:], v)
	return c
}

func (c crafted) u64(off int, v uint64) crafted {
	binary.BigEndian.PutUint64(c[off:], v)
	return c
}

// l2 sets entry i.
func (c crafted) l2(i int, v uint64) crafted { return c.u64(atL2+8*i, v) }

func packedEntry(host, sectors uint64) uint64 {
	return compressedBit | host | (sectors-1)<<(62-(craftBits-8))
}

// craft makes a valid image and its disk.
func craft(compression uint8) (crafted, []byte) {
	c := make(crafted, craftEnd)
	copy(c, Magic)
	c.u32(4, 3).u32(20, craftBits).u64(24, craftSize)
	c.u32(36, 1).u64(40, atL1).u64(48, atRefTable).u32(56, 1).u32(60, 1).u64(64, atSnaps)
	c.u32(96, 4).u32(100, 112)
	if compression != 0 {
		c.u64(72, bitCompression)
		c[104] = compression
	}
	c.u64(atRefTable, 2*craftCluster)
	for i := range craftEnd / craftCluster {
		binary.BigEndian.PutUint16(c[2*craftCluster+2*i:], 1)
	}
	disk := make([]byte, 8*craftCluster)
	part := func(i int) []byte { return disk[i*craftCluster:][:craftCluster] }
	for _, i := range []int{0, 1, 2, 4, 7} {
		for j := range part(i) {
			part(i)[j] = byte(i*37 + j/(i+1))
		}
	}
	// A quarter of cluster 4 does not compress, so that it has more than one sector.
	for j, x := 0, uint32(1); j < craftCluster/4; j++ {
		x = x*1664525 + 1013904223
		part(4)[j] = byte(x >> 24)
	}
	packed := packCluster(compression, part(4))
	copy(c[atPacked:], packed)
	c.u64(atL1, copiedBit|atL2)
	c.l2(0, copiedBit|atData+craftCluster).l2(1, atData).l2(2, copiedBit|atData+craftCluster)
	copy(part(0), part(2)) // clusters 0 and 2 share their place
	copy(c[atData:], part(1))
	copy(c[atData+craftCluster:], part(2))
	c.l2(3, zeroBit).l2(4, packedEntry(atPacked, uint64(atPacked%512+len(packed)+511)/512)).l2(6, zeroBit|copiedBit|atData)
	// Cluster 7 reaches as far as the disk; the file ends there.
	c.l2(7, copiedBit|craftEnd)
	c = append(c, part(7)[:craftCluster-512]...)
	c.snapshot(atSnaps, atL1, "1", "one")
	return c, disk[:craftSize]
}

func (c crafted) snapshot(off int, l1 uint64, id, name string) {
	c.u64(off, l1).u32(off+8, 1)
	binary.BigEndian.PutUint16(c[off+12:], uint16(len(id)))
	binary.BigEndian.PutUint16(c[off+14:], uint16(len(name)))
	c.u32(off+36, 16).u64(off+48, craftSize)
	copy(c[off+56:], id+name)
}

// craftExtended makes an image with extended L2 entries and clusters of 16 KiB, whose only cluster has data in
// subclusters 0, 1 and 31, zeros in 2, and nothing elsewhere.
func craftExtended() (crafted, []byte) {
	const cluster = 16 << 10
	c := make(crafted, 6*cluster)
	copy(c, Magic)
	c.u32(4, 3).u32(20, 14).u64(24, 2*cluster).u32(36, 1).u64(40, 3*cluster).u64(48, cluster).u32(56, 1)
	c.u64(72, bitExtendedL2).u32(96, 4).u32(100, 112)
	c.u64(3*cluster, 4*cluster)
	c.u64(4*cluster, 5*cluster).u64(4*cluster+8, 1<<34|1<<31|3)
	for i := range cluster {
		c[5*cluster+i] = byte(i/7 + 1)
	}
	disk := make([]byte, 2*cluster)
	copy(disk, c[5*cluster:5*cluster+1024])
	copy(disk[cluster-512:cluster], c[6*cluster-512:])
	return c, disk
}

func packCluster(compression uint8, b []byte) []byte {
	var out bytes.Buffer
	if compression == compressZstd {
		w, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		return w.EncodeAll(b, nil)
	}
	w, _ := flate.NewWriter(&out, 9)
	w.Write(b)
	w.Close()
	return out.Bytes()
}
