package blocksink

import (
	"slices"

	"github.com/cdictl/cdictl/lib/internal/bufpool"
)

// heldBytes is what is held back at each end: superblocks, partition tables and their backups lie there.
const heldBytes = 1 << 20

// A region is a stretch of the device, whole sectors, whose content is in memory until Commit.
type region struct {
	off  int64
	data []byte
}

func (r *region) end() int64 { return r.off + int64(len(r.data)) }

// held are the regions of one device: in order, apart from each other, the first at 0.
type held []*region

// hold makes the regions, all zero. size is the disk's, -1 where unknown: then its end is not held back, unless it
// comes to lie in the device's. A table at the end of a disk that is shorter than its device is found by nobody, as it is
// looked for at the end of the device.
func hold(device, size, sector int64) held {
	spans := [][2]int64{{0, min(heldBytes, device)}, {max(0, device-heldBytes), device}}
	if size >= 0 {
		spans = append(spans, [2]int64{max(0, size-heldBytes) / sector * sector, roundUp(size, sector)})
	}
	slices.SortFunc(spans, func(a, b [2]int64) int {
		if a[0] != b[0] {
			return int(min(max(a[0]-b[0], -1), 1))
		}
		return int(min(max(a[1]-b[1], -1), 1))
	})
	var h held
	for i := 0; i < len(spans); {
		from, to := spans[i][0], spans[i][1]
		for i++; i < len(spans) && spans[i][0] <= to; i++ {
			to = max(to, spans[i][1])
		}
		if to > from {
			h = append(h, &region{off: from, data: bufpool.Make(int(to - from))})
		}
	}
	return h
}

// at returns the region that has the byte at off, or nil, and how many of the n bytes from there on have the same answer.
func (h held) at(off, n int64) (*region, int64) {
	for _, r := range h {
		switch {
		case off >= r.end():
		case off >= r.off:
			return r, min(n, r.end()-off)
		default:
			return nil, min(n, r.off-off)
		}
	}
	return nil, n
}

// cut zeroes all from size on.
func (h held) cut(size int64) {
	for _, r := range h {
		if size < r.end() {
			clear(r.data[max(0, size-r.off):])
		}
	}
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
