package compress

import (
	"bytes"
	"encoding/hex"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
)

func TestRoundTrip(t *testing.T) {
	data := sample(5<<20 + 123)
	if testing.Short() {
		data = data[:1<<20+123]
	}
	for _, cmd := range []string{
		"gzip", "gzip -1", "gzip -9", "pigz -b 128 -p 2", "pigz -i",
		"xz", "xz -0", "xz -9e", "xz --block-size=1MiB", "xz --block-size=700001 -T2", "xz -T2", "xz --check=none",
		"xz --check=crc32", "xz --check=crc64", "xz --check=sha256", "xz --x86 --lzma2", "xz --delta=dist=16 --lzma2=preset=1",
		"xz --lzma2=preset=6,lc=0,lp=4,pb=0", "xz --lzma2=preset=6,dict=4KiB",
		"zstd -1", "zstd -19", "zstd --long=27", "zstd --ultra -22", "zstd --no-check", "zstd -T2 -B524288", "zstd --no-compress-literals",
		"pzstd -p 2", "bzip2", "bzip2 -1", "lbzip2", "pbzip2 -c",
	} {
		args := strings.Fields(cmd)
		if _, err := exec.LookPath(args[0]); err != nil && strings.HasSuffix(args[0], "bzip2") && args[0] != "bzip2" {
			continue // a parallel bzip2 is rare, and adds little to what bzip2 itself shows
		}
		t.Run(strings.ReplaceAll(cmd, " ", "_"), func(t *testing.T) {
			packed := pack(t, data, args[0], args[1:]...)
			out, err := unpack(t, bytes.NewReader(packed), detect(t, packed), Options{})
			if err != nil || !bytes.Equal(out, data) {
				t.Fatalf("%d of %d bytes, %v", len(out), len(data), err)
			}
			// Twice in a row is the content twice: members, streams, frames.
			out, err = unpack(t, io.MultiReader(bytes.NewReader(packed), bytes.NewReader(packed)), detect(t, packed), Options{})
			if err != nil || len(out) != 2*len(data) || !bytes.Equal(out[len(data):], data) {
				t.Fatalf("twice: %d of %d bytes, %v", len(out), 2*len(data), err)
			}
		})
	}
}

// TestReaders decodes the small files from readers that give little, or everything with the end.
func TestReaders(t *testing.T) {
	for name, packed := range small(t) {
		want := smallData()
		if strings.HasSuffix(name, "empty") {
			want = nil
		}
		for how, r := range map[string]io.Reader{
			"plain":    bytes.NewReader(packed),
			"buffer":   bytes.NewBuffer(bytes.Clone(packed)),
			"one byte": iotest.OneByteReader(bytes.NewReader(packed)),
			"data+eof": iotest.DataErrReader(bytes.NewReader(packed)),
			"hesitant": &hesitant{r: bytes.NewReader(packed)},
		} {
			out, err := unpack(t, r, detect(t, packed), Options{})
			if err != nil || !bytes.Equal(out, want) {
				t.Errorf("%s, %s: %d bytes, %v", name, how, len(out), err)
			}
		}
		z, err := detect(t, packed).NewReader(bytes.NewReader(packed), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(z, want); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := z.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s: after the end %d, %v", name, n, err)
		}
		z.Close()
	}
}

// hesitant has nothing to say every other time, which io.Reader allows.
type hesitant struct {
	r    io.Reader
	turn bool
}

func (h *hesitant) Read(p []byte) (int, error) {
	if h.turn = !h.turn; h.turn {
		return 0, nil
	}
	return h.r.Read(p[:min(len(p), 7)])
}

// TestConcatenation mixes what may follow each other.
func TestConcatenation(t *testing.T) {
	s := small(t)
	pad := func(n int) []byte { return make([]byte, n) }
	for name, tc := range map[string]struct {
		parts [][]byte
		want  int // copies of the sample
		bad   bool
	}{
		"gzip, empty, named":       {[][]byte{s["gzip"], s["gzip empty"], s["gzip named"]}, 2, false},
		"gzip, padding":            {[][]byte{s["gzip"], pad(1)}, 1, false},
		"gzip, much padding":       {[][]byte{s["gzip"], pad(1 << 20)}, 1, false},
		"gzip, padding, garbage":   {[][]byte{s["gzip"], pad(512), []byte("x")}, 1, true},
		"gzip, padding, gzip":      {[][]byte{s["gzip"], pad(512), s["gzip"]}, 1, true},
		"gzip, garbage":            {[][]byte{s["gzip"], []byte("x")}, 1, true},
		"gzip, half a magic":       {[][]byte{s["gzip"], {0x1f}}, 1, true},
		"gzip, xz":                 {[][]byte{s["gzip"], s["xz"]}, 1, true},
		"gzip, cut in a name":      {[][]byte{s["gzip"], s["gzip named"][:14]}, 1, true},
		"xz, xz crc32, empty":      {[][]byte{s["xz"], s["xz crc32"], s["xz empty"], s["xz sha256"]}, 3, false},
		"xz, padding":              {[][]byte{s["xz"], pad(4)}, 1, false},
		"xz, padding, xz, padding": {[][]byte{s["xz"], pad(8), s["xz none"], pad(1 << 16)}, 2, false},
		"xz, padding of 3":         {[][]byte{s["xz"], pad(3)}, 1, true},
		"xz, padding of 5, xz":     {[][]byte{s["xz"], pad(5), s["xz"]}, 1, true},
		"xz, garbage":              {[][]byte{s["xz"], []byte("garbage garbage")}, 1, true},
		"xz, one byte":             {[][]byte{s["xz"], []byte("x")}, 1, true},
		"zstd, frames":             {[][]byte{skippable(3, 0), s["zstd"], skippable(15, 70000), s["zstd empty"], s["zstd no check"], skippable(0, 3)}, 2, false},
		"zstd, skippable only":     {[][]byte{skippable(0, 100)}, 0, false},
		"zstd, garbage":            {[][]byte{s["zstd"], []byte("garbage")}, 1, true},
		"zstd, one byte":           {[][]byte{s["zstd"], {0x28}}, 1, true},
		"zstd, zeros":              {[][]byte{s["zstd"], pad(512)}, 1, true},
		"zstd, cut skippable":      {[][]byte{s["zstd"], skippable(0, 100)[:50]}, 1, true},
		"bzip2, bzip2, empty":      {[][]byte{s["bzip2"], s["bzip2"], s["bzip2 empty"]}, 2, false},
		"bzip2, garbage":           {[][]byte{s["bzip2"], []byte("garbage")}, 1, true},
		"bzip2, one byte":          {[][]byte{s["bzip2"], []byte("B")}, 1, true},
		"bzip2, zeros":             {[][]byte{s["bzip2"], pad(512)}, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			packed := bytes.Join(tc.parts, nil)
			out, err := unpack(t, bytes.NewReader(packed), detect(t, packed), Options{})
			if (err != nil) != tc.bad {
				t.Fatalf("%d bytes, %v", len(out), err)
			}
			if !tc.bad && !bytes.Equal(out, bytes.Repeat(smallData(), tc.want)) {
				t.Errorf("%d bytes are not %d samples", len(out), tc.want)
			}
			if tc.bad {
				corrupt(t, err)
			}
		})
	}
}

// TestBzip2EmptyRepeat: four equal bytes of which no more follow, then the same byte. No bzip2 writes that; the program
// reads it as we do, and Go's standard library takes it for a wrong checksum.
func TestBzip2EmptyRepeat(t *testing.T) {
	packed, err := hex.DecodeString("425a683131415926535913bc0c6d000004410048003000200021803018023928bb9229c284809de06368")
	if err != nil {
		t.Fatal(err)
	}
	out, err := unpack(t, bytes.NewReader(packed), Bzip2, Options{})
	if string(out) != "aaaaaaaaaaaab" || err != nil { // in the block: aaaa 0 aaaa 3 ab
		t.Errorf("%q, %v", out, err)
	}
	if theirs := tool(t, bytes.NewReader(packed), "bzip2", "-dc"); !bytes.Equal(theirs, out) {
		t.Errorf("bzip2 reads %q", theirs)
	}
}
