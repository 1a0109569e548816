package verify

import (
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
)

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func digestOf(t testing.TB, alg string, b []byte) Digest {
	d := Digest{alg: alg}
	h := d.Hash()
	h.Write(b)
	d.sum = string(h.Sum(nil))
	return d
}

func TestReader(t *testing.T) {
	for _, size := range []int{0, 1, 511, chunk - 1, chunk, chunk + 1, 5*chunk + 77} {
		for _, alg := range []string{"md5", "sha1", "sha256", "sha512"} {
			data := noise(size)
			for name, wrap := range map[string]func(io.Reader) io.Reader{
				"plain": func(r io.Reader) io.Reader { return r },
				"eof":   iotest.DataErrReader,
				"half":  iotest.HalfReader,
			} {
				v := NewReader(wrap(bytes.NewReader(data)), digestOf(t, alg, data))
				var out bytes.Buffer
				// Some of it read, the rest left to Verify.
				if _, err := io.CopyN(&out, v, int64(size/2)); err != nil {
					t.Fatal(err)
				}
				if err := v.Verify(); err != nil {
					t.Fatalf("%s %s %d: %v", name, alg, size, err)
				}
				if v.Bytes() != int64(size) || !bytes.Equal(out.Bytes(), data[:size/2]) {
					t.Fatalf("%s %s %d: %d bytes passed", name, alg, size, v.Bytes())
				}
				if err := v.Verify(); err != nil { // again: the same answer
					t.Fatal(err)
				}
			}
			if size > 0 {
				v := NewReader(iotest.OneByteReader(bytes.NewReader(data[:1])), digestOf(t, alg, data[:1]))
				if err := v.Verify(); err != nil {
					t.Fatal(err)
				}
			}
			wrong := NewReader(bytes.NewReader(append(data[:size:size], 0)), digestOf(t, alg, data))
			if err := wrong.Verify(); !errors.Is(err, errdef.ErrDigestMismatch) {
				t.Fatalf("one byte more: %v", err)
			}
		}
	}
}

func TestReaderSumGrows(t *testing.T) {
	data := noise(3 * chunk)
	v := NewReader(bytes.NewReader(data), Digest{alg: "sha512"})
	for at := 0; at < len(data); at += chunk / 2 {
		if _, err := io.ReadFull(v, make([]byte, chunk/2)); err != nil {
			t.Fatal(err)
		}
		want := sha512.Sum512(data[:at+chunk/2])
		if !bytes.Equal(v.Sum(), want[:]) {
			t.Fatalf("sum after %d bytes differs", at+chunk/2)
		}
	}
}

func TestReaderWithoutDigest(t *testing.T) {
	v := NewReader(bytes.NewReader(noise(1000)), Digest{})
	if err := v.Verify(); err != nil || v.Bytes() != 1000 || v.Sum() != nil {
		t.Errorf("%v, %d bytes, sum %x", err, v.Bytes(), v.Sum())
	}
}

func TestReaderErrorWins(t *testing.T) {
	data := noise(chunk)
	for name, want := range map[string]error{"changed": errdef.ErrChanged, "canceled": context.Canceled, "short": io.ErrUnexpectedEOF} {
		t.Run(name, func(t *testing.T) {
			// The digest is even right for what came before the error.
			src := io.MultiReader(bytes.NewReader(data), iotest.ErrReader(want), bytes.NewReader(nil))
			v := NewReader(src, digestOf(t, "sha256", data))
			if _, err := io.Copy(io.Discard, v); err != want {
				t.Fatalf("Read gives %v", err)
			}
			if err := v.Verify(); err != want {
				t.Fatalf("Verify gives %v", err)
			}
		})
	}
	t.Run("no progress", func(t *testing.T) {
		v := NewReader(stuck{}, Digest{})
		if err := v.Verify(); err != io.ErrNoProgress {
			t.Fatal(err)
		}
	})
	t.Run("lying count", func(t *testing.T) {
		if err := NewReader(liar{}, Digest{alg: "md5"}).Verify(); err == nil {
			t.Fatal("a count above the buffer passes")
		}
	})
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

type liar struct{}

func (liar) Read(p []byte) (int, error) { return len(p) + 1, nil }

func TestReaderAbandonedLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 50 {
		v := NewReader(bytes.NewReader(noise(4*chunk)), Digest{alg: "sha256"})
		if _, err := io.CopyN(io.Discard, v, 3*chunk); err != nil {
			t.Fatal(err)
		}
	}
	for range 6000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

func BenchmarkReader(b *testing.B) {
	data := noise(16 << 20)
	buf := make([]byte, 256<<10)
	for _, alg := range []string{"", "md5", "sha256", "sha512"} {
		b.Run("alg="+alg, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				v := NewReader(bytes.NewReader(data), Digest{alg: alg})
				for {
					if _, err := v.Read(buf); err != nil {
						break
					}
				}
				v.Sum()
			}
		})
	}
}
