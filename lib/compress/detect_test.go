package compress

import (
	"encoding/binary"
	"hash/crc32"
	"testing"
)

// headerCRC is the two bytes behind a gzip header with a name and a comment.
func headerCRC(gz []byte, strings string) []byte {
	h := append([]byte{}, gz[:10]...)
	h[3] = 0x1a
	return binary.LittleEndian.AppendUint16(nil, uint16(crc32.ChecksumIEEE(append(h, strings...))))
}

// skippable is a zstd frame with n bytes in it that are no content.
func skippable(kind byte, n int) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{0x50 + kind, 0x2a, 0x4d, 0x18}, uint32(n))
	return append(b, make([]byte, n)...)
}

func TestDetect(t *testing.T) {
	for name, tc := range map[string]struct{ head, want string }{
		"gzip":               {"\x1f\x8b\x08\x00\x00", "gzip"},
		"gzip, shortest":     {"\x1f\x8b\x08", "gzip"},
		"gzip, cut":          {"\x1f\x8b", ""},
		"compress, not gzip": {"\x1f\x9d\x90", ""},
		"gzip method 7":      {"\x1f\x8b\x07", ""},
		"xz":                 {"\xfd7zXZ\x00\x00\x04", "xz"},
		"xz, cut":            {"\xfd7zXZ", ""},
		"lzma alone":         {"\x5d\x00\x00\x80\x00", ""},
		"zstd":               {"\x28\xb5\x2f\xfd\x04", "zstd"},
		"zstd, cut":          {"\x28\xb5\x2f", ""},
		"zstd 0.7":           {"\x27\xb5\x2f\xfd", ""},
		"skippable 0":        {"\x50\x2a\x4d\x18", "zstd"},
		"skippable 15":       {"\x5f\x2a\x4d\x18", "zstd"},
		"skippable 16":       {"\x60\x2a\x4d\x18", ""},
		"bzip2":              {"BZh9\x31\x41\x59\x26\x53\x59", "bzip2"},
		"bzip2 empty":        {"BZh1\x17\x72\x45\x38\x50\x90", "bzip2"},
		"bzip2 level 0":      {"BZh0\x31\x41\x59\x26\x53\x59", ""},
		"bzip2, cut":         {"BZh9\x31\x41\x59\x26\x53", ""},
		"text":               {"BZh9 is a magic", ""},
		"qcow2":              {"QFI\xfb\x00\x00\x00\x03", ""},
		"zeros":              {"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", ""},
		"nothing":            {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, ok := Detect([]byte(tc.head))
			if ok != (tc.want != "") || c.Name() != tc.want {
				t.Errorf("%q, %v", c.Name(), ok)
			}
		})
	}
}

func TestAll(t *testing.T) {
	list := All()
	list[0] = Codec{} // a caller's copy
	for i, want := range []Codec{Gzip, XZ, Zstd, Bzip2} {
		if All()[i] != want {
			t.Errorf("codec %d is %q", i, All()[i].Name())
		}
	}
	if _, err := (Codec{}).NewReader(nil, Options{}); err == nil {
		t.Error("the zero Codec reads")
	}
	if _, err := Gzip.NewReader(nil, Options{Window: -1}); err == nil {
		t.Error("a negative window passes")
	}
}

func FuzzDetect(f *testing.F) {
	for _, s := range []string{"\x1f\x8b\x08", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd", "\x5a\x2a\x4d\x18", "BZh9\x31\x41\x59\x26\x53\x59", "BZh9 text"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		c, ok := Detect(head)
		if ok != (c != Codec{}) {
			t.Fatal("ok and the codec disagree")
		}
		if short, ok2 := Detect(head[:min(len(head), PeekSize)]); ok2 != ok || short != c {
			t.Fatal("more than PeekSize was looked at")
		}
		n := 0
		for _, d := range All() {
			if d.match(head) {
				n++
			}
		}
		if n > 1 {
			t.Fatalf("%d codecs claim %x", n, head)
		}
	})
}
