package containerdisk

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"io"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// TestTarball reads the layer with Go's own reader.
func TestTarball(t *testing.T) {
	for _, size := range []int64{0, 1, 511, 512, 513, 70_000} {
		content := bytes.Repeat([]byte("disk"), int(size)/4+1)[:size]
		b, err := newTarball("x.img", size, bytes.NewReader(content), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		all := make([]byte, b.size)
		for off := int64(0); off < b.size; { // in odd steps
			n, err := b.ReadAt(all[off:min(off+333, b.size)], off)
			if err != nil {
				t.Fatal(err)
			}
			off += int64(n)
		}
		if _, err := b.ReadAt(make([]byte, 1), b.size); err != io.EOF || b.size%512 != 0 {
			t.Errorf("%d bytes, %v", b.size, err)
		}
		r := tar.NewReader(bytes.NewReader(all))
		dir, err := r.Next()
		if err != nil || dir.Name != "disk/" || dir.Typeflag != tar.TypeDir || dir.Mode != 0o555 || dir.Uid != 107 || dir.Gid != 107 || dir.ModTime.Unix() != 0 {
			t.Errorf("folder %+v, %v", dir, err)
		}
		file, err := r.Next()
		if err != nil || file.Name != "disk/x.img" || file.Typeflag != tar.TypeReg || file.Mode != 0o440 || file.Uid != 107 || file.Gid != 107 ||
			file.Size != size || file.ModTime.Unix() != 0 || file.Uname+file.Gname != "" {
			t.Errorf("file %+v, %v", file, err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("behind the file: %v", err)
		}
	}
}

// blank reads as zeros.
type blank struct{}

func (blank) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

// TestLargeFile: the old header has no room for 8 GiB.
func TestLargeFile(t *testing.T) {
	for _, size := range []int64{8<<30 - 1, 8 << 30, 1 << 45} {
		b, err := newTarball("disk.img", size, blank{}, time.Unix(5, 0))
		if err != nil {
			t.Fatal(err)
		}
		r := tar.NewReader(io.NewSectionReader(b, 0, b.size))
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		if h, err := r.Next(); err != nil || h.Size != size || b.end-size != int64(len(b.head)) {
			t.Errorf("%+v, %v", h, err)
		}
		end := make([]byte, len(b.tail)+1)
		if n, err := b.ReadAt(end, b.end); n != len(b.tail) || err != io.EOF || !bytes.Equal(end, make([]byte, len(end))) {
			t.Errorf("the end: %d bytes of %d, %v", n, len(b.tail), err)
		}
	}
}

// TestShortFile: what has fewer bytes than it said makes no layer.
func TestShortFile(t *testing.T) {
	b, err := newTarball("x", 1000, bytes.NewReader(make([]byte, 999)), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.hash(t.Context(), sha256.New(), nil); err == nil {
		t.Error("no error")
	}
	if _, err := compress(t.Context(), b, "zstd", 2, io.Discard, sha256.New(), nil); err == nil {
		t.Error("no error")
	}
}

// TestFrames: each chunk can be read for itself, and the number of workers changes nothing.
func TestFrames(t *testing.T) {
	content := make([]byte, 2*chunk+5)
	for i := range content {
		content[i] = byte(i * i >> 7)
	}
	b, err := newTarball("x", int64(len(content)), bytes.NewReader(content), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var one, many bytes.Buffer
	for w, workers := range map[*bytes.Buffer]int{&one: 1, &many: 7} {
		if n, err := compress(t.Context(), b, "zstd", workers, w, sha256.New(), nil); err != nil || n != int64(w.Len()) {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	if !bytes.Equal(one.Bytes(), many.Bytes()) {
		t.Error("workers change the layer")
	}
	frames := 0
	for rest := one.Bytes(); len(rest) > 0; frames++ {
		var h zstd.Header
		if err := h.Decode(rest); err != nil {
			t.Fatal(err)
		}
		next := bytes.Index(rest[4:], []byte{0x28, 0xb5, 0x2f, 0xfd})
		if next < 0 {
			next = len(rest) - 4
		}
		rest = rest[4+next:]
	}
	if frames < 3 {
		t.Errorf("%d frames", frames)
	}
}
