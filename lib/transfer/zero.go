package transfer

import (
	"bytes"
	"sync/atomic"
)

// block is the granularity of zero detection: the block of common filesystems, below which a hole saves nothing.
const block = 4096

// minHole is the shortest run of zeros between data that is worth a hole. A write of its own costs about as much as
// writing this much more (measured with O_DIRECT on ext4: 64 KiB writes reach a quarter of the rate of 1 MiB ones).
const minHole = 32 << 10

type counters struct{ data, cloned, zero, kept atomic.Int64 }

func (c *counters) stats() Stats {
	return Stats{Data: c.data.Load(), Cloned: c.cloned.Load(), Zero: c.zero.Load(), Kept: c.kept.Load()}
}

// isZero reports whether p is all zeros: equal to itself one byte further, which runs at memory speed.
func isZero(p []byte) bool {
	return len(p) == 0 || p[0] == 0 && bytes.Equal(p[:len(p)-1], p[1:])
}

// zeroPrefix is the length of the zeros that p, guest bytes at off, begins with, in whole blocks.
func zeroPrefix(off int64, p []byte) int {
	n := 0
	for n < len(p) {
		b := min(block-int((off+int64(n))%block), len(p)-n)
		if !isZero(p[n : n+b]) {
			break
		}
		n += b
	}
	return n
}

// split tells what p, guest bytes at off, begins with: data bytes to be written in one go, followed by zero bytes that
// are a hole. One of the two may be 0. Holes are at least minHole long, or reach an end of p.
func split(off int64, p []byte) (data, zero int) {
	if z := zeroPrefix(off, p); z >= minHole || z == len(p) {
		return 0, z
	}
	n := 0
	for n < len(p) {
		b := min(block-int((off+int64(n))%block), len(p)-n)
		if !isZero(p[n : n+b]) {
			n += b
			continue
		}
		z := zeroPrefix(off+int64(n), p[n:])
		if z >= minHole || n+z == len(p) {
			return n, z
		}
		n += z
	}
	return len(p), 0
}
