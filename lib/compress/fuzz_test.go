package compress

import (
	"bytes"
	stdbzip2 "compress/bzip2"
	stdgzip "compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/cdictl/cdictl/lib/errdef"
)

// most bounds what a fuzz target takes out of a reader.
const most = 4 << 20

func fuzzRead(t *testing.T, c Codec, r io.Reader) ([]byte, error) {
	z, err := c.NewReader(r, Options{Window: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return fuzzDrain(t, z)
}

var errMore = errors.New("more than is wanted")

// fuzzCodec reads whatever comes with one codec, compares it with itself read in little pieces, and with other, where
// there is one: content that both take is the same, and so is what came out before one gave up.
func fuzzCodec(f *testing.F, c Codec, other func(in []byte) (out []byte, err error)) {
	for name, packed := range small(f) {
		if strings.HasPrefix(name, c.Name()) {
			f.Add(packed)
			f.Add(append(bytes.Clone(packed), packed...))
			f.Add(packed[:len(packed)/2])
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := fuzzRead(t, c, bytes.NewReader(in))
		slow, slowErr := fuzzRead(t, c, iotest.HalfReader(bytes.NewReader(in)))
		if (err == nil) != (slowErr == nil) || err == nil && !bytes.Equal(out, slow) {
			t.Fatalf("%d bytes, %v; in pieces %d bytes, %v", len(out), err, len(slow), slowErr)
		}
		if other == nil {
			return
		}
		want, otherErr := other(in)
		if c == Bzip2 && loseCount(out, want) {
			return
		}
		if n := min(len(out), len(want)); !bytes.Equal(out[:n], want[:n]) {
			t.Fatalf("%d bytes, %v; the other decoder has other bytes, %d, %v", len(out), err, len(want), otherErr)
		}
		if err == nil && otherErr == nil && len(out) != len(want) {
			t.Fatalf("%d bytes; the other decoder has %d", len(out), len(want))
		}
		if err == nil && otherErr != nil {
			t.Fatalf("taken (%d bytes); the other decoder says %v", len(out), otherErr)
		}
		if otherErr == nil && errors.Is(err, errdef.ErrCorrupt) && !errors.Is(err, errdef.ErrUnsupported) && !stricter(in, c, err) {
			t.Fatalf("%v; the other decoder takes it", err)
		}
	})
}

// loseCount reports whether ours and the standard library's output part as they do where a run of four has no more that
// follow, and the same byte comes again: the library takes it for the second of the next run (see TestBzip2EmptyRepeat).
func loseCount(ours, theirs []byte) bool {
	n := 0
	for n < min(len(ours), len(theirs)) && ours[n] == theirs[n] {
		n++
	}
	const run = 4 + 3
	return !bytes.Equal(ours, theirs) && n >= run && bytes.Count(ours[n-run:n], ours[n-1:n]) == run
}

// stricter names what we refuse and the other decoder does not.
func stricter(in []byte, c Codec, err error) bool {
	switch {
	case len(in) == 0: // zstd: no frames, no content
		return true
	case c == Gzip: // an end inside the name of a second member
		return strings.Contains(err.Error(), "truncated")
	}
	return false
}

func readMost(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, most)) }

func FuzzGzip(f *testing.F) {
	fuzzCodec(f, Gzip, func(in []byte) ([]byte, error) {
		// The standard library does not take padding.
		z, err := stdgzip.NewReader(bytes.NewReader(bytes.TrimRight(in, "\x00")))
		if err != nil {
			return nil, errPadding(in, err)
		}
		out, err := readMost(z)
		return out, errPadding(in, err)
	})
}

// errPadding reads the whole input where the end without its zeros is none: trailers may end in zeros.
func errPadding(in []byte, err error) error {
	if err == nil {
		return nil
	}
	for n := len(bytes.TrimRight(in, "\x00")); n <= len(in); n++ {
		if z, err := stdgzip.NewReader(bytes.NewReader(in[:n])); err == nil {
			if _, err = readMost(z); err == nil {
				return nil
			}
		}
	}
	return err
}

func FuzzBzip2(f *testing.F) {
	fuzzCodec(f, Bzip2, func(in []byte) ([]byte, error) { return readMost(stdbzip2.NewReader(bytes.NewReader(in))) })
}

func FuzzXZ(f *testing.F) { fuzzCodec(f, XZ, nil) }

func FuzzZstd(f *testing.F) {
	fuzzCodec(f, Zstd, func(in []byte) ([]byte, error) {
		// The same library's other way, with goroutines of its own.
		d, err := zstd.NewReader(onlyReader{bytes.NewReader(in)}, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(1<<20), zstd.WithDecoderMaxMemory(1<<20))
		if err != nil {
			return nil, err
		}
		defer d.Close()
		return readMost(onlyReader{d})
	})
}
