package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/deflate"
)

// maxZstdWindow is QEMU's. It costs no memory: a cluster is decoded into its place, which is the window and bounds what
// comes out.
const maxZstdWindow = 128 << 20

// An unpacker decodes compressed clusters. It is safe for concurrent use; decoders are kept for the next cluster.
type unpacker struct {
	compression uint8
	cluster     int64
	decoders    sync.Pool // of *deflate.Decoder or *zstd.Decoder
	clusters    sync.Pool // of *[]byte, one cluster each
}

func (u *unpacker) init(compression uint8, cluster int64) {
	u.compression, u.cluster = compression, cluster
	u.clusters.New = func() any {
		b := make([]byte, cluster)
		return &b
	}
}

// unpack decodes stored into dst. What a cluster's end leaves of the sectors is not looked at.
func (u *unpacker) unpack(dst, stored []byte) error {
	_, err := u.measured(dst, stored)
	return err
}

// measured is unpack, and tells how much of stored the cluster has.
func (u *unpacker) measured(dst, stored []byte) (int, error) {
	if int64(len(dst)) < u.cluster {
		whole := u.clusters.Get().(*[]byte)
		defer u.clusters.Put(whole)
		used, err := u.measured(*whole, stored)
		if err != nil {
			return 0, err
		}
		copy(dst, *whole)
		return used, nil
	}
	if u.compression == compressZstd {
		return u.zstd(dst, stored)
	}
	return u.deflate(dst, stored)
}

func (u *unpacker) deflate(dst, stored []byte) (int, error) {
	d, _ := u.decoders.Get().(*deflate.Decoder)
	if d == nil {
		d = new(deflate.Decoder)
	}
	defer u.decoders.Put(d)
	n, err := d.Decode(dst, stored)
	switch {
	case errors.Is(err, deflate.ErrTruncated), err == nil && n < len(dst):
		return 0, fmt.Errorf("compressed cluster ends after %d of %d bytes: %w", n, len(dst), errdef.ErrCorrupt)
	case err != nil:
		return 0, fmt.Errorf("compressed cluster, after %d of %d bytes: %w: %w", n, len(dst), err, errdef.ErrCorrupt)
	}
	return d.Used(), nil
}

func (u *unpacker) zstd(dst, stored []byte) (int, error) {
	z, _ := u.decoders.Get().(*zstd.Decoder)
	if z == nil {
		var err error
		z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxZstdWindow), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return 0, fmt.Errorf("zstd decoder: %w", err)
		}
	}
	defer u.decoders.Put(z)
	// A cluster is one frame; QEMU takes several too. The next cluster may begin in the last sector, so the decoder
	// gets no more than the frame.
	whole := len(stored)
	for n := 0; n < len(dst); {
		frame, skip, err := zstdFrame(stored)
		if err != nil {
			return 0, fmt.Errorf("compressed cluster, after %d of %d bytes: %w", n, len(dst), err)
		}
		if !skip {
			out, err := z.DecodeAll(stored[:frame], dst[n:n:len(dst)])
			if err != nil {
				return 0, fmt.Errorf("compressed cluster, after %d of %d bytes: %w: %w", n, len(dst), err, errdef.ErrCorrupt)
			}
			if len(out) > 0 && &out[0] != &dst[n] {
				copy(dst[n:], out)
			}
			n += len(out)
		}
		stored = stored[frame:]
	}
	return whole - len(stored), nil
}

const (
	zstdMagic     = 0xfd2fb528
	zstdSkip      = 0x184d2a50 // and the 15 above
	zstdSkipMask  = 0xfffffff0
	zstdBlockRLE  = 1
	zstdBlockBits = 3
)

var errShortFrame = fmt.Errorf("stored bytes end inside of a zstd frame: %w", errdef.ErrCorrupt)

// zstdFrame tells how long the frame is that b begins with (RFC 8878, section 3.1.1), without decoding it, and whether
// it is one to skip.
func zstdFrame(b []byte) (n int, skip bool, err error) {
	le := binary.LittleEndian
	if len(b) < 8 {
		return 0, false, errShortFrame
	}
	magic := le.Uint32(b)
	if magic&zstdSkipMask == zstdSkip {
		size := uint64(le.Uint32(b[4:])) + 8
		if size > uint64(len(b)) {
			return 0, false, errShortFrame
		}
		return int(size), true, nil
	}
	if magic != zstdMagic {
		return 0, false, fmt.Errorf("no zstd frame but %#08x: %w", magic, errdef.ErrCorrupt)
	}
	descriptor := b[4]
	single := descriptor>>5&1 != 0
	n = 5 + [4]int{0, 1, 2, 4}[descriptor&3] // dictionary ID
	switch contentSize := descriptor >> 6; {
	case contentSize > 0:
		n += 1 << contentSize
	case single:
		n++
	}
	if !single {
		n++ // window descriptor
	}
	for {
		if len(b)-n < 3 {
			return 0, false, errShortFrame
		}
		block := uint32(b[n]) | uint32(b[n+1])<<8 | uint32(b[n+2])<<16
		size := int(block >> zstdBlockBits)
		if block>>1&3 == zstdBlockRLE {
			size = 1
		}
		n += 3 + size
		if n > len(b) {
			return 0, false, errShortFrame
		}
		if block&1 != 0 {
			break
		}
	}
	if descriptor>>2&1 != 0 {
		n += 4 // checksum
	}
	if n > len(b) {
		return 0, false, errShortFrame
	}
	return n, false, nil
}
