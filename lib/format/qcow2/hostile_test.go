package qcow2

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/limits"
)

func TestCrafted(t *testing.T) {
	zlib, zlibDisk := craft(compressZlib)
	zstd, zstdDisk := craft(compressZstd)
	ext, extDisk := craftExtended()
	for _, c := range []struct {
		name     string
		img      crafted
		disk     []byte
		snapshot string
	}{
		{"zlib", zlib, zlibDisk, ""},
		{"zlib snapshot by name", zlib, zlibDisk, "one"},
		{"zlib snapshot by ID", zlib, zlibDisk, "1"},
		{"zstd", zstd, zstdDisk, ""},
		{"extended", ext, extDisk, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			blob := bytes.NewReader(c.img)
			formattest.Run(t, formattest.Suite{
				Open: func() (image.Image, error) {
					return Open(t.Context(), blob, blob.Size(), Options{Snapshot: c.snapshot})
				},
				Want: bytes.NewReader(c.disk), Size: int64(len(c.disk)), Blob: blob, BlobSize: blob.Size(),
			})
			formattest.RunLearner(t, formattest.LearnerSuite{
				New:  func() image.Learner { return NewLearner(Options{Snapshot: c.snapshot}) },
				Want: bytes.NewReader(c.disk), Size: int64(len(c.disk)), Blob: blob, BlobSize: blob.Size(),
			})
		})
	}
}

// A hostile image is a good one with a lie in it.
type hostile struct {
	name     string
	lie      func(c crafted) crafted
	snapshot string
	want     error  // nil: it reads
	says     string // in the error
}

var hostiles = []hostile{
	{name: "empty file", lie: func(c crafted) crafted { return nil }, want: errdef.ErrUnsupported, says: "magic"},
	{name: "magic only", lie: func(c crafted) crafted { return c[:8] }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "version 1", lie: func(c crafted) crafted { return c.u32(4, 1) }, want: errdef.ErrUnsupported, says: "version"},
	{name: "version 4", lie: func(c crafted) crafted { return c.u32(4, 4) }, want: errdef.ErrUnsupported, says: "version 4"},
	{name: "cluster bits 8", lie: func(c crafted) crafted { return c.u32(20, 8) }, want: errdef.ErrCorrupt, says: "cluster bits 8"},
	{name: "cluster bits 22", lie: func(c crafted) crafted { return c.u32(20, 22) }, want: errdef.ErrCorrupt, says: "cluster bits 22"},
	{name: "cluster bits 63", lie: func(c crafted) crafted { return c.u32(20, 63) }, want: errdef.ErrCorrupt, says: "cluster bits 63"},
	{name: "cluster bits 2^32-1", lie: func(c crafted) crafted { return c.u32(20, math.MaxUint32) }, want: errdef.ErrCorrupt, says: "cluster bits"},
	{name: "size above 2^63", lie: func(c crafted) crafted { return c.u64(24, 1<<63) }, want: errdef.ErrCorrupt, says: "above 2^63"},
	{name: "size of 2^63-1", lie: func(c crafted) crafted { return c.u64(24, math.MaxInt64) }, want: errdef.ErrLimit, says: "virtual size"},
	{name: "size more than L1", lie: func(c crafted) crafted { return c.u64(24, 1<<30) }, want: errdef.ErrCorrupt, says: "too small"},
	{name: "size 0", lie: func(c crafted) crafted { return c.u64(24, 0) }},
	{name: "L1 of 1 GiB", lie: func(c crafted) crafted { return c.u32(36, 1<<27) }, want: errdef.ErrCorrupt, says: "too large"},
	{name: "L1 of 2^32-1 entries", lie: func(c crafted) crafted { return c.u32(36, math.MaxUint32) }, want: errdef.ErrCorrupt, says: "too large"},
	{name: "L1 of 32 MiB past the end", lie: func(c crafted) crafted { return c.u32(36, 4<<20).u64(24, 8<<40) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "L1 empty", lie: func(c crafted) crafted { return c.u32(36, 0) }, want: errdef.ErrCorrupt, says: "too small"},
	{name: "L1 unaligned", lie: func(c crafted) crafted { return c.u64(40, atL1+512) }, want: errdef.ErrCorrupt, says: "L1 table offset"},
	{name: "L1 at 0", lie: func(c crafted) crafted { return c.u64(40, 0) }, want: errdef.ErrCorrupt, says: "L1 table offset"},
	{name: "L1 past the end", lie: func(c crafted) crafted { return c.u64(40, 1<<40) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "L1 at 2^63", lie: func(c crafted) crafted { return c.u64(40, 1<<63) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "L1 at 2^64-4096", lie: func(c crafted) crafted { return c.u64(40, 1<<64-4096) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "L1 entry reserved low", lie: func(c crafted) crafted { return c.u64(atL1, atL2|1) }, want: errdef.ErrCorrupt, says: "reserved"},
	{name: "L1 entry reserved high", lie: func(c crafted) crafted { return c.u64(atL1, atL2|1<<56) }, want: errdef.ErrCorrupt, says: "reserved"},
	{name: "L1 entry bit 62", lie: func(c crafted) crafted { return c.u64(atL1, atL2|1<<62) }, want: errdef.ErrCorrupt, says: "reserved"},
	{name: "L2 unaligned", lie: func(c crafted) crafted { return c.u64(atL1, atL2+512) }, want: errdef.ErrCorrupt, says: "not aligned"},
	{name: "L2 past the end", lie: func(c crafted) crafted { return c.u64(atL1, 1<<50) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "L2 partly past the end", lie: func(c crafted) crafted { return c.u64(atL1, craftEnd) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "L2 is the L1", lie: func(c crafted) crafted { return c.u64(atL1, atL1) }, want: errdef.ErrCorrupt, says: "overlaps the L1 table"},
	{name: "L2 is the refcount table", lie: func(c crafted) crafted { return c.u64(atL1, atRefTable) }, want: errdef.ErrCorrupt, says: "overlaps the refcount"},
	{name: "L2 used twice", lie: func(c crafted) crafted {
		return c.u64(24, 1<<22).u32(36, 2).u64(atL1+8, copiedBit|atL2)
	}, want: errdef.ErrCorrupt, says: "used by two"},
	{name: "L1 entries descend", lie: func(c crafted) crafted {
		return c.u64(24, 1<<22).u32(36, 2).u64(atL1+8, copiedBit|2*craftCluster).l2(7, 0)
	}, want: errdef.ErrCorrupt, says: "past the end"}, // the refcount block is no L2 table
	{name: "L2 reserved low", lie: func(c crafted) crafted { return c.l2(1, atData|2) }, want: errdef.ErrCorrupt, says: "reserved"},
	{name: "L2 reserved high", lie: func(c crafted) crafted { return c.l2(1, atData|1<<61) }, want: errdef.ErrCorrupt, says: "reserved"},
	{name: "L2 without offset", lie: func(c crafted) crafted { return c.l2(5, copiedBit) }, want: errdef.ErrCorrupt, says: "without a host offset"},
	{name: "data unaligned", lie: func(c crafted) crafted { return c.l2(5, atData+512) }, want: errdef.ErrCorrupt, says: "not aligned"},
	{name: "data past the end", lie: func(c crafted) crafted { return c.l2(5, 1<<40) }, want: errdef.ErrCorrupt, says: "guest offset 20480: data cluster at host offset 1099511627776"},
	{name: "data at 2^56-4096", lie: func(c crafted) crafted { return c.l2(5, 1<<56-4096) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "data partly past the end", lie: func(c crafted) crafted { return c.l2(5, craftEnd) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "data is the L1", lie: func(c crafted) crafted { return c.l2(5, atL1) }, want: errdef.ErrCorrupt, says: "overlaps the L1 table"},
	{name: "data runs into the L1", lie: func(c crafted) crafted { return c.l2(5, atL1-craftCluster).l2(6, atL1) }, want: errdef.ErrCorrupt, says: "overlaps the L1 table"},
	{name: "data is the L2", lie: func(c crafted) crafted { return c.l2(5, atL2) }}, // harmless; only refcounts could tell
	{name: "zero unaligned", lie: func(c crafted) crafted { return c.l2(3, zeroBit|512) }, want: errdef.ErrCorrupt, says: "not aligned"},
	{name: "zero past the end", lie: func(c crafted) crafted { return c.l2(3, zeroBit|1<<40) }}, // is never read
	{name: "zero in version 2", lie: func(c crafted) crafted { return c.u32(4, 2).u32(72, 0) }, want: errdef.ErrCorrupt, says: "zero bit in version 2"},
	{name: "packed past the end", lie: func(c crafted) crafted { return c.l2(4, packedEntry(1<<30, 1)) }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "packed in the header", lie: func(c crafted) crafted { return c.l2(4, packedEntry(100, 1)) }, want: errdef.ErrCorrupt, says: "overlaps the header"},
	{name: "packed at the highest offset", lie: func(c crafted) crafted { return c.l2(4, packedEntry(1<<58-1, 16)) }, want: errdef.ErrCorrupt, says: "reserved"},
	{name: "packed is a table", lie: func(c crafted) crafted { return c.l2(4, packedEntry(atL2, 16)) }, want: errdef.ErrCorrupt, says: "compressed cluster"},
	{name: "packed too short", lie: func(c crafted) crafted { return c.l2(4, packedEntry(atPacked, 1)) }, want: errdef.ErrCorrupt, says: "compressed cluster ends after"},
	{name: "packed is noise", lie: func(c crafted) crafted { return c.l2(4, packedEntry(atData+1, 3)) }, want: errdef.ErrCorrupt, says: "guest offset 16384"},
	{name: "refcount order 7", lie: func(c crafted) crafted { return c.u32(96, 7) }, want: errdef.ErrCorrupt, says: "refcount order 7"},
	{name: "no refcount table", lie: func(c crafted) crafted { return c.u32(56, 0) }, want: errdef.ErrCorrupt, says: "no refcount table"},
	{name: "refcount table of 4 billion clusters", lie: func(c crafted) crafted { return c.u32(56, math.MaxUint32) }, want: errdef.ErrCorrupt, says: "refcount table"},
	{name: "refcount table unaligned", lie: func(c crafted) crafted { return c.u64(48, 1) }, want: errdef.ErrCorrupt, says: "refcount table"},
	{name: "refcount table at 2^64-4096", lie: func(c crafted) crafted { return c.u64(48, 1<<64-4096) }, want: errdef.ErrCorrupt, says: "refcount table"},
	{name: "header length 96", lie: func(c crafted) crafted { return c.u32(100, 96) }, want: errdef.ErrCorrupt, says: "header length 96"},
	{name: "header length 105", lie: func(c crafted) crafted { return c.u32(100, 105) }, want: errdef.ErrCorrupt, says: "header length 105"},
	{name: "header length 4 GiB", lie: func(c crafted) crafted { return c.u32(100, 1<<32-8) }, want: errdef.ErrCorrupt, says: "header length"},
	{name: "unknown feature", lie: func(c crafted) crafted { return c.u64(72, 1<<9) }, want: errdef.ErrUnsupported, says: "bit 9"},
	{name: "unknown feature with a name", lie: func(c crafted) crafted {
		c.u64(72, 1<<9).u32(112, extFeatureNames).u32(116, 48)
		c[121] = 9
		copy(c[122:], "time travel")
		return c
	}, want: errdef.ErrUnsupported, says: `"time travel" (bit 9)`},
	{name: "dirty and corrupt", lie: func(c crafted) crafted { return c.u64(72, bitDirty|bitCorrupt) }},
	{name: "unknown compatible features", lie: func(c crafted) crafted { return c.u64(80, 1<<40).u64(88, 1<<40) }},
	{name: "compression without bit", lie: func(c crafted) crafted { c[104] = 1; return c }, want: errdef.ErrCorrupt, says: "compression type 1"},
	{name: "compression bit without type", lie: func(c crafted) crafted { return c.u64(72, bitCompression) }, want: errdef.ErrCorrupt, says: "compression type 0"},
	{name: "compression 9", lie: func(c crafted) crafted { c[104] = 9; return c.u64(72, bitCompression) }, want: errdef.ErrUnsupported, says: "compression type 9"},
	{name: "zlib taken for zstd", lie: func(c crafted) crafted { c[104] = 1; return c.u64(72, bitCompression) }, want: errdef.ErrCorrupt, says: "no zstd frame"},
	{name: "extended with small clusters", lie: func(c crafted) crafted { return c.u64(72, bitExtendedL2) }, want: errdef.ErrCorrupt, says: "extended L2"},
	{name: "AES", lie: func(c crafted) crafted { return c.u32(32, 1) }, want: errdef.ErrUnsupported, says: "aes"},
	{name: "LUKS", lie: func(c crafted) crafted { return c.u32(32, 2) }, want: errdef.ErrUnsupported, says: "luks"},
	{name: "encryption 3", lie: func(c crafted) crafted { return c.u32(32, 3) }, want: errdef.ErrUnsupported, says: "encryption method 3"},
	{name: "external data file", lie: func(c crafted) crafted { return c.u64(72, bitDataFile) }, want: errdef.ErrUnsupported, says: "external data file"},
	{name: "raw data bit alone", lie: func(c crafted) crafted { return c.u64(88, bitDataFileRaw) }, want: errdef.ErrCorrupt, says: "raw external data"},
	{name: "backing file", lie: func(c crafted) crafted {
		copy(c[512:], "/etc/passwd")
		return c.u64(8, 512).u32(16, 11)
	}, want: errdef.ErrUnsupported, says: `backing file "/etc/passwd"`},
	{name: "backing name outside", lie: func(c crafted) crafted { return c.u64(8, 1<<40).u32(16, 11) }, want: errdef.ErrCorrupt, says: "outside"},
	{name: "backing name at 2^64-1", lie: func(c crafted) crafted { return c.u64(8, 1<<64-1).u32(16, 11) }, want: errdef.ErrCorrupt, says: "outside"},
	{name: "backing name in the header", lie: func(c crafted) crafted { return c.u64(8, 8).u32(16, 11) }, want: errdef.ErrCorrupt, says: "inside of the header"},
	{name: "backing name of 4 GiB", lie: func(c crafted) crafted { return c.u64(8, 512).u32(16, math.MaxUint32) }, want: errdef.ErrCorrupt, says: "too long"},
	{name: "backing name over the cluster's end", lie: func(c crafted) crafted { return c.u64(8, 4090).u32(16, 11) }, want: errdef.ErrCorrupt, says: "too long"},
	{name: "extension of 4 GiB", lie: func(c crafted) crafted { return c.u32(112, 0x12345678).u32(116, math.MaxUint32) }, want: errdef.ErrCorrupt, says: "header extension 0x12345678"},
	{name: "extension over the cluster's end", lie: func(c crafted) crafted { return c.u32(112, 0x12345678).u32(116, 4096) }, want: errdef.ErrCorrupt, says: "passes the end"},
	{name: "extension to the cluster's end", lie: func(c crafted) crafted { return c.u32(112, 0x12345678).u32(116, 4096-120) }},
	{name: "bitmaps extension too short", lie: func(c crafted) crafted { return c.u32(112, extBitmaps).u32(116, 8) }, want: errdef.ErrCorrupt, says: "want 24"},
	{name: "snapshots: 4 billion", lie: func(c crafted) crafted { return c.u32(60, math.MaxUint32) }, want: errdef.ErrCorrupt, says: "snapshots"},
	{name: "snapshot table past the end", lie: func(c crafted) crafted { return c.u64(64, 1<<40) }, snapshot: "one", want: errdef.ErrCorrupt, says: "past the end"},
	{name: "snapshot table at 2^64-4096", lie: func(c crafted) crafted { return c.u64(64, 1<<64-4096) }, snapshot: "one", want: errdef.ErrCorrupt, says: "past the end"},
	{name: "snapshot table unaligned", lie: func(c crafted) crafted { return c.u64(64, 8) }, snapshot: "one", want: errdef.ErrCorrupt, says: "snapshot table offset"},
	{name: "snapshot table runs off", lie: func(c crafted) crafted { return c.u32(60, 65536) }, snapshot: "two", want: errdef.ErrCorrupt, says: "snapshot"},
	{name: "snapshot extra data of 4 GiB", lie: func(c crafted) crafted { return c.u32(atSnaps+36, math.MaxUint32) }, snapshot: "one", want: errdef.ErrCorrupt, says: "extra data"},
	{name: "snapshot not there", lie: func(c crafted) crafted { return c }, snapshot: "two", want: errdef.ErrNotFound, says: `"two"`},
	{name: "no snapshots", lie: func(c crafted) crafted { return c.u32(60, 0) }, snapshot: "one", want: errdef.ErrNotFound, says: "no snapshots"},
	{name: "snapshots of one name", lie: func(c crafted) crafted {
		c.snapshot(atSnaps+64, atL1, "2", "one")
		return c.u32(60, 2)
	}, snapshot: "one", want: errdef.ErrUsage, says: "2 snapshots"},
	{name: "snapshot L1 past the end", lie: func(c crafted) crafted { return c.u64(atSnaps, 1<<40) }, snapshot: "one", want: errdef.ErrCorrupt, says: "past the end"},
	{name: "snapshot L1 of 4 billion entries", lie: func(c crafted) crafted { return c.u32(atSnaps+8, math.MaxUint32) }, snapshot: "one", want: errdef.ErrCorrupt, says: "too large"},
	{name: "snapshot size above 2^63", lie: func(c crafted) crafted { return c.u64(atSnaps+48, 1<<63) }, snapshot: "one", want: errdef.ErrCorrupt, says: "2^63"},
	{name: "snapshot size above L1", lie: func(c crafted) crafted { return c.u64(atSnaps+48, 1<<40) }, snapshot: "one", want: errdef.ErrCorrupt, says: "too small"},
	{name: "cut in the last cluster", lie: func(c crafted) crafted { return c[:len(c)-1] }, want: errdef.ErrCorrupt, says: "past the end"},
	{name: "cut in the compressed cluster", lie: func(c crafted) crafted { return c[:atPacked+10].l2(7, 0) }, want: errdef.ErrCorrupt, says: "compressed cluster ends after"},
	{name: "cut in the L2", lie: func(c crafted) crafted { return c[:atL2+100] }, want: errdef.ErrCorrupt, says: "past the end"},
}

// readAll opens an image and reads all of it in every way, also as a stream.
func readAll(t testing.TB, c []byte, o Options) ([]byte, error) {
	disk, err := readOpened(t, c, o)
	learnt, lerr := learnAll(t, c, o)
	if (lerr == nil) != (err == nil) && !errors.Is(lerr, errdef.ErrLimit) {
		t.Fatalf("learner: %v; but opened: %v", lerr, err)
	}
	if lerr == nil && !bytes.Equal(learnt, disk) {
		t.Fatal("what was learnt and ReadAt differ")
	}
	return disk, err
}

// learnAll puts the disk together from the runs of a Learner.
func learnAll(t testing.TB, c []byte, o Options) ([]byte, error) {
	l, blob := NewLearner(o), bytes.NewReader(c)
	runs, err := formattest.Learn(l, blob, blob.Size())
	if err == nil {
		err = l.Finish(blob.Size())
	}
	if err != nil {
		return nil, err
	}
	disk := make([]byte, l.Size())
	for _, r := range runs {
		if r.Guest < 0 || r.Length <= 0 || r.Guest+r.Length > l.Size() || r.Stored < 0 || !r.Packed && r.StoredEnd() > blob.Size() {
			t.Fatalf("bad run %+v", r)
		}
		stored := make([]byte, min(r.StoredLength, blob.Size()-r.Stored))
		if n, err := blob.ReadAt(stored, r.Stored); n < len(stored) {
			t.Fatalf("run %+v: %v", r, err)
		}
		if !r.Packed {
			copy(disk[r.Guest:], stored)
		} else if err := l.Unpack(disk[r.Guest:][:r.Length], stored); err != nil {
			return nil, err
		}
	}
	return disk, nil
}

func readOpened(t testing.TB, c []byte, o Options) ([]byte, error) {
	blob := bytes.NewReader(c)
	img, err := Open(t.Context(), blob, blob.Size(), o)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	disk := make([]byte, img.Size())
	n, err := img.ReadAt(disk, 0)
	if err == io.EOF && n == len(disk) {
		err = nil
	}
	for off := int64(0); off < img.Size(); {
		x, xerr := image.Next(img, off, math.MaxInt64)
		if xerr != nil {
			if err == nil {
				t.Fatalf("extent at %d: %v; but reading works", off, xerr)
			}
			break
		}
		off = x.End()
	}
	got, runErr := assemble(t, img.(image.Mapper), blob)
	if (runErr == nil) != (err == nil) {
		t.Fatalf("runs: %v; but ReadAt: %v", runErr, err)
	}
	if err == nil && !bytes.Equal(got, disk) {
		t.Fatal("runs and ReadAt differ")
	}
	return disk, err
}

func assemble(t testing.TB, m image.Mapper, blob *bytes.Reader) ([]byte, error) {
	disk := make([]byte, m.Size())
	pos := int64(0)
	for r, err := range m.Runs(0, m.Size()) {
		if err != nil {
			return nil, err
		}
		if r.Guest < pos || r.Length <= 0 || r.Guest+r.Length > m.Size() || r.Stored < 0 || r.StoredEnd() > blob.Size() {
			t.Fatalf("bad run %+v", r)
		}
		pos = r.Guest + r.Length
		stored := make([]byte, r.StoredLength)
		if n, err := blob.ReadAt(stored, r.Stored); n < len(stored) {
			t.Fatalf("run %+v: %v", r, err)
		}
		if !r.Packed {
			copy(disk[r.Guest:pos], stored)
		} else if err := m.Unpack(disk[r.Guest:pos], stored); err != nil {
			return nil, err
		}
	}
	return disk, nil
}

func TestHostile(t *testing.T) {
	for _, h := range hostiles {
		t.Run(h.name, func(t *testing.T) {
			defer formattest.Frugal(t)()
			c, want := craft(compressZlib)
			c = h.lie(c)
			before := formattest.Allocated()
			got, err := readAll(t, c, Options{Snapshot: h.snapshot})
			if n := formattest.Allocated() - before; n > 32<<20 {
				t.Errorf("%d bytes were allocated", n)
			}
			if !errors.Is(err, h.want) || (h.want == nil) != (err == nil) {
				t.Fatalf("error is %v, want %v", err, h.want)
			}
			if err != nil && !strings.Contains(err.Error(), h.says) {
				t.Errorf("error %q does not say %q", err, h.says)
			}
			if err == nil && !bytes.Equal(got[:min(len(got), 4096)], want[:min(len(got), 4096)]) {
				t.Error("the first cluster is wrong")
			}
			// Whoever describes must not fall over either.
			_, _ = Describe(t.Context(), bytes.NewReader(c), int64(len(c)), Options{})
			_, _ = Describe(t.Context(), bytes.NewReader(c), -1, Options{})
		})
	}
}

func TestHostileExtended(t *testing.T) {
	const l2 = 4 * 16 << 10
	for _, h := range []hostile{
		{name: "good", lie: func(c crafted) crafted { return c }},
		{name: "alloc and zero", lie: func(c crafted) crafted { return c.u64(l2+8, 1<<32|1) }, want: errdef.ErrCorrupt, says: "allocated and zero"},
		{name: "alloc without offset", lie: func(c crafted) crafted { return c.u64(l2, 0) }, want: errdef.ErrCorrupt, says: "without a host offset"},
		{name: "zero without offset", lie: func(c crafted) crafted { return c.u64(l2+16, 0).u64(l2+24, 0xff<<32) }},
		{name: "zero bit", lie: func(c crafted) crafted { return c.u64(l2, 5*16<<10|1) }, want: errdef.ErrCorrupt, says: "reserved"},
		{name: "unaligned", lie: func(c crafted) crafted { return c.u64(l2, 5*16<<10|512) }, want: errdef.ErrCorrupt, says: "not aligned"},
		{name: "past the end", lie: func(c crafted) crafted { return c.u64(l2, 6*16<<10) }, want: errdef.ErrCorrupt, says: "past the end"},
		{name: "allocated part past the end", lie: func(c crafted) crafted { return c[:len(c)-1] }, want: errdef.ErrCorrupt, says: "past the end"},
		{name: "unallocated part past the end", lie: func(c crafted) crafted { return c.u64(l2+8, 3)[:5*16<<10+1024] }},
		{name: "compressed with bitmap", lie: func(c crafted) crafted { return c.u64(l2, compressedBit|5*16<<10) }, want: errdef.ErrCorrupt, says: "subcluster bitmap"},
	} {
		t.Run(h.name, func(t *testing.T) {
			c, _ := craftExtended()
			_, err := readAll(t, h.lie(c), Options{})
			if !errors.Is(err, h.want) || (h.want == nil) != (err == nil) {
				t.Fatalf("error is %v, want %v", err, h.want)
			}
			if err != nil && !strings.Contains(err.Error(), h.says) {
				t.Errorf("error %q does not say %q", err, h.says)
			}
		})
	}
}

// TestLimits shows that limits hold before anything is allocated.
func TestLimits(t *testing.T) {
	c, _ := craft(compressZlib)
	if _, err := readAll(t, c, Options{Limits: limits.Limits{VirtualSize: craftSize - 1}}); !errors.Is(err, errdef.ErrLimit) {
		t.Errorf("virtual size: %v", err)
	}
	if _, err := readAll(t, c, Options{Limits: limits.Limits{Metadata: 7}}); !errors.Is(err, errdef.ErrLimit) {
		t.Errorf("L1: %v", err)
	}
	if _, err := readAll(t, c, Options{Limits: limits.Limits{Metadata: 50}, Snapshot: "one"}); !errors.Is(err, errdef.ErrLimit) {
		t.Errorf("snapshot table: %v", err)
	}
	if hint := errdef.Hint(func() error { _, err := readAll(t, c, Options{Limits: limits.Limits{Metadata: 7}}); return err }()); hint == "" {
		t.Error("no hint")
	}
}
