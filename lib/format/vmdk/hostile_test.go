package vmdk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/limits"
)

// A hostile image is a good one with a lie in it.
type hostile struct {
	name string
	file crafted
	want error // nil: it reads
	says string
}

func sparseHostiles() []hostile {
	c, _ := craftSparse()
	const n = craftSize / sector
	desc := func(s string) crafted { return c.text(sector, s+strings.Repeat("\x00", 2*sector-len(s))) }
	good := descriptorText("monolithicSparse", fmt.Sprintf("RW %d SPARSE \"x.vmdk\"", n))
	bad, big, no := errdef.ErrCorrupt, errdef.ErrLimit, errdef.ErrUnsupported
	return []hostile{
		{"empty file", nil, no, "magic"},
		{"magic only", c[:4], bad, "past the end"},
		{"cut in the header", c[:511], bad, "past the end"},
		{"cut behind the header", c[:512], bad, "past the end"},
		{"version 0", c.u32(4, 0), bad, "version 0"},
		{"version 4", c.u32(4, 4), no, "version 4"},
		{"version 1 with zeroed grains", c.u32(4, 1), nil, ""},
		{"unknown flag", c.u32(8, 1<<18), no, "unknown flags"},
		{"low flag", c.u32(8, 1<<9|flagZeroGrains), nil, ""},
		{"text mode", c.text(73, "\n \n\x00"), bad, "transferred as text"},
		{"capacity 0", c.u64(12, 0), no, "capacity 0"},
		{"capacity of 2^64-1", c.u64(12, math.MaxUint64), bad, "capacity"},
		{"capacity of 2^63 bytes", c.u64(12, 1<<54), bad, "capacity"},
		{"capacity of 2^62 bytes", c.u64(12, 1<<53), big, "virtual size"},
		{"capacity of 64 TiB", c.u64(12, 1<<37), bad, "grain directory at 1536"},
		{"capacity more than the directory", c.u64(12, 1<<31), bad, "past the end"},
		{"grain of 0", c.u64(20, 0), bad, "grain size of 0"},
		{"grain of 4", c.u64(20, 4), bad, "grain size of 4"},
		{"grain of 12", c.u64(20, 12), bad, "no power of two"},
		{"grain of 2^22", c.u64(20, 1<<22), bad, "grain size of 4194304"},
		{"grain of 2^63", c.u64(20, 1<<63), bad, "grain size"},
		{"table of 0", c.u32(44, 0), no, "tables of 0"},
		{"table of 1024", c.u32(44, 1024), no, "tables of 1024"},
		{"algorithm 2", c.text(77, "\x02"), no, "algorithm 2"},
		{"algorithm without flag", c.text(77, "\x01"), bad, "disagrees"},
		{"flag without algorithm", c.u32(8, flagCompressed), bad, "disagrees"},
		{"overhead past the end", c.u64(64, 1<<20), bad, "metadata of 1048576"},
		{"overhead of 2^64-1", c.u64(64, math.MaxUint64), bad, "metadata"},
		{"directory at 0", c.u64(56, 0), bad, "directory at sector 0"},
		{"directory past the end", c.u64(56, 1<<30), bad, "past the end"},
		{"directory at 2^63", c.u64(56, 1<<63), bad, "directory at sector"},
		{"directory in the descriptor", c.u64(56, 2), bad, "overlaps the descriptor"},
		{"footer that is none", c.u64(56, gdAtEnd), bad, "footer"},
		{"table past the end", c.u32(atGD*sector, 1<<31), bad, "past the end"},
		{"table in the header", c.u32(atGD*sector, 0), nil, ""}, // is no table
		{"table over the directory", c.u32(atGD*sector, 2), bad, "overlaps"},
		{"table used twice", c.u32(atGD*sector+4, atGT0), bad, "overlap"},
		{"tables overlap", c.u32(atGD*sector+4, atGT0+3), bad, "overlap"},
		{"tables overlap, descending", c.u32(atGD*sector, atGT1+1), bad, "overlap"},
		{"grain past the end", c.gte(9, 1<<31), bad, "past the end"},
		{"grain partly past the end", c.gte(9, atGrains+6*8), bad, "past the end"},
		{"grain is the header", c.u32(8, 0).gte(5, 1), bad, "overlaps the descriptor"},
		{"grain over the directory", c.gte(9, 3), bad, "overlaps the grain directory"},
		{"grain in front of the directory", c.gte(9, 1), nil, ""},       // a zeroed grain
		{"grain is a table", c.gte(9, atGT0), nil, ""},                  // harmless
		{"zeroed grain without its flag", c.u32(8, 0), bad, "overlaps"}, // it would be the descriptor
		{"no descriptor", c.u64(28, 0), no, "has no descriptor"},
		{"descriptor of nothing", c.u64(36, 0), no, "has no descriptor"},
		{"descriptor past the end", c.u64(28, 1<<20), bad, "past the end"},
		{"descriptor at 2^63", c.u64(28, 1<<63), bad, "descriptor at sector"},
		{"descriptor of 2^63", c.u64(36, 1<<63), bad, "embedded descriptor"},
		{"descriptor of 2 MiB", c.u64(36, 4096), bad, "embedded descriptor"},
		{"descriptor of zeros", desc(""), bad, "empty"},
		{"descriptor of garbage", desc("\xff\xfe\x01"), bad, "line 1"},
		{"delta", desc(strings.Replace(good, "ffffffff", "12345678", 1)), no, "delta"},
		{"delta by its hint", desc(good + "parentFileNameHint=\"/etc/passwd\"\n"), no, `parent "/etc/passwd"`},
		{"encrypted", desc(good + "encryptionKeys = \"vmware:key/list\"\n"), no, "encrypted"},
		{"encrypted by a filter", desc(good + "ddb.iofilters = \"vmwarevmcrypt\"\n"), no, "encrypted"},
		{"one of two extents", desc(good + "RW 8 SPARSE \"y.vmdk\"\n"), no, "one of the 2 extents"},
		{"descriptor version 4", desc(strings.Replace(good, "version=1", "version=4", 1)), no, "descriptor version 4"},
		{"descriptor version twice", desc(good + "version=1\n"), bad, "twice"},
	}
}

func streamHostiles() []hostile {
	bad := errdef.ErrCorrupt
	with := func(f func(*streamEdit)) crafted {
		c, _ := craftStream(streamShape{edit: f})
		return c
	}
	good, _ := craftStream(streamShape{})
	end := len(good)
	return []hostile{
		{"cut by a sector", good[:end-sector], bad, "footer"},
		{"cut by a byte", good[:end-1], bad, "footer"},
		{"longer by a sector", append(bytes.Clone(good), make([]byte, sector)...), bad, "footer"},
		{"longer by a byte", append(bytes.Clone(good), 0), bad, "footer"},
		{"no end-of-stream marker", with(func(e *streamEdit) { e.noEOS = true }), bad, "footer"},
		{"grains of 4 MiB", good.u64(20, 8192), errdef.ErrUnsupported, "compressed grains of 4194304"},
		{"footer of another size", with(func(e *streamEdit) { e.footer = func(c crafted) crafted { return c.u64(12, 8) } }), bad, "disagree"},
		{"footer of another grain", with(func(e *streamEdit) { e.footer = func(c crafted) crafted { return c.u64(20, 16) } }), bad, "disagree"},
		{"footer without magic", with(func(e *streamEdit) { e.footer = func(c crafted) crafted { return c.u32(0, 0) } }), bad, "footer"},
		{"footer tells of another", with(func(e *streamEdit) { e.footer = func(c crafted) crafted { return c.u64(56, gdAtEnd) } }), bad, "without a grain directory"},
		{"grain's marker tells 0", with(func(e *streamEdit) { e.entry = func(_, i int, at uint32) uint32 { return at + 1 } }), bad, "compressed grain"},
		{"grain's marker tells too much", good.u32(8*sector+8, 1<<20), bad, "tells 1048576 bytes"},
		{"grain is no zlib", good.text(8*sector+12, "\x78\x9d"), bad, "no zlib"},
		{"grain wants a dictionary", good.text(8*sector+12, "\x78\xbb"), bad, "no zlib"},
		{"grain is damaged", good.text(8*sector+100, "\xff\xff\xff\xff"), bad, "compressed grain"},
		{"grain is cut", good.u32(8*sector+8, 300), bad, "compressed grain ends after"},
		{"grain inflates beyond a grain", with(func(e *streamEdit) { e.body = bomb(1, craftGrain+1) }), bad, "compressed grain"},
		{"grain inflates to 16 MiB", with(func(e *streamEdit) { e.body = bomb(1, 16<<20) }), bad, "compressed grain"},
		{"grain inflates to less", with(func(e *streamEdit) { e.body = bomb(1, craftGrain-1) }), bad, "compressed grain"},
		{"grain inflates to nothing", with(func(e *streamEdit) { e.body = bomb(1, 0) }), bad, "compressed grain"},
		{"grain has no checksum", good.u32(8*sector+8, binaryU32(good[8*sector+8:])-2), bad, "checksum"},
		{"grain past the end", with(func(e *streamEdit) {
			e.entry = func(t, i int, at uint32) uint32 {
				if i == 7 {
					return 1 << 30
				}
				return at
			}
		}), bad, "past the end"},
	}
}

// bomb replaces compressed grain i by n zeros.
func bomb(i, n int) func(int, []byte) []byte {
	return func(at int, p []byte) []byte {
		if at == i {
			return pack(make([]byte, n))
		}
		return p
	}
}

func binaryU32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// readAll opens a disk and reads all of it in every way; ways that disagree are a panic.
func readAll(t testing.TB, b []byte, o Options) ([]byte, error) {
	img, err := Open(t.Context(), bytes.NewReader(b), int64(len(b)), o)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	disk := make([]byte, img.Size())
	_, err = io.ReadFull(io.NewSectionReader(img, 0, img.Size()), disk)
	for off := int64(0); off < img.Size(); {
		x, e := img.NextExtent(off, img.Size())
		if e != nil {
			if err == nil {
				t.Fatalf("reads, but NextExtent(%d): %v", off, e)
			}
			return nil, err
		}
		if err == nil && x.Kind.IsZero() && !zero(disk[off:x.End()]) {
			t.Fatalf("%v extent [%d,%d) has data", x.Kind, x.Start, x.End())
		}
		off = x.End()
	}
	m, ok := img.(*Image)
	if !ok {
		return disk, err
	}
	byRuns := make([]byte, img.Size())
	for r, e := range m.Runs(0, img.Size()) {
		if e == nil && r.Packed {
			e = m.Unpack(byRuns[r.Guest:][:r.Length], b[r.Stored:][:r.StoredLength])
		} else if e == nil {
			copy(byRuns[r.Guest:][:r.Length], b[r.Stored:])
		}
		if e != nil {
			if err == nil {
				t.Fatalf("reads, but runs: %v", e)
			}
			return nil, err
		}
	}
	if err == nil && !bytes.Equal(disk, byRuns) {
		t.Fatal("runs give another disk")
	}
	return disk, err
}

// learnAll lets a Learner put the disk together.
func learnAll(b []byte, o Options) ([]byte, error) {
	return formattest.LearnDisk(NewLearner(o), b)
}

func check(t *testing.T, how string, err error, h hostile) {
	t.Helper()
	switch {
	case h.want == nil && err != nil:
		t.Errorf("%s: %v", how, err)
	case h.want == nil:
	case !errors.Is(err, h.want) || !strings.Contains(err.Error(), h.says):
		t.Errorf("%s: %v; want %v that says %q", how, err, h.want, h.says)
	}
}

func TestHostile(t *testing.T) {
	for _, h := range append(sparseHostiles(), streamHostiles()...) {
		t.Run(h.name, func(t *testing.T) {
			defer formattest.Frugal(t)()
			_, err := readAll(t, h.file, Options{Limits: limits.Limits{VirtualSize: 1 << 46}})
			check(t, "open", err, h)
			_, err = learnAll(h.file, Options{Limits: limits.Limits{VirtualSize: 1 << 46}})
			// What a Learner sees is the same, but it may see it in other words.
			if h.want == nil && err != nil || h.want != nil && err == nil {
				t.Errorf("learner: %v; want %v", err, h.want)
			}
		})
	}
}

// TestHostileStream has what only a reader of markers can see: the tables, by which Open goes, are right, or never looked at.
func TestHostileStream(t *testing.T) {
	nth := func(n int, f func(*marker)) func(*streamEdit) {
		return func(e *streamEdit) {
			e.marker = func(i int, m *marker) {
				if i == n {
					f(m)
				}
			}
		}
	}
	// Markers: 0 to 4 grains, 5 their table, 6 and 7 grains, 8 their table, 9 the directory, 10 the footer, 11 the end.
	for _, h := range []struct {
		name string
		edit func(*streamEdit)
		says string
	}{
		{"good", nil, ""},
		{"grain of another place", nth(1, func(m *marker) { m.value = 80 }), "is not that of the grains"},
		{"grain inside of a grain", nth(1, func(m *marker) { m.value++ }), "grain of sector 17"},
		{"grain past the end of the disk", nth(1, func(m *marker) { m.value = craftSize/sector + 7 }), "the disk has"},
		{"grain at 2^64-8", nth(1, func(m *marker) { m.value = math.MaxUint64 - 7 }), "the disk has"},
		{"grain twice", nth(1, func(m *marker) { m.value = 8 }), "twice"},
		{"grain of 4 GiB", nth(1, func(m *marker) { m.size = math.MaxUint32 }), "grain of 4294967295 bytes"},
		{"unknown marker", nth(5, func(m *marker) { m.kind = 4 }), "marker of kind 4"},
		{"end too early", nth(5, func(m *marker) { *m = marker{} }), "without a footer"},
		{"table of 5 sectors", nth(5, func(m *marker) { m.value = 5 }), "with 5 sectors"},
		{"directory of 2^63 sectors", nth(9, func(m *marker) { m.value = 1 << 63 }), "want 1"},
		{"footer of no sectors", nth(10, func(m *marker) { m.value = 0 }), "want 1"},
		{"end with sectors", nth(11, func(m *marker) { m.value = 1 }), "want 0"},
		{"no directory", func(e *streamEdit) { e.noGD = true }, "none has passed"},
		{"entry too many", func(e *streamEdit) {
			e.entry = func(t, i int, at uint32) uint32 {
				if t == 0 && i == 5 {
					return 8
				}
				return at
			}
		}, "is not that of the grains"},
		{"directory misses a table", func(e *streamEdit) {
			e.gd = func(i int, at uint32) uint32 { return at + uint32(1-i) }
		}, "where no grain table has passed"},
		{"directory forgets a table", func(e *streamEdit) {
			e.gd = func(i int, at uint32) uint32 { return at * uint32(1-i) }
		}, "is not that of the grains"},
		{"no end", func(e *streamEdit) { e.noEOS = true }, "passes the file"},
		{"trailing sector", func(e *streamEdit) { e.trailer = make([]byte, sector) }, "the stored file has"},
		{"trailing byte", func(e *streamEdit) { e.trailer = []byte{0} }, "the stored file has"},
	} {
		t.Run(h.name, func(t *testing.T) {
			defer formattest.Frugal(t)()
			c, _ := craftStream(streamShape{edit: h.edit})
			_, err := learnAll(c, Options{})
			if h.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, errdef.ErrCorrupt) || !strings.Contains(err.Error(), h.says) {
				t.Errorf("%v; want that it says %q", err, h.says)
			}
		})
	}
}
