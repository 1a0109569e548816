package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

func crc(b []byte) uint32       { return crc32.ChecksumIEEE(b) }
func le32(n uint32) []byte      { return binary.LittleEndian.AppendUint32(nil, n) }
func zstdFrame(s string) []byte { return append([]byte{0x28, 0xb5, 0x2f, 0xfd}, s...) }

// withDict gives a one-block xz file another dictionary size, with a right checksum of the header.
func withDict(xz []byte, code byte) []byte {
	b := bytes.Clone(xz)
	h := b[xzStreamHeader:]
	h = h[:(int(h[0])+1)*4]
	h[bytes.Index(h, []byte{0x21, 1})+2] = code
	copy(h[len(h)-4:], le32(crc(h[:len(h)-4])))
	return b
}

// TestWindow refuses what needs more than the bound, and does not allocate it first.
func TestWindow(t *testing.T) {
	s := small(t)
	long := pack(t, sample(20<<20), "zstd", "-1", "--long=24", "--no-content-size")
	max9 := pack(t, sample(100_000), "xz", "-9")
	for name, tc := range map[string]struct {
		packed []byte
		window int64
		say    string // empty: accepted
	}{
		"xz 4 GiB":            {withDict(s["xz"], 40), 0, "4294967295 bytes, above the limit of 134217728"},
		"xz 1.5 GiB":          {withDict(s["xz"], 37), 0, "1610612736 bytes, above the limit of 134217728"},
		"xz 1.5 GiB, later":   {append(bytes.Clone(s["xz"]), withDict(s["xz"], 37)...), 0, "dictionary of a later block"},
		"xz 128 MiB":          {withDict(s["xz"], 30), 0, ""},
		"xz -9, 64 MiB":       {max9, 64 << 20, ""},
		"xz -9, less":         {max9, 64<<20 - 1, "67108864 bytes, above the limit of 67108863"},
		"xz delta, 64 KiB":    {s["xz delta"], 64<<10 - 1, "65536 bytes, above the limit of 65535"},
		"xz delta":            {s["xz delta"], 64 << 10, ""},
		"zstd 2 GiB":          {zstdFrame("\x00\xa8\x01\x00\x00"), 0, "2147483648 bytes, above the limit of 134217728"},
		"zstd 3.75 TiB":       {zstdFrame("\x00\xff\x01\x00\x00"), 0, "above the limit of 134217728"},
		"zstd 2 GiB, later":   {append(bytes.Clone(s["zstd"]), zstdFrame("\x00\xa8\x01\x00\x00")...), 0, "window of a frame is 2147483648 bytes, above the limit of 134217728"},
		"zstd content, 1 TiB": {zstdFrame("\xe0\x00\x00\x00\x00\x00\x01\x00\x00\x01\x00\x00"), 0, "content in one segment is 1099511627776 bytes, above the limit of 134217728"},
		"zstd --long=24":      {long, 16 << 20, ""},
		"zstd --long, less":   {long, 16<<20 - 1, "16777216 bytes, above the limit of 16777215"},
		"gzip":                {s["gzip"], 1, ""},
		"bzip2":               {s["bzip2"], 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := unpack(t, bytes.NewReader(tc.packed), detect(t, tc.packed), Options{Window: tc.window})
			runtime.ReadMemStats(&after)
			if tc.say == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, errdef.ErrLimit) || !strings.Contains(err.Error(), tc.say) || !strings.Contains(errdef.Hint(err), "--max-window") {
				t.Errorf("%v (hint %q)", err, errdef.Hint(err))
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 20<<20 {
				t.Errorf("%d bytes allocated", n)
			}
		})
	}
}

// ones gives n bytes 'A'.
func ones(n int64) io.Reader { return io.LimitReader(constant('A'), n) }

type constant byte

func (c constant) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(c)
	}
	return len(p), nil
}

func TestExpansion(t *testing.T) {
	if testing.Short() {
		t.Skip("768 MiB through one goroutine")
	}
	const size = 96 << 20
	for _, cmd := range []string{"gzip", "xz -1", "zstd -1", "bzip2 -9"} {
		args := strings.Fields(cmd)
		t.Run(args[0], func(t *testing.T) {
			packed := tool(t, ones(size), args[0], args[1:]...)
			bound := int64(free + 100*len(packed))
			z, err := detect(t, packed).NewReader(bytes.NewReader(packed), Options{Expansion: 100})
			if err != nil {
				t.Fatal(err)
			}
			defer z.Close()
			n, err := io.Copy(io.Discard, z)
			if bound >= size { // an honest ratio
				if err != nil || n != size {
					t.Errorf("%d bytes, %v", n, err)
				}
				return
			}
			if !errors.Is(err, errdef.ErrLimit) || !strings.Contains(errdef.Hint(err), "--max-expansion") {
				t.Errorf("%v (hint %q)", err, errdef.Hint(err))
			}
			if n > bound+bound/100 {
				t.Errorf("%d bytes came out, the bound is %d", n, bound)
			}
		})
		t.Run(args[0]+" zeros", func(t *testing.T) {
			packed := tool(t, io.LimitReader(constant(0), size), args[0], args[1:]...)
			z, err := detect(t, packed).NewReader(bytes.NewReader(packed), Options{Expansion: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer z.Close()
			if n, err := io.Copy(io.Discard, z); n != size || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
}

func TestNonZero(t *testing.T) {
	b := make([]byte, 3*block+5)
	for _, tc := range []struct{ at, want int }{{-1, 0}, {0, block}, {block - 1, 2 * block}, {2*block + 7, 3 * block}, {3*block + 4, 3*block + 5}} {
		if tc.at >= 0 {
			b[tc.at] = 1
		}
		if tc.at == block-1 {
			b[block] = 1
		}
		if got := nonZero(b); got != int64(tc.want) {
			t.Errorf("after byte %d: %d, want %d", tc.at, got, tc.want)
		}
	}
}
