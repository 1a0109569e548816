package raw_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/format/raw"
	"github.com/cdictl/cdictl/lib/image"
)

// holes tells every other 4096 bytes as a hole, beginning with the second.
type holes struct{}

func (holes) NextExtent(off, max int64) (image.Extent, error) {
	kind := image.Data
	if off/4096%2 == 1 {
		kind = image.Hole
	}
	return image.Extent{Start: off, Length: min(max, 4096-off%4096), Kind: kind}, nil
}

func TestConformance(t *testing.T) {
	for _, size := range []int{1, 511, 512, 513, 4095, 4096, 4097, 1_000_000, 3 << 20} {
		stored := make([]byte, size)
		r := rand.NewChaCha8([32]byte{2})
		for i := 0; i < size; i += 8192 {
			r.Read(stored[i:min(i+4096, size)])
		}
		want := append(bytes.Clone(stored), make([]byte, raw.VirtualSize(int64(size))-int64(size))...)
		for name, ext := range map[string]image.Extenter{"": nil, " with holes": holes{}} {
			t.Run(fmt.Sprint(size, name), func(t *testing.T) {
				formattest.Run(t, formattest.Suite{
					Open: func() (image.Image, error) { return raw.Open(bytes.NewReader(stored), int64(size), ext), nil },
					Want: bytes.NewReader(want), Size: int64(len(want)),
					Blob: bytes.NewReader(stored), BlobSize: int64(size),
				})
			})
		}
	}
}
