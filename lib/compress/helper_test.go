package compress

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"
)

// sample is n bytes as a disk has them: noise, text, zeros and repetition.
func sample(n int) []byte {
	rnd := rand.NewChaCha8([32]byte{7})
	b := make([]byte, 0, n+1<<17)
	for i := uint64(0); len(b) < n; i++ {
		part := make([]byte, 1+rnd.Uint64()%(1<<15))
		switch i % 4 {
		case 0:
			rnd.Read(part)
		case 1:
			copy(part, bytes.Repeat([]byte("root:x:0:0:root:/root:/bin/bash\n"), len(part)/32))
		case 2: // zeros
			part = make([]byte, rnd.Uint64()%(1<<17))
		case 3:
			if len(b) > 1<<16 {
				at := rnd.Uint64() % uint64(len(b)-1<<15)
				copy(part, b[at:])
			}
		}
		b = append(b, part...)
	}
	return b[:n]
}

// tool runs a program as a filter. Without the program the test ends, unless tools are required.
func tool(t testing.TB, in io.Reader, name string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CDICTL_REQUIRE_TOOLS") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no %s here", name)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = in
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, &talk)
	}
	return out.Bytes()
}

func pack(t testing.TB, data []byte, name string, args ...string) []byte {
	t.Helper()
	return tool(t, bytes.NewReader(data), name, args...)
}

// unpack detects and decodes with o.
func unpack(t testing.TB, r io.Reader, c Codec, o Options) ([]byte, error) {
	t.Helper()
	z, err := c.NewReader(r, o)
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if cerr := z.Close(); cerr != nil {
		t.Fatal(cerr)
	}
	if _, rerr := z.Read(make([]byte, 1)); !errors.Is(rerr, errClosed) {
		t.Fatalf("after Close Read says %v", rerr)
	}
	return out, err
}

func detect(t testing.TB, packed []byte) Codec {
	t.Helper()
	c, ok := Detect(packed[:min(PeekSize, len(packed))])
	if !ok {
		t.Fatalf("not detected: %x", packed[:min(PeekSize, len(packed))])
	}
	return c
}

// smallData compresses to a few hundred bytes and has literals and matches in it.
func smallData() []byte {
	text := bytes.Repeat([]byte("root:x:0:0:root:/root:/bin/bash\n"), 20)
	return slices.Concat(sample(250), text, make([]byte, 1500), text[:100])
}

// small holds one small file of each kind, for tests that go through all its bytes.
func small(t testing.TB) map[string][]byte {
	data := smallData()
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	gz := pack(t, data, "gzip", "-n")
	const dict = "--lzma2=dict=64KiB" // thousands of readers are made of these: small tables
	return map[string][]byte{
		"gzip":          gz,
		"gzip named":    cat(gz[:3], []byte{0x1a}, gz[4:10], []byte("a name\x00a comment\x00"), headerCRC(gz, "a name\x00a comment\x00"), gz[10:]),
		"xz":            pack(t, data, "xz", dict),
		"xz crc32":      pack(t, data, "xz", "--check=crc32", dict),
		"xz sha256":     pack(t, data, "xz", "--check=sha256", dict),
		"xz none":       pack(t, data, "xz", "--check=none", dict),
		"xz blocks":     pack(t, data, "xz", "--block-size=1000", "-T2", dict),
		"xz delta":      pack(t, data, "xz", "--delta=dist=4", "--lzma2=dict=64KiB"),
		"zstd":          pack(t, data, "zstd"),
		"zstd no check": pack(t, data, "zstd", "--no-check"),
		"zstd skip":     cat(skippable(0, 9), pack(t, data, "zstd", "-19")),
		"bzip2":         pack(t, data, "bzip2", "-1"),
		"gzip empty":    pack(t, nil, "gzip", "-n"),
		"xz empty":      pack(t, nil, "xz"),
		"zstd empty":    pack(t, nil, "zstd"),
		"bzip2 empty":   pack(t, nil, "bzip2"),
	}
}
