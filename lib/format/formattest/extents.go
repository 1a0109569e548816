package formattest

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/internal/testimage"
)

// extents checks that extents tile the disk, whatever the limit of one is, and that zeros are zeros.
func (s Suite) extents(t *testing.T, img image.Image) {
	for _, limit := range []int64{math.MaxInt64, 1_000_003, 65536, 4095} {
		if s.Size/limit > 20_000 {
			continue
		}
		for off := int64(0); off < s.Size; {
			x, err := image.Next(img, off, limit)
			if err != nil {
				t.Fatalf("NextExtent(%d, %d): %v", off, limit, err)
			}
			if x.End() > s.Size {
				t.Fatalf("extent [%d,+%d) passes the size %d", x.Start, x.Length, s.Size)
			}
			if x.Kind != image.Data && !x.Kind.IsZero() {
				t.Fatalf("extent [%d,+%d) is %v", x.Start, x.Length, x.Kind)
			}
			if x.Kind.IsZero() && limit == math.MaxInt64 {
				if err := s.zeros(x); err != nil {
					t.Fatal(err)
				}
			}
			off = x.End()
		}
	}
}

// zeros checks that the disk has nothing in x.
func (s Suite) zeros(x image.Extent) error {
	buf, zero := make([]byte, chunk), make([]byte, chunk)
	for off := x.Start; off < x.End(); off += chunk {
		b := buf[:min(chunk, x.End()-off)]
		if n, err := s.Want.ReadAt(b, off); n < len(b) {
			return fmt.Errorf("want at %d: %w", off, err)
		}
		if !bytes.Equal(b, zero[:len(b)]) {
			return fmt.Errorf("%v extent [%d,+%d), but the disk has data in [%d,+%d)", x.Kind, x.Start, x.Length, off, len(b))
		}
	}
	return nil
}

// qemuMap compares the extents with those of qemu-img.
func (s Suite) qemuMap(t *testing.T, img image.Image) {
	testimage.Require(t, "qemu-img")
	entries, err := testimage.Map(t.Context(), s.QemuMap)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		want := image.Hole
		switch {
		case e.Data:
			want = image.Data
		case e.Present:
			want = image.Zero
		}
		for off, end := e.Start, min(e.Start+e.Length, s.Size); off < end; {
			x, err := image.Next(img, off, end-off)
			if err != nil {
				t.Fatal(err)
			}
			if x.Kind != want {
				t.Fatalf("extent [%d,+%d) is %v; qemu-img map has %+v", x.Start, x.Length, x.Kind, e)
			}
			off = x.End()
		}
	}
}

// runs puts the disk together from its runs, and checks what a Mapper promises.
func (s Suite) runs(t *testing.T, m image.Mapper) {
	if err := s.assemble(m, 0, s.Size); err != nil {
		t.Fatal(err)
	}
	// Pieces that begin and end anywhere give the same.
	const pieces = 37
	step := s.Size/pieces + 1
	for off := int64(0); off < s.Size; off += step {
		if err := s.assemble(m, off, min(step, s.Size-off)); err != nil {
			t.Fatalf("runs of [%d,+%d): %v", off, step, err)
		}
	}
	for r, err := range m.Runs(s.Size, 1) {
		if err == nil {
			t.Fatalf("a run behind the end of the disk: %+v", r)
		}
	}
	for _, err := range m.Runs(0, s.Size) {
		if err != nil {
			t.Errorf("runs: %v", err)
		}
		break // must be allowed
	}
}

func (s Suite) assemble(m image.Mapper, off, n int64) error {
	pos := off // the disk is compared up to here
	first := true
	for r, err := range m.Runs(off, n) {
		if err != nil {
			return err
		}
		if err := s.checkRun(r, off, n); err != nil {
			return err
		}
		if !first && r.Guest < pos {
			return fmt.Errorf("run %+v begins before %d", r, pos)
		}
		if r.Guest > pos {
			if err := s.zeros(image.Extent{Start: pos, Length: r.Guest - pos, Kind: image.Hole}); err != nil {
				return fmt.Errorf("no run: %w", err)
			}
		}
		if err := s.runContent(m, r); err != nil {
			return fmt.Errorf("run %+v: %w", r, err)
		}
		first, pos = false, r.Guest+r.Length
	}
	if pos < off+n {
		if err := s.zeros(image.Extent{Start: pos, Length: off + n - pos, Kind: image.Hole}); err != nil {
			return fmt.Errorf("no run: %w", err)
		}
	}
	return nil
}

func (s Suite) checkRun(r image.Run, off, n int64) error {
	switch {
	case r.Length <= 0 || r.StoredLength <= 0 || r.Guest < 0 || r.Guest+r.Length > s.Size:
		return fmt.Errorf("run %+v does not fit the disk", r)
	case r.Stored < 0 || r.StoredEnd() > s.BlobSize:
		return fmt.Errorf("run %+v does not fit the stored file of %d bytes", r, s.BlobSize)
	case !r.Packed && r.StoredLength != r.Length:
		return fmt.Errorf("plain run %+v has two lengths", r)
	case !r.Packed && (r.Guest < off || r.Guest+r.Length > off+n):
		return fmt.Errorf("plain run %+v is not cut to [%d,+%d)", r, off, n)
	case r.Guest >= off+n || r.Guest+r.Length <= off:
		return fmt.Errorf("run %+v does not touch [%d,+%d)", r, off, n)
	}
	return nil
}

func (s Suite) runContent(m image.Mapper, r image.Run) error {
	if r.Packed {
		stored, dst := make([]byte, r.StoredLength), bytes.Repeat([]byte{0xa5}, int(r.Length))
		if n, err := s.Blob.ReadAt(stored, r.Stored); n < len(stored) {
			return err
		}
		if err := m.Unpack(dst, stored); err != nil {
			return err
		}
		return s.same(dst, r.Guest)
	}
	buf := make([]byte, chunk)
	for at := int64(0); at < r.Length; at += chunk {
		b := buf[:min(chunk, r.Length-at)]
		if n, err := s.Blob.ReadAt(b, r.Stored+at); n < len(b) {
			return err
		}
		if err := s.same(b, r.Guest+at); err != nil {
			return err
		}
	}
	return nil
}
