package deflate

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// texts are contents of different kinds.
func texts() map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 64<<10)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	words := make([]byte, 0, 64<<10)
	for len(words) < 64<<10 {
		w := random[rnd.IntN(200)*8:][:1+rnd.IntN(8)]
		words = append(append(words, w...), ' ')
	}
	skewed := make([]byte, 64<<10) // long codewords
	for i := range skewed {
		skewed[i] = byte(rnd.ExpFloat64() * 6)
	}
	mixed := append(append(bytes.Clone(words[:20000]), make([]byte, 20000)...), random[:25536]...)
	return map[string][]byte{
		"random": random, "words": words[:64<<10], "skewed": skewed, "zeros": make([]byte, 64<<10), "mixed": mixed,
		"pattern": bytes.Repeat([]byte{1, 2, 3, 4, 5}, 13107), "empty": {}, "short": []byte("a"), "2m": bytes.Repeat(words, 32),
	}
}

func pack(t testing.TB, p []byte, level int) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDecode(t *testing.T) {
	var d Decoder
	for name, p := range texts() {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 6, 9} {
			z := pack(t, p, level)
			dst := make([]byte, len(p))
			if n, err := d.Decode(dst, z); n != len(p) || err != nil || !bytes.Equal(dst, p) {
				t.Errorf("%s at level %d: %d of %d bytes, %v", name, level, n, len(p), err)
			}
			// More room than content, and other bytes behind the stream.
			dst = make([]byte, len(p)+1000)
			if n, err := d.Decode(dst, append(bytes.Clone(z), "garbage behind the stream"...)); n != len(p) || err != nil || !bytes.Equal(dst[:n], p) {
				t.Errorf("%s at level %d with room: %d of %d bytes, %v", name, level, n, len(p), err)
			}
			// Less room: full is enough.
			half := make([]byte, len(p)/2)
			if n, err := d.Decode(half, z); n != len(half) || err != nil || !bytes.Equal(half, p[:n]) {
				t.Errorf("%s at level %d, half: %d of %d bytes, %v", name, level, n, len(half), err)
			}
		}
	}
}

func TestDecodeAll(t *testing.T) {
	var d Decoder
	for name, p := range texts() {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 6, 9} {
			z := pack(t, p, level)
			for _, room := range []int{0, 1, 1000} {
				dst := make([]byte, len(p)+room)
				n, err := d.DecodeAll(dst, append(bytes.Clone(z), "garbage"...))
				if n != len(p) || err != nil || !bytes.Equal(dst[:n], p) || d.Used() != len(z) {
					t.Errorf("%s at level %d, room for %d: %d of %d bytes out of %d of %d, %v", name, level, room, n, len(p), d.Used(), len(z), err)
				}
			}
			for _, less := range []int{1, 2, 300} {
				if less > len(p) {
					continue
				}
				if n, err := d.DecodeAll(make([]byte, len(p)-less), z); !errors.Is(err, ErrTooLong) {
					t.Errorf("%s at level %d, %d too few: %d bytes, %v", name, level, less, n, err)
				}
			}
			if _, err := d.DecodeAll(make([]byte, len(p)), z[:len(z)-1]); !errors.Is(err, ErrTruncated) {
				t.Errorf("%s at level %d, cut: %v", name, level, err)
			}
		}
	}
}

func TestTruncated(t *testing.T) {
	var d Decoder
	p := texts()["mixed"][15000:26000]
	for _, level := range []int{flate.HuffmanOnly, 0, 6} {
		z := pack(t, p, level)
		dst := make([]byte, len(p)+1)
		for i := range z {
			if n, err := d.Decode(dst, z[:i]); !errors.Is(err, ErrTruncated) || !bytes.Equal(dst[:n], p[:n]) {
				t.Fatalf("level %d, %d of %d bytes: %d decoded, %v", level, i, len(z), n, err)
			}
		}
	}
}

func TestInvalid(t *testing.T) {
	var d Decoder
	for name, z := range map[string][]byte{
		"block type 3":           {0x07, 0, 0},
		"stored length":          {0x01, 5, 0, 5, 0, 1, 2, 3, 4, 5},
		"distance too far":       {0x03, 0x02, 0x00},
		"too many lengths":       {0xfd, 0xff, 0, 0, 0, 0},
		"repeat without a first": {0x05, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00},
	} {
		padded := append(bytes.Clone(z), make([]byte, 300)...)
		if n, err := d.Decode(make([]byte, 1000), padded); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}

// reference decodes with compress/flate, as far as dst.
func reference(dst, src []byte) (int, error) {
	n, err := io.ReadFull(flate.NewReader(bytes.NewReader(src)), dst)
	if errors.Is(err, io.ErrUnexpectedEOF) && n < len(dst) {
		// The stream ended well, or early: one more read tells.
		r := flate.NewReader(bytes.NewReader(src))
		if _, err := io.Copy(io.Discard, r); err != nil {
			return n, err
		}
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// FuzzDecode compares with compress/flate: what both accept is the same, and one rejects what the other rejects, but for
// a block without a code for its end, which only we and zlib reject at once.
func FuzzDecode(f *testing.F) {
	for _, p := range texts() {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 9} {
			z := pack(f, p[:min(len(p), 5000)], level)
			f.Add(z, uint16(len(p)))
			if len(z) > 20 {
				z = bytes.Clone(z)
				z[len(z)/2] ^= 0x10
				f.Add(z, uint16(4000))
			}
		}
	}
	var d Decoder
	f.Fuzz(func(t *testing.T, src []byte, size uint16) {
		room := make([]byte, int(size)+64) // what lies behind dst must stay
		dst := room[:size:size]
		n, err := d.Decode(dst, src)
		for _, b := range room[size:] {
			if b != 0 {
				t.Fatal("wrote behind dst")
			}
		}
		want := make([]byte, size)
		m, rerr := reference(want, src)
		if err == nil && rerr == nil && (n != m || !bytes.Equal(dst[:n], want[:m])) {
			t.Fatalf("%d bytes, reference %d", n, m)
		}
		if err == nil && rerr != nil && n < len(dst) {
			t.Fatalf("accepted what the reference rejects: %v", rerr)
		}
		if err != nil && rerr == nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%v for what the reference accepts", err)
		}
		if k := min(n, m); !bytes.Equal(dst[:k], want[:k]) {
			t.Fatalf("the first %d bytes differ", k)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for name, p := range texts() {
		if len(p) != 64<<10 {
			continue
		}
		z := pack(b, p, 6)
		dst := make([]byte, len(p))
		b.Run(name, func(b *testing.B) {
			var d Decoder
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Decode(dst, z); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
