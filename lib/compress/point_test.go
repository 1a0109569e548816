package compress

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

// TestResume begins at every point that a reader told of.
func TestResume(t *testing.T) {
	data := sample(1<<20 + 123)
	for _, c := range []struct {
		cmd   string
		least int
	}{
		{"xz", 1}, {"xz --block-size=100KiB", 11}, {"xz --block-size=233335 -T2", 5}, {"xz --block-size=300KiB --check=none", 4},
		{"xz --block-size=300KiB --check=crc32", 4}, {"xz --block-size=300KiB --check=sha256", 4}, {"xz --block-size=300KiB --x86 --lzma2", 4},
		{"gzip", 0}, {"gzip -1", 0}, {"pigz -i", 0}, {"pigz -b 128 -p 2", 0}, {"zstd", 0}, {"zstd -19 --no-check", 0}, {"bzip2", 0},
	} {
		t.Run(c.cmd, func(t *testing.T) {
			args := strings.Fields(c.cmd)
			one := pack(t, data, args[0], args[1:]...)
			for _, n := range []int{1, 2} { // streams and members behind each other
				packed, want := bytes.Repeat(one, n), bytes.Repeat(data, n)
				codec := detect(t, packed)
				var points []Point
				out, err := unpack(t, bytes.NewReader(packed), codec, Options{OnPoint: func(p Point) { points = append(points, p) }})
				if err != nil || !bytes.Equal(out, want) {
					t.Fatalf("%d bytes, %v", len(out), err)
				}
				least := n * c.least
				if codec == Gzip || codec == Zstd {
					least += n - 1
				}
				if len(points) < least {
					t.Fatalf("%d points, want %d: %+v", len(points), least, points)
				}
				for i, p := range points {
					if testing.Short() && i%5 != 1 {
						continue
					}
					r, err := codec.Resume(bytes.NewReader(packed[p.Stored:]), p, Options{OnPoint: func(q Point) {
						if !slices.ContainsFunc(points, func(x Point) bool { return x.Stored == q.Stored && x.Out == q.Out && bytes.Equal(x.State, q.State) }) {
							t.Errorf("from %d: point %+v, which was none before", p.Stored, q)
						}
					}})
					if err != nil {
						t.Fatal(err)
					}
					out, err := io.ReadAll(r)
					if err != nil || !bytes.Equal(out, want[p.Out:]) {
						t.Fatalf("from %d: %d of %d bytes, %v", p.Stored, len(out), int64(len(want))-p.Out, err)
					}
					if err := r.Close(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

// TestResumeStrict: what is wrong is found behind a point too, and what lies before it counts.
func TestResumeStrict(t *testing.T) {
	packed := pack(t, sample(600<<10), "xz", "--block-size=100KiB")
	var points []Point
	if _, err := unpack(t, bytes.NewReader(packed), XZ, Options{OnPoint: func(p Point) { points = append(points, p) }}); err != nil {
		t.Fatal(err)
	}
	p := points[2]
	resume := func(b []byte, p Point) error {
		r, err := XZ.Resume(bytes.NewReader(b), p, Options{})
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	}
	rest := packed[p.Stored:]
	if err := resume(rest, p); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b []byte
		p Point
	}{
		"other blocks before it": {rest, Point{p.Stored, p.Out, points[1].State}},
		"cut in a block":         {rest[:1000], p},
		"cut in the index":       {rest[:len(rest)-20], p},
		"cut in the footer":      {rest[:len(rest)-3], p},
		"something behind":       {append(bytes.Clone(rest), "more"...), p},
		"no block":               {rest[1:], p},
	} {
		if err := resume(c.b, c.p); !errors.Is(err, errdef.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := len(rest) - 40; i < len(rest); i++ { // index and footer
		bad := bytes.Clone(rest)
		bad[i] ^= 0x10
		if err := resume(bad, p); !errors.Is(err, errdef.ErrCorrupt) {
			t.Errorf("byte %d of %d changed: %v", i, len(rest), err)
		}
	}
	for name, p := range map[string]Point{"no state": {p.Stored, p.Out, nil}, "half": {p.Stored, p.Out, p.State[:20]}, "negative": {-1, 0, nil}} {
		if err := resume(rest, p); !errors.Is(err, errdef.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
