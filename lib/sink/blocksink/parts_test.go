package blocksink

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHold(t *testing.T) {
	const mi = 1 << 20
	for _, tt := range []struct {
		name                 string
		device, size, sector int64
		want                 [][2]int64
	}{
		{"nothing", 0, 0, 512, nil},
		{"one sector", 512, 0, 512, [][2]int64{{0, 512}}},
		{"less than both ends", 2*mi - 512, -1, 512, [][2]int64{{0, 2*mi - 512}}},
		{"unknown", 10 * mi, -1, 512, [][2]int64{{0, mi}, {9 * mi, 10 * mi}}},
		{"all of the device", 10 * mi, 10 * mi, 512, [][2]int64{{0, mi}, {9 * mi, 10 * mi}}},
		{"apart", 10 * mi, 5 * mi, 512, [][2]int64{{0, mi}, {4 * mi, 5 * mi}, {9 * mi, 10 * mi}}},
		{"not whole sectors", 10 * mi, 5*mi + 5, 4096, [][2]int64{{0, mi}, {4 * mi, 5*mi + 4096}, {9 * mi, 10 * mi}}},
		{"shorter than the first", 10 * mi, 1000, 512, [][2]int64{{0, mi}, {9 * mi, 10 * mi}}},
		{"touching the first", 10 * mi, 2 * mi, 512, [][2]int64{{0, 2 * mi}, {9 * mi, 10 * mi}}},
		{"touching the last", 10 * mi, 9*mi + 512, 512, [][2]int64{{0, mi}, {8*mi + 512, 10 * mi}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got [][2]int64
			for _, r := range hold(tt.device, tt.size, tt.sector) {
				got = append(got, [2]int64{r.off, r.end()})
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCoverUnits(t *testing.T) {
	for _, tt := range []struct{ size, sector, unit int64 }{
		{0, 512, 4096}, {512, 512, 4096}, {1 << 30, 65536, 65536}, {128 << 30, 512, 4096},
		{128<<30 + 512, 512, 8192}, {64 << 40, 512, 2 << 20}, {1 << 60, 4096, 32 << 30},
	} {
		c := newCover(tt.size, tt.sector, nil)
		if c.unit != tt.unit || len(c.full) > maxLeaves || c.most < minPartials {
			t.Errorf("%d bytes: unit %d with %d leaves, up to %d partial; want unit %d", tt.size, c.unit, len(c.full), c.most, tt.unit)
		}
		if mem := int64(c.most) * (c.unit / c.sector / 8); tt.size <= 64<<40 && mem > 2*partialMem {
			t.Errorf("%d bytes: %d bytes for partial units", tt.size, mem)
		}
	}
}

func blankBytes(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// FuzzCover compares with a plain array: 0 old, 1 of the disk.
func FuzzCover(f *testing.F) {
	f.Add(uint8(40), []byte{1, 2, 9, 3, 0, 200, 7, 7})
	f.Add(uint8(255), []byte{0, 1, 2, 1, 4, 1, 8, 1, 16, 1, 32, 1, 64, 1, 128, 1})
	f.Fuzz(func(t *testing.T, sectors uint8, ops []byte) {
		const sector = 512
		n := int64(sectors) + 1
		model := make([]bool, n)
		c := newCover(n*sector, sector, func(off, k int64) error {
			for s := off / sector; s < (off+k)/sector; s++ {
				if model[s] {
					t.Fatalf("sector %d is zeroed, and was written", s)
				}
				model[s] = true
			}
			return nil
		})
		c.unit, c.most = 8*sector, 2
		for ; len(ops) >= 2; ops = ops[2:] {
			from := int64(ops[0]) % n
			k := min(int64(ops[1])%32+1, n-from)
			old := model[from]
			for s := from; s < from+k; s++ {
				model[s] = true
			}
			was, err := c.mark(from*sector, k*sector)
			if err != nil || was != old {
				t.Fatalf("mark [%d,+%d): %v, %v, want %v", from, k, was, err, old)
			}
			if len(c.partial) > c.most || len(c.queue) > 2*c.most+2 {
				t.Fatalf("%d partial units, %d in the queue", len(c.partial), len(c.queue))
			}
		}
		if err := c.settle(); err != nil {
			t.Fatal(err)
		}
		edge := (n / 2) * sector
		c.clearFrom(edge)
		for s := roundUp(edge, c.unit) / sector; s < n; s++ {
			model[s] = false
		}
		got := make([]bool, n)
		for i := range got {
			got[i] = true
		}
		for off := int64(0); ; {
			from, to := c.next(off)
			if from == to {
				break
			}
			for s := from / sector; s < to/sector; s++ {
				got[s] = false
			}
			off = to
		}
		if diff := cmp.Diff(model, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestSettleWaits: while the rest of a unit is being zeroed nobody writes into it.
func TestSettleWaits(t *testing.T) {
	const sector, n = 512, 4096
	var mu sync.Mutex
	state := make([]byte, n) // 0 old, 1 zeroed, 2 written
	c := newCover(n*sector, sector, func(off, k int64) error {
		for s := off / sector; s < (off+k)/sector; s++ {
			mu.Lock()
			if state[s] == 2 {
				t.Errorf("sector %d was written, and zeroed after it", s)
			}
			state[s] = 1
			mu.Unlock()
		}
		return nil
	})
	c.most = 3
	var wg sync.WaitGroup
	for g := range int64(4) {
		wg.Go(func() {
			for i := range int64(n / 4) {
				s := (i*4 + g) * 1117 % n
				if _, err := c.mark(s*sector, sector); err != nil {
					t.Error(err)
				}
				mu.Lock()
				state[s] = 2
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if i := bytes.IndexFunc(state, func(r rune) bool { return r != 2 }); i >= 0 {
		t.Errorf("sector %d is %d", i, state[i])
	}
}

func TestRecognise(t *testing.T) {
	const size = 4 << 20
	at := func(off int64, magic string) func(b []byte) { return func(b []byte) { copy(b[off:], magic) } }
	for _, tt := range []struct {
		want   string
		sector int64
		make   func(b []byte)
	}{
		{"", 512, func([]byte) {}},
		{"", 512, func(b []byte) { copy(b, bytes.Repeat([]byte{0xa5}, len(b))) }},
		{"a boot sector or MBR partition table", 512, at(510, "\x55\xaa")},
		{"a GPT partition table", 512, func(b []byte) { copy(b[510:], "\x55\xaaEFI PART") }},
		{"a GPT partition table", 4096, at(4096, "EFI PART")},
		{"the backup of a GPT partition table", 512, at(size-512, "EFI PART")},
		{"the backup of a GPT partition table", 4096, at(size-4096, "EFI PART")},
		{"an ext filesystem", 512, at(1080, "\x53\xef")},
		{"an XFS filesystem", 512, at(0, "XFSB")},
		{"a btrfs filesystem", 512, at(65600, "_BHRfS_M")},
		{"an LVM physical volume", 512, at(512, "LABELONE")},
		{"a LUKS volume", 512, at(0, "LUKS\xba\xbe\x00\x02")},
		{"swap space", 512, at(4086, "SWAPSPACE2")},
		{"swap space", 512, at(65526, "SWAPSPACE2")},
		{"a member of an MD RAID", 512, at(4096, "\xfc\x4e\x2b\xa9")},
		{"a member of an MD RAID", 512, at(size-65536, "\xfc\x4e\x2b\xa9")},
		{"a member of an MD RAID", 512, at(size-8192, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00")},
	} {
		b := make([]byte, size)
		tt.make(b)
		if got, err := recognise(bytes.NewReader(b), size, tt.sector); err != nil || got != tt.want {
			t.Errorf("%q, %v, want %q", got, err, tt.want)
		}
	}
	for n := int64(0); n < 3<<20; n = n*2 + 512 { // no size is too small to look at
		if got, err := recognise(bytes.NewReader(make([]byte, n)), n, 512); got != "" || err != nil {
			t.Errorf("%d zeros: %q, %v", n, got, err)
		}
	}
	if _, err := recognise(strings.NewReader("short"), 1<<20, 512); err == nil {
		t.Error("a device that ends before its size: no error")
	}
}

func TestSharedSectors(t *testing.T) {
	// Parts of one sector from many goroutines, and neighbours.
	m := newMem(8<<20, 4096)
	d := openMem(t, m, 8<<20)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for off := 3<<20 + g*100; off < 4<<20; off += 800 {
				n := min(100, 4<<20-off)
				if _, err := d.WriteAt(want[off:off+n], int64(off)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	clear(want[:3<<20])
	clear(want[4<<20:])
	if err := d.Commit(t.Context(), 8<<20); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.durable, want) {
		t.Error("the disk differs")
	}
}
