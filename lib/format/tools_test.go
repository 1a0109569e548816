package format

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/lib/format/vhd"
	"github.com/cdictl/cdictl/lib/image"
)

// need skips a test whose tool is absent; in CI, where CDICTL_REQUIRE_TOOLS is 1, it fails.
func need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CDICTL_REQUIRE_TOOLS") == "1" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// run runs a tool in dir and returns what it printed.
func run(t testing.TB, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.Bytes())
	}
	return out
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

// open detects and opens a file.
func open(t testing.TB, path string, o Options) (image.Image, Format, error) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	size, f, err := detect(t, file)
	if err != nil {
		return nil, f, err
	}
	o.Dir = filepath.Dir(path)
	o.Sibling = siblings(o.Dir)
	img, err := f.Open(t.Context(), file, size, o)
	if err == nil {
		t.Cleanup(func() {
			if err := img.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return img, f, err
}

// sized is an open file as a File.
type sized struct {
	*os.File
	size int64
}

func (s sized) Size() int64 { return s.size }

// siblings opens the files in dir.
func siblings(dir string) func(string) (File, error) {
	return func(name string) (File, error) {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		st, err := f.Stat()
		if err != nil {
			return nil, err
		}
		return sized{f, st.Size()}, nil
	}
}

func detect(t testing.TB, file *os.File) (int64, Format, error) {
	t.Helper()
	st, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, min(st.Size(), PeekSize))
	tail := make([]byte, min(st.Size(), TailSize))
	for _, r := range []struct {
		p   []byte
		off int64
	}{{head, 0}, {tail, st.Size() - int64(len(tail))}} {
		if _, err := file.ReadAt(r.p, r.off); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	f, err := Detect(head, tail)
	return st.Size(), f, err
}

// digest reads a whole disk.
func digest(t testing.TB, ra io.ReaderAt, size int64) [32]byte {
	t.Helper()
	h := sha256.New()
	if _, err := io.CopyN(h, io.NewSectionReader(ra, 0, size), size); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// sameAsQemu compares a disk of ours with what qemu-img makes of the same file.
func sameAsQemu(t testing.TB, img image.Image, path string, convert ...string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "oracle.raw")
	run(t, filepath.Dir(path), "qemu-img", append(append([]string{"convert", "-O", "raw"}, convert...), path, out)...)
	want, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	st, err := want.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if img.Size() != st.Size() {
		t.Fatalf("virtual size %d, qemu-img has %d", img.Size(), st.Size())
	}
	if digest(t, img, img.Size()) != digest(t, want, st.Size()) {
		t.Error("content differs from qemu-img's")
	}
}

func toMap(t testing.TB, b []byte) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// withFooter appends the footer of a fixed VHD.
func withFooter(data []byte, creator string, c uint16, h, s byte) []byte {
	b := make([]byte, vhd.FooterSize)
	copy(b, vhd.Cookie)
	binary.BigEndian.PutUint32(b[8:], 2)
	binary.BigEndian.PutUint32(b[12:], 0x10000)
	binary.BigEndian.PutUint64(b[16:], 1<<64-1)
	copy(b[28:32], creator)
	binary.BigEndian.PutUint64(b[40:], uint64(len(data)))
	binary.BigEndian.PutUint64(b[48:], uint64(len(data)))
	binary.BigEndian.PutUint16(b[56:], c)
	b[58], b[59] = h, s
	binary.BigEndian.PutUint32(b[60:], uint32(vhd.Fixed))
	binary.BigEndian.PutUint32(b[64:], vhd.Checksum(b))
	return append(bytes.Clone(data), b...)
}
