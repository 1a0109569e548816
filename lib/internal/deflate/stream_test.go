package deflate

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// long is content with more than a window of everything, and blocks of every kind.
func long() []byte {
	var b []byte
	for range 3 {
		for _, name := range []string{"words", "random", "zeros", "skewed", "mixed", "pattern", "2m"} {
			b = append(b, texts()[name]...)
		}
	}
	return b
}

func TestStream(t *testing.T) {
	contents := texts()
	contents["long"] = long()
	for name, p := range contents {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 6, 9} {
			if testing.Short() && level != 6 {
				continue
			}
			z := pack(t, p, level)
			behind := append(bytes.Clone(z), "what is behind"...)
			for how, r := range map[string]io.Reader{
				"whole": bytes.NewReader(behind), "bytes": iotest.OneByteReader(bytes.NewReader(behind)), "halves": iotest.HalfReader(bytes.NewReader(behind)),
			} {
				if how == "bytes" && len(z) > 100<<10 {
					continue
				}
				src := bufio.NewReaderSize(r, 1000) // small, so that its end comes often
				var s Stream
				if err := s.Reset(src, Place{}); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(&s)
				if err != nil || !bytes.Equal(got, p) {
					t.Errorf("%s at level %d, %s: %d of %d bytes, %v", name, level, how, len(got), len(p), err)
				}
				if rest, err := io.ReadAll(src); err != nil || string(rest) != "what is behind" {
					t.Errorf("%s at level %d, %s: it leaves %.40q, %v", name, level, how, rest, err)
				}
			}
		}
	}
}

// TestStreamPlaces begins again at each block.
func TestStreamPlaces(t *testing.T) {
	p := long()[:2<<20]
	for _, level := range []int{flate.HuffmanOnly, 0, 1, 6} {
		if testing.Short() && level != 6 {
			continue
		}
		z := pack(t, p, level)
		type place struct {
			Place
			stored, out int
		}
		var places []place
		counted := bytes.NewReader(z)
		src := bufio.NewReader(counted)
		var s Stream
		out := 0
		s.OnBlock = func() {
			pl := place{Place: s.Place(), stored: len(z) - counted.Len() - src.Buffered(), out: out}
			if pl.Unused > 0 {
				pl.stored--
			}
			places = append(places, pl)
		}
		if err := s.Reset(src, Place{}); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10_000)
		for {
			n, err := s.Read(buf)
			out += n
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if len(places) < 3 {
			t.Fatalf("level %d: %d places", level, len(places))
		}
		s.OnBlock = nil
		step := max(1, len(places)/20)
		for i := 0; i < len(places); i += step {
			pl := places[i]
			if err := s.Reset(bufio.NewReader(bytes.NewReader(z[pl.stored:])), pl.Place); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(&s)
			if err != nil || !bytes.Equal(got, p[pl.out:]) {
				t.Fatalf("level %d, place %d of %d at %d (%d bits): %d of %d bytes, %v", level, i, len(places), pl.stored, pl.Unused, len(got), len(p)-pl.out, err)
			}
		}
	}
}

func TestStreamTruncated(t *testing.T) {
	p := texts()["mixed"][15000:26000]
	var s Stream
	for _, level := range []int{flate.HuffmanOnly, 0, 6} {
		z := pack(t, p, level)
		for i := range z {
			if err := s.Reset(bufio.NewReader(bytes.NewReader(z[:i])), Place{}); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(&s)
			if !errors.Is(err, ErrTruncated) || !bytes.HasPrefix(p, got) {
				t.Fatalf("level %d, %d of %d bytes: %d decoded, %v", level, i, len(z), len(got), err)
			}
		}
	}
}

// FuzzStream compares with compress/flate, and what is read in one go with what is read in small pieces.
func FuzzStream(f *testing.F) {
	for _, p := range texts() {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 9} {
			z := pack(f, p[:min(len(p), 5000)], level)
			f.Add(z, uint16(100))
			if len(z) > 20 {
				z = bytes.Clone(z)
				z[len(z)/2] ^= 0x10
				f.Add(z, uint16(1))
			}
		}
	}
	const most = 4 << 20
	var s Stream
	f.Fuzz(func(t *testing.T, in []byte, seed uint16) {
		read := func(r io.Reader) ([]byte, error) {
			if err := s.Reset(bufio.NewReaderSize(r, 700), Place{}); err != nil {
				t.Fatal(err)
			}
			return io.ReadAll(io.LimitReader(&s, most))
		}
		got, err := read(bytes.NewReader(in))
		rnd := rand.New(rand.NewPCG(1, uint64(seed)))
		again, aerr := read(&pieces{bytes.NewReader(in), rnd})
		// How much comes out before an error depends on what was there to be decoded at a time.
		if k := min(len(got), len(again)); (err == nil) != (aerr == nil) || err == nil && len(got) != len(again) || !bytes.Equal(got[:k], again[:k]) {
			t.Fatalf("%d bytes, %v; in pieces %d bytes, %v", len(got), err, len(again), aerr)
		}
		want, werr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(in)), most))
		if err == nil && (werr != nil || !bytes.Equal(got, want)) {
			t.Fatalf("%d bytes, reference %d, %v", len(got), len(want), werr)
		}
		if err != nil && werr == nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%v for what the reference accepts", err)
		}
		if !bytes.HasPrefix(want, got[:min(len(got), len(want))]) {
			t.Fatalf("the first %d bytes differ", min(len(got), len(want)))
		}
	})
}

type pieces struct {
	r   io.Reader
	rnd *rand.Rand
}

func (p *pieces) Read(b []byte) (int, error) {
	return p.r.Read(b[:min(len(b), 1+p.rnd.IntN(300))])
}

func BenchmarkStream(b *testing.B) {
	p := long()
	for _, level := range []int{1, 6} {
		z := pack(b, p, level)
		b.Run([]string{1: "fast", 6: "default"}[level], func(b *testing.B) {
			var s Stream
			src := bufio.NewReaderSize(nil, 256<<10)
			buf := make([]byte, 128<<10)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(bytes.NewReader(z))
				if err := s.Reset(src, Place{}); err != nil {
					b.Fatal(err)
				}
				for {
					if _, err := s.Read(buf); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
