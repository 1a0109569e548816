package compress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
)

// corrupt checks that err says where and that it is the content's fault.
func corrupt(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, errdef.ErrCorrupt) && !errors.Is(err, errdef.ErrUnsupported) && !errors.Is(err, errdef.ErrLimit) {
		t.Errorf("no sentinel: %v", err)
	} else if !strings.Contains(err.Error(), "near stored byte ") {
		t.Errorf("no position: %v", err)
	}
}

// TestTruncation cuts the small files at every byte: none may look whole.
func TestTruncation(t *testing.T) {
	for name, packed := range small(t) {
		c := detect(t, packed)
		for n := range len(packed) {
			if name == "zstd skip" && n == 17 || testing.Short() && n%7 != 0 {
				continue // a skippable frame alone is a whole file
			}
			for how, r := range map[string]io.Reader{
				"": bytes.NewReader(packed[:n]), "with data": iotest.DataErrReader(bytes.NewReader(packed[:n])),
			} {
				_, err := unpack(t, r, c, Options{})
				if !errors.Is(err, errdef.ErrCorrupt) {
					t.Fatalf("%s cut at %d of %d %s: %v", name, n, len(packed), how, err)
				}
				if !strings.Contains(err.Error(), "ends early (truncated)") {
					t.Errorf("%s cut at %d of %d %s: %v", name, n, len(packed), how, err)
				}
			}
		}
	}
}

// TestBitFlips flips bits in each byte of the small files: an error, or the same content.
func TestBitFlips(t *testing.T) {
	for name, packed := range small(t) {
		if name == "xz none" || name == "zstd no check" {
			continue // nothing there can tell
		}
		c := detect(t, packed)
		want, err := unpack(t, bytes.NewReader(packed), c, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(packed) * 8 {
			// All bits of headers and trailers, and one of each byte between them.
			if i/8 > 40 && i/8 < len(packed)-32 && i%8 != i/8%8 || testing.Short() && i%11 != 0 {
				continue
			}
			packed[i/8] ^= 1 << (i % 8)
			out, err := unpack(t, bytes.NewReader(packed), c, Options{Window: 32 << 20})
			packed[i/8] ^= 1 << (i % 8)
			if err != nil {
				corrupt(t, err)
			} else if !bytes.Equal(out, want) {
				t.Errorf("%s: bit %d of byte %d changes the content unnoticed", name, i%8, i/8)
			}
		}
	}
}

// TestSourceErrors ends the source in an error at every 50th byte, with and without data before it.
func TestSourceErrors(t *testing.T) {
	for name, packed := range small(t) {
		c := detect(t, packed)
		for n := 0; n <= len(packed); n += max(1, min(50, len(packed)-n)) {
			for _, want := range []error{errdef.ErrChanged, context.Canceled, io.ErrUnexpectedEOF, errdef.ErrUnavailable} {
				src := io.MultiReader(bytes.NewReader(packed[:n]), iotest.ErrReader(want))
				if _, err := unpack(t, src, c, Options{}); err != want {
					t.Fatalf("%s at %d of %d: %v became %v", name, n, len(packed), want, err)
				}
			}
		}
	}
}

func TestSourceStuck(t *testing.T) {
	for _, c := range All() {
		if _, err := unpack(t, stuck{}, c, Options{}); err != io.ErrNoProgress {
			t.Errorf("%s: %v", c.Name(), err)
		}
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestUnsupported(t *testing.T) {
	s := small(t)
	flags := bytes.Clone(s["gzip"])
	flags[3] |= 0x20
	dict := bytes.Clone(s["zstd no check"])
	dict = append([]byte{dict[0], dict[1], dict[2], dict[3], 0x01, 0x58, 77}, dict[6:]...) // names dictionary 77
	check := bytes.Clone(s["xz"])
	check[7] = 2 // a reserved check
	copy(check[8:], le32(crc(check[6:8])))
	arm := pack(t, sample(3000), "xz", "--arm64", "--lzma2")
	for name, tc := range map[string]struct {
		packed []byte
		say    string
	}{
		"gzip flags": {flags, "flags"}, "zstd dictionary": {dict, "dictionary"},
		"xz check": {check, "integrity check"}, "xz filter": {arm, "filter"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := unpack(t, bytes.NewReader(tc.packed), detect(t, tc.packed), Options{})
			if !errors.Is(err, errdef.ErrUnsupported) || !strings.Contains(err.Error(), tc.say) {
				t.Error(err)
			}
		})
	}
}

// TestClose ends readers at any moment and counts goroutines.
func TestClose(t *testing.T) {
	data := sample(4 << 20)
	before := runtime.NumGoroutine()
	for _, cmd := range []string{"gzip", "xz", "zstd", "bzip2"} {
		packed := pack(t, data, cmd, "-1")
		c := detect(t, packed)
		for _, n := range []int64{-1, 0, 1, 100_000, 2 << 20} {
			z, err := c.NewReader(bytes.NewReader(packed), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if n >= 0 {
				if _, err := io.CopyN(io.Discard, z, n); err != nil {
					t.Fatal(err)
				}
			}
			z.Close()
			z.Close()
		}
		// While a Read waits for a source that gives nothing.
		pr, pw := io.Pipe()
		z, err := c.NewReader(io.MultiReader(bytes.NewReader(packed[:1000]), pr), Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan error)
		go func() { _, err := io.Copy(io.Discard, z); got <- err }()
		time.Sleep(10 * time.Millisecond)
		pw.CloseWithError(context.Canceled)
		if err := <-got; err != context.Canceled {
			t.Errorf("%s: %v", cmd, err)
		}
		z.Close()
	}
	for range 6000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}
