package vhdx

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

// chunked is a file of any size: a BAT that puts block i at 4+i MiB, with rubbish where entries of bitmaps are, and
// blocks whose bytes tell their number.
type chunked struct {
	*testimage.VHDX
	chunk int64
}

func (c chunked) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		at := off + int64(i)
		switch e := (at - testimage.VHDXBAT) / 8; {
		case at < testimage.VHDXBAT:
			p[i] = c.B[at]
		case at < testimage.VHDXData:
			v := uint64(0x123456789) // nothing
			if e%(c.chunk+1) != c.chunk {
				v = uint64(4+e-e/(c.chunk+1))<<20 | testimage.VHDXPresent
			}
			p[i] = byte(v >> (8 * (at & 7)))
		default:
			p[i] = byte((at>>20 - 4) >> (8 * (at & 1)))
		}
	}
	return len(p), nil
}

// TestChunks reads across entries for bitmaps.
func TestChunks(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		chunk := int64(4096) * sector / 512
		blocks := 2*chunk + 3
		v := testimage.CraftVHDX(sector, "").U64(items+8, uint64(blocks<<20))
		c := chunked{v, chunk}
		size := (4 + blocks) << 20
		img, err := Open(t.Context(), c, size, limits.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		l := NewLearner(limits.Limits{})
		runs, err := formattest.Learn(l, c, size)
		if err != nil || l.Finish(size) != nil {
			t.Fatal(err, l.Finish(size))
		}
		total := int64(0)
		for _, r := range runs {
			if r.Guest != r.Stored-4<<20 {
				t.Fatalf("run %+v", r)
			}
			total += r.Length
		}
		if total != blocks<<20 {
			t.Errorf("runs of %d bytes", total)
		}
		for _, i := range []int64{0, chunk - 1, chunk, chunk + 1, 2*chunk - 1, 2 * chunk, 2*chunk + 2} {
			b := make([]byte, 2)
			if _, err := img.ReadAt(b, i<<20); err != nil {
				t.Fatal(err)
			}
			if got := binary.LittleEndian.Uint16(b); got != uint16(i) {
				t.Errorf("sectors of %d: block %d reads %d", sector, i, got)
			}
		}
		x, err := image.Next(img, 0, math.MaxInt64)
		if err != nil || x.Length != blocks<<20 {
			t.Errorf("extent %+v, %v", x, err)
		}
	}
}
