package content_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/cdictl/cdictl/lib/content"
)

// FuzzInspect wants an answer to anything, of bounded work, that keeps what it promises.
func FuzzInspect(f *testing.F) {
	f.Add(gpt{sector: 512, blocks: 200, entries: part(100, 110)}.bytes(), int64(-1))
	f.Add(gpt{sector: 4096, blocks: 40, count: 4, entries: part(10, 11)}.bytes(), int64(0))
	f.Add(on(64<<10, 0, mbr(entry(0, 5, 100, 1000)), 100*512-512, mbr(entry(0, 0x83, 1, 1), entry(0, 5, 0, 10))), int64(0))
	f.Add(on(68<<10, 1024, ext2()), int64(1<<40))
	f.Add(on(4096, 0, []byte("\xeb\x3c\x90mkfs.fat\x00\x02\x04\x04\x00\x02\x00\x02\x00\x20\xf8\x08\x00"), 510, []byte("\x55\xaa")), int64(0))
	f.Add(on(8192, 0, []byte("\xeb\x52\x90NTFS    \x00\x02\x01"), 48, []byte{1, 0, 0, 0, 0, 0, 0, 0}, 64, []byte{0xf6}, 512+3*1024, []byte("FILE\x30\x00\x03\x00")), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, more int64) {
		size := int64(-1)
		if more >= 0 && more < 1<<62 {
			size = int64(len(b)) + more
		}
		c := &counter{r: bytes.NewReader(b)}
		const budget = 512 << 10
		s, err := content.Inspect(t.Context(), c, size, content.Options{Budget: budget})
		if err != nil {
			t.Fatal(err)
		}
		if c.n > budget {
			t.Fatalf("%d bytes were read", c.n)
		}
		if _, err := json.Marshal(s); err != nil {
			t.Fatal(err)
		}
		if len(s.Problems) > 40 {
			t.Fatalf("%d problems", len(s.Problems))
		}
		if s.Table == nil {
			return
		}
		if len(s.Table.Partitions) > content.MaxPartitions {
			t.Fatalf("%d partitions", len(s.Table.Partitions))
		}
		for _, p := range s.Table.Partitions {
			if p.Start < 0 || p.Size < 0 || p.Filesystem != nil && p.Filesystem.Size < 0 {
				t.Fatalf("partition %+v", p)
			}
		}
	})
}
