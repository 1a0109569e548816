package content_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cdictl/cdictl/lib/content"
)

// A gpt makes disks with a GPT. Its zero value, with a sector, is an empty one.
type gpt struct {
	sector, blocks int
	length, count  int // of the entries; 0: 128
	entriesAt      uint64
	entries        []byte
	noMBR          bool
}

// bytes are the whole disk, with the backup at its end.
func (g gpt) bytes() []byte {
	if g.length == 0 {
		g.length = 128
	}
	if g.count == 0 {
		g.count = 128
	}
	b := make([]byte, g.sector*g.blocks)
	if !g.noMBR {
		copy(b[446:], entry(0, 0xee, 1, uint32(g.blocks-1)))
		copy(b[510:], "\x55\xaa")
	}
	table := make([]byte, g.length*g.count)
	copy(table, g.entries)
	n := uint64(len(table)+g.sector-1) / uint64(g.sector)
	last := uint64(g.blocks - 1)
	first := uint64(2)
	if g.entriesAt != 0 {
		first = g.entriesAt
	} else {
		copy(b[2*g.sector:], table)
		copy(b[(last-n)*uint64(g.sector):], table)
	}
	g.header(b[g.sector:], 1, last, first, table)
	g.header(b[last*uint64(g.sector):], last, 1, last-n, table)
	return b
}

func (g gpt) header(b []byte, at, other, entries uint64, table []byte) {
	le := binary.LittleEndian
	copy(b, "EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00")
	le.PutUint64(b[24:], at)
	le.PutUint64(b[32:], other)
	copy(b[56:], "0123456789abcdef")
	le.PutUint64(b[72:], entries)
	le.PutUint32(b[80:], uint32(g.count))
	le.PutUint32(b[84:], uint32(g.length))
	le.PutUint32(b[88:], crc32.ChecksumIEEE(table))
	sign(b)
}

// sign puts the right CRC into a header.
func sign(b []byte) {
	clear(b[16:20])
	binary.LittleEndian.PutUint32(b[16:], crc32.ChecksumIEEE(b[:92]))
}

// part is an entry of a GPT.
func part(first, last uint64) []byte {
	b := make([]byte, 128)
	copy(b, "\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4fedcba9876543210")
	binary.LittleEndian.PutUint64(b[32:], first)
	binary.LittleEndian.PutUint64(b[40:], last)
	return b
}

// entry is one of an MBR.
func entry(boot, kind byte, first, count uint32) []byte {
	b := make([]byte, 16)
	b[0], b[4] = boot, kind
	binary.LittleEndian.PutUint32(b[8:], first)
	binary.LittleEndian.PutUint32(b[12:], count)
	return b
}

// mbr is a sector with a table.
func mbr(entries ...[]byte) []byte {
	b := make([]byte, 512)
	for i, e := range entries {
		copy(b[446+16*i:], e)
	}
	copy(b[510:], "\x55\xaa")
	return b
}

// on puts parts at offsets into a disk of zeros.
func on(size int, parts ...any) []byte {
	b := make([]byte, size)
	for ; len(parts) > 0; parts = parts[2:] {
		copy(b[parts[0].(int):], parts[1].([]byte))
	}
	return b
}

func look(t *testing.T, b []byte, o content.Options) content.Summary {
	t.Helper()
	s, err := content.Inspect(t.Context(), bytes.NewReader(b), int64(len(b)), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestGPT is of tables that sfdisk cannot make.
func TestGPT(t *testing.T) {
	good := gpt{sector: 512, blocks: 4096, entries: part(2048, 2055)}
	change := func(g gpt, f func(b []byte)) []byte {
		b := g.bytes()
		f(b)
		return b
	}
	end := 4095 * 512
	for _, c := range []struct {
		name     string
		disk     []byte
		want     string // the partitions
		problems []string
	}{
		{"good", good.bytes(), "1 [1048576,+4096)", nil},
		{"sectors of 4096", gpt{sector: 4096, blocks: 512, entries: part(256, 257)}.bytes(), "1 [1048576,+8192)", nil},
		{"entries of 256 bytes", gpt{sector: 512, blocks: 4096, length: 256, count: 64, entries: part(2048, 2055)}.bytes(), "1 [1048576,+4096)", nil},
		{"header damaged", change(good, func(b []byte) { b[600]++ }), "1 [1048576,+4096)", []string{"GPT header at 512: its CRC is", "the backup"}},
		{"header gone", change(good, func(b []byte) { clear(b[512:1024]) }), "1 [1048576,+4096)", []string{"no header of one", "the backup"}},
		{"entries damaged", change(good, func(b []byte) { b[1024+33]++ }), "1 [1048576,+4096)", []string{"GPT entries at 1024: their CRC is", "the backup"}},
		{"backup damaged", change(good, func(b []byte) { b[end+20]++ }), "1 [1048576,+4096)", []string{"no backup of the GPT at the end of the disk, where"}},
		{"made larger", append(good.bytes(), make([]byte, 1<<20)...), "1 [1048576,+4096)", []string{"(it is said to be in block 4095, the last is 6143): the disk was made larger"}},
		{"cut", good.bytes()[:3<<19], "1 [1048576,+4096)", []string{"the disk was cut"}},
		{"both headers damaged", change(good, func(b []byte) { b[600]++; b[end+20]++ }), "", []string{"GPT header at 512: its CRC"}},
		{"both entries damaged", change(good, func(b []byte) { b[1024+33]++; b[end-32*512+40]++ }), "", []string{"their CRC is", "partition 1 has the blocks 2304 to 2055"}},
		{"block of itself wrong", change(good, func(b []byte) { b[512+24] = 7; sign(b[512:1024]) }), "1 [1048576,+4096)", []string{"says that it is block 7", "the backup"}},
		{"length of header 0", change(good, func(b []byte) { b[512+12] = 0; b[end+20]++ }), "", []string{"its length is 0, not 92 to 512"}},
		{"length of header 4 GiB", change(good, func(b []byte) { copy(b[512+12:], "\xff\xff\xff\xff"); b[end+20]++ }), "", []string{"its length is 4294967295"}},
		{"no MBR", gpt{sector: 512, blocks: 4096, entries: part(2048, 2055), noMBR: true}.bytes(), "1 [1048576,+4096)", []string{"no MBR says"}},
		{"blocks in reverse", gpt{sector: 512, blocks: 4096, entries: part(2055, 2048)}.bytes(), "", []string{"partition 1 has the blocks 2055 to 2048"}},
		{"blocks past all numbers", gpt{sector: 512, blocks: 4096, entries: part(1<<62, 1<<63)}.bytes(), "", []string{"partition 1 has the blocks"}},
		{"past the end", gpt{sector: 512, blocks: 4096, entries: append(part(2048, 1<<40), part(1<<40, 1<<41)...)}.bytes(), "1 [1048576,+562949952373248) 2 [562949953421312,+562949953421824)",
			[]string{"partition 1 ends at 562949953421824, the disk has 2097152 bytes", "partition 2 begins at 562949953421312"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := look(t, c.disk, content.Options{})
			if s.Table == nil || s.Table.Type != "gpt" || s.Blank || s.Partial {
				t.Fatalf("got %+v", s)
			}
			var list []string
			for _, p := range s.Table.Partitions {
				list = append(list, fmt.Sprintf("%d [%d,+%d)", p.Number, p.Start, p.Size))
			}
			if got := strings.Join(list, " "); got != c.want {
				t.Errorf("partitions %q, want %q", got, c.want)
			}
			wantProblems(t, s, c.problems)
		})
	}
}

func wantProblems(t *testing.T, s content.Summary, want []string) {
	t.Helper()
	if len(s.Problems) != len(want) {
		t.Fatalf("problems %q, want %q", s.Problems, want)
	}
	for i, w := range want {
		if !strings.Contains(s.Problems[i], w) {
			t.Errorf("problem %q, want %q", s.Problems[i], w)
		}
	}
}

// TestBounds is of tables that would be long to read.
func TestBounds(t *testing.T) {
	huge := gpt{sector: 512, blocks: 4096, entriesAt: 2}
	b := huge.bytes()
	for _, h := range []int{512, 4095 * 512} {
		binary.LittleEndian.PutUint32(b[h+80:], 1<<32-1)
		binary.LittleEndian.PutUint32(b[h+84:], 4096)
		sign(b[h : h+512])
	}
	s := look(t, b, content.Options{})
	wantProblems(t, s, []string{"4294967295 of 4096 bytes each, of which 131072 bytes are looked at"})

	many := gpt{sector: 512, blocks: 8192, count: 1000}
	for i := range 1000 {
		many.entries = append(many.entries, part(uint64(3000+i), uint64(3000+i))...)
	}
	s = look(t, many.bytes(), content.Options{})
	if len(s.Table.Partitions) != content.MaxPartitions || s.Table.More != 1000-content.MaxPartitions {
		t.Fatalf("%d partitions, %d more", len(s.Table.Partitions), s.Table.More)
	}
	c := &counter{r: bytes.NewReader(many.bytes())}
	s, err := content.Inspect(t.Context(), c, 8192*512, content.Options{Budget: 200 << 10})
	if err != nil || !s.Partial || c.n > 200<<10 || c.n < 100<<10 {
		t.Fatalf("read %d bytes, partial %v: %v", c.n, s.Partial, err)
	}
}

type counter struct {
	r io.ReaderAt
	n int
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	c.n += len(p)
	return c.r.ReadAt(p, off)
}

// TestMBR is of tables that sfdisk cannot make.
func TestMBR(t *testing.T) {
	ext := on(1<<20, 1024, ext2())
	chain := on(1<<20, 0, mbr(nil, entry(0, 5, 100, 1000)))
	for i := range 900 { // each link names the next, and nothing else
		copy(chain[(100+i)*512:], mbr(entry(0, 5, uint32(i+1), 1)))
	}
	for _, c := range []struct {
		name     string
		disk     []byte
		table    string
		fs       string
		problems []string
	}{
		{"loop of one", on(1<<20, 0, mbr(entry(0, 5, 100, 1000)), 100*512, mbr(entry(0, 0x83, 1, 1), entry(0, 5, 0, 10))), "1 5", "", []string{"its chain comes back to the link at 51200"}},
		{"loop of two", on(1<<20, 0, mbr(entry(0, 5, 100, 1000)), 100*512, mbr(entry(0, 0x83, 1, 1), entry(0, 5, 50, 10)), 150*512, mbr(entry(0, 5, 0, 10))),
			"1 5", "", []string{"comes back"}},
		{"links of nothing", chain, "2", "", []string{"its chain goes on behind 256 links"}},
		{"link past the end", on(1<<20, 0, mbr(entry(0, 5, 100, 4000)), 100*512, mbr(nil, entry(0, 5, 3000, 10))), "1", "", []string{"partition 1 ends at"}},
		{"link without a table", on(1<<20, 0, mbr(entry(0, 5, 100, 1000))), "1", "", []string{"no table at 51200"}},
		{"past the end", on(1<<20, 0, mbr(entry(0x80, 0x83, 1, 1<<32-1), entry(0, 0x83, 1<<32-1, 1<<32-1))), "1 2", "", []string{"partition 1 ends", "partition 2 begins at 2199023255040"}},
		{"filesystem before a partition", on(1<<20, 0, mbr(entry(0, 0x83, 100, 8)), 1024, ext2()), "1", "ext2", nil},
		{"neither bootable nor not", on(1<<20, 0, mbr(entry(1, 0x83, 100, 8))), "", "", nil},
		{"no mark", on(1<<20, 446, entry(0, 0x83, 100, 8)), "", "", nil},
		{"protective, no GPT", on(1<<20, 0, mbr(entry(0, 0xee, 1, 2047))), "", "", []string{"no header of one"}},
		{"filesystem alone", ext, "", "ext2", nil},
		{"of an odd size", on(1<<20+77, 0, mbr(entry(0, 0xee, 1, 2047))), "", "", []string{"no header of one"}},
		{"one sector", mbr(entry(0, 0x83, 1, 1)), "1", "", []string{"partition 1 begins at 512"}},
		{"500 bytes", make([]byte, 500), "", "", nil},
		{"nothing", nil, "", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := look(t, c.disk, content.Options{})
			var numbers []string
			if s.Table != nil {
				for _, p := range s.Table.Partitions {
					numbers = append(numbers, fmt.Sprint(p.Number))
				}
			}
			if got := strings.Join(numbers, " "); got != c.table {
				t.Errorf("partitions %q, want %q", got, c.table)
			}
			if fs := s.Filesystem; (fs != nil) != (c.fs != "") || fs != nil && fs.Type != c.fs {
				t.Errorf("filesystem %+v, want %q", fs, c.fs)
			}
			wantProblems(t, s, c.problems)
		})
	}
}

// ext2 is as much of a superblock as is looked at.
func ext2() []byte {
	b := make([]byte, 1024)
	b[56], b[57] = 0x53, 0xef
	return b
}

// TestMembers is of what no tool here makes in a file.
func TestMembers(t *testing.T) {
	pair := func(name string, kind uint32, value []byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(name)))
		b = append(b, name...)
		b = append(b, make([]byte, -len(name)&3)...)
		b = append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, kind), 1), value...)
		head := binary.BigEndian.AppendUint32(nil, uint32(len(b)+8))
		return append(append(head, 0, 0, 0, 64), b...)
	}
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	zfs := bytes.Join([][]byte{{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, pair("version", 8, number(5000)), pair("name", 9, []byte("\x00\x00\x00\x04tank")),
		pair("state", 8, number(0)), pair("pool_guid", 8, number(1234567890123456789))}, nil)
	lvm := append([]byte("LABELONE\x01\x00\x00\x00\x00\x00\x00\x00crc.\x20\x00\x00\x00LVM2 001abcdefGHIJklmn0123opqr4567stuvwx"), number(0)...)
	binary.LittleEndian.PutUint64(lvm[64:], 1<<30)
	raid := append([]byte("\xfc\x4e\x2b\xa9\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x000123456789abcdefhost:0"), make([]byte, 200)...)
	for _, c := range []struct {
		name string
		disk []byte
		want content.Filesystem
	}{
		{"zfs", on(1<<20, 16<<10, zfs), content.Filesystem{Type: "zfs_member", Version: "5000", Label: "tank", UUID: "1234567890123456789"}},
		{"lvm", on(1<<20, 512, lvm), content.Filesystem{Type: "LVM2_member", Version: "LVM2 001", UUID: "abcdef-GHIJ-klmn-0123-opqr-4567-stuvwx", Size: 1 << 30}},
		{"raid 1.1", on(1<<20, 0, raid), content.Filesystem{Type: "linux_raid_member", Version: "1.1", Label: "host:0", UUID: "30313233-3435-3637-3839-616263646566"}},
		{"raid 1.2", on(1<<20, 4096, raid), content.Filesystem{Type: "linux_raid_member", Version: "1.2", Label: "host:0", UUID: "30313233-3435-3637-3839-616263646566"}},
		{"BitLocker", on(1<<20, 3, []byte("-FVE-FS-")), content.Filesystem{Type: "BitLocker"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := look(t, c.disk, content.Options{})
			if s.Filesystem == nil || *s.Filesystem != c.want {
				t.Fatalf("got %+v, want %+v", s.Filesystem, c.want)
			}
		})
	}
}

func TestBlank(t *testing.T) {
	if s := look(t, make([]byte, 1<<20), content.Options{}); !s.Blank {
		t.Errorf("zeros: %+v", s)
	}
	if s := look(t, on(1<<20, 5, []byte("x")), content.Options{}); s.Blank || s.Filesystem != nil || s.Table != nil {
		t.Errorf("something: %+v", s)
	}
}

// TestPrefix is of a disk of which only the start is known.
func TestPrefix(t *testing.T) {
	b := gpt{sector: 512, blocks: 4096, entries: part(2048, 2055)}.bytes()
	for _, size := range []int64{-1, int64(len(b))} {
		s, err := content.Inspect(t.Context(), bytes.NewReader(b[:64<<10]), size, content.Options{})
		if err != nil || s.Table == nil || len(s.Table.Partitions) != 1 || !s.Partial || s.Problems != nil {
			t.Errorf("size %d: %+v, %v", size, s, err)
		}
	}
}

func TestErrors(t *testing.T) {
	bad := errors.New("broken")
	if _, err := content.Inspect(t.Context(), readerAt{iotest.ErrReader(bad)}, 1<<20, content.Options{}); !errors.Is(err, bad) {
		t.Errorf("broken from the start: %v", err)
	}
	b := gpt{sector: 512, blocks: 4096, entries: part(2048, 2055)}.bytes()
	s, err := content.Inspect(t.Context(), brokenAt{bytes.NewReader(b), 1 << 20}, int64(len(b)), content.Options{})
	if err != nil {
		t.Fatal(err)
	}
	wantProblems(t, s, []string{"the last sector at 2096640 cannot be read: broken", "no backup", "content at 1048576 cannot be read: broken"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := content.Inspect(ctx, bytes.NewReader(b), int64(len(b)), content.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type readerAt struct{ io.Reader }

func (r readerAt) ReadAt(p []byte, _ int64) (int, error) { return r.Read(p) }

// brokenAt cannot read at and behind an offset.
type brokenAt struct {
	io.ReaderAt
	off int64
}

func (b brokenAt) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.off {
		return 0, errors.New("broken")
	}
	return b.ReaderAt.ReadAt(p, off)
}
