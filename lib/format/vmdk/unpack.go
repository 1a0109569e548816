package vmdk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/deflate"
)

// grainMarkerLen is the part of a grain's marker before its data: the grain's sector in the disk, and how many bytes
// of data there are.
const grainMarkerLen = 12

// An unpacker decodes compressed grains ("Stream-Optimized Compressed Sparse Extents"): zlib streams (RFC 1950). It is safe
// for concurrent use; decoders are kept for the next grain.
type unpacker struct {
	decoders sync.Pool // of *deflate.Decoder
	grains   sync.Pool // of *[]byte, one grain each
}

// init makes it ready for grains of up to that size.
func (u *unpacker) init(grain int64) {
	u.decoders.New = func() any { return new(deflate.Decoder) }
	u.grains.New = func() any {
		b := make([]byte, grain)
		return &b
	}
}

// unpack decodes stored, of a grain of that size, into dst; with a marker, stored begins with that. What a grain's end leaves of stored is not looked
// at. The sector in the marker is not looked at either: the tables say what the grain is. It returns how many bytes of
// stored the grain has.
func (u *unpacker) unpack(dst, stored []byte, grain int64, marker bool) (int, error) {
	used := 0
	if marker {
		if len(stored) < grainMarkerLen {
			return 0, corrupt("compressed grain of %d bytes has no marker", len(stored))
		}
		n := int64(binary.LittleEndian.Uint32(stored[8:]))
		stored = stored[grainMarkerLen:]
		if n == 0 || n > int64(len(stored)) {
			return 0, corrupt("marker of a compressed grain tells %d bytes, there is room for %d", n, len(stored))
		}
		stored, used = stored[:n], grainMarkerLen
	}
	if int64(len(dst)) == grain {
		n, err := u.zlib(dst, stored, len(dst))
		return used + n, err
	}
	whole := u.grains.Get().(*[]byte)
	defer u.grains.Put(whole)
	n, err := u.zlib((*whole)[:grain], stored, len(dst))
	if err != nil {
		return 0, err
	}
	copy(dst, *whole)
	return used + n, nil
}

// zlib decodes stored, of which at least need bytes must come, into dst, and returns how many bytes it took.
func (u *unpacker) zlib(dst, stored []byte, need int) (int, error) {
	be := binary.BigEndian
	if len(stored) < 2 || stored[0]&0xf != 8 || stored[0]>>4 > 7 || be.Uint16(stored)%31 != 0 || stored[1]&0x20 != 0 {
		return 0, corrupt("compressed grain is no zlib stream")
	}
	d := u.decoders.Get().(*deflate.Decoder)
	defer u.decoders.Put(d)
	out, err := d.DecodeAll(dst, stored[2:])
	switch {
	case errors.Is(err, deflate.ErrTruncated), err == nil && out < need:
		return 0, corrupt("compressed grain ends after %d of %d bytes", out, need)
	case err != nil:
		return 0, fmt.Errorf("vmdk: compressed grain, after %d of %d bytes: %w: %w", out, need, err, errdef.ErrCorrupt)
	}
	end := 2 + d.Used()
	if len(stored)-end < 4 || be.Uint32(stored[end:]) != adler32.Checksum(dst[:out]) {
		return 0, corrupt("compressed grain has a wrong checksum")
	}
	return end + 4, nil
}
