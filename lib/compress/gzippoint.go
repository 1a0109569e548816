package compress

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/deflate"
)

// gzipStep is how far points inside a member lie apart at least, in stored bytes: each has a window of 32 KiB with it.
const gzipStep = 4 << 20

// gzipStateHead is what a point inside a member has before its window: how many bits of its first byte belong to it, the
// CRC-32 of the member's content before it, and the length of that modulo 2^32.
const gzipStateHead = 9

// block tells of the place between two blocks, where that is far enough from the last point. It is at a bit of the byte
// before what is read next, unless it is at its end.
func (m *gzipMembers) block() {
	at := m.src.consumed()
	if m.src.at.Stored+at < m.told+gzipStep {
		return
	}
	place := m.z.Place()
	if place.Unused > 0 {
		at--
	}
	state := append(make([]byte, gzipStateHead), place.Window...)
	state[0] = byte(place.Unused)
	binary.LittleEndian.PutUint32(state[1:], m.sum)
	binary.LittleEndian.PutUint32(state[5:], m.size)
	m.told = m.src.at.Stored + at
	m.src.point(Point{Stored: m.told, Out: m.src.at.Out + m.out, State: state})
}

// checkGzipPoint is the scan of gzip, which has nothing to look for: the decoder meets the points.
func checkGzipPoint(r io.Reader, at Point, _ func(Point)) (io.Reader, error) {
	if s := at.State; len(s) > 0 && (len(s) < gzipStateHead || len(s) > gzipStateHead+32<<10 || s[0] > 7) {
		return nil, fmt.Errorf("gzip: state of the block at stored byte %d, %d bytes, is none: %w", at.Stored, len(s), errdef.ErrUsage)
	}
	return r, nil
}

// gzipState and gzipPlace take a state apart.
func gzipState(s []byte) (sum, size uint32) {
	return binary.LittleEndian.Uint32(s[1:]), binary.LittleEndian.Uint32(s[5:])
}

func gzipPlace(s []byte) deflate.Place {
	return deflate.Place{Unused: uint(s[0]), Window: s[gzipStateHead:]}
}
