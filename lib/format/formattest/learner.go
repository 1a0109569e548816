package formattest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

// A LearnerSuite is a stored file and what its Learner must find in it.
type LearnerSuite struct {
	// New makes a Learner that has learnt nothing.
	New func() image.Learner
	// Blob is the stored file of BlobSize bytes.
	Blob     io.ReaderAt
	BlobSize int64
	// Want is the content of the disk, of Size bytes.
	Want io.ReaderAt
	Size int64
}

// RunLearner runs the suite: the file passes whole and in pieces, with and without a memory of what has passed, and
// the ranges that the Learner asks for are given in several orders. Each time the runs must be those of the disk.
//
// Every range lies in the file: a transfer takes one that does not for an image cut short, and Learn never sees less bytes
// than its range has. Only a packed run may pass the end of the file.
func RunLearner(t *testing.T, s LearnerSuite) {
	l, runs, err := s.learn(pickFirst)
	if err != nil {
		t.Fatal(err)
	}
	want := canonical(runs)
	t.Run("content", func(t *testing.T) { s.content(t, l, want) })
	check := func(t *testing.T, l image.Learner, runs []image.Run, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.finished(l); err != nil {
			t.Fatal(err)
		}
		if got := canonical(runs); !slices.Equal(got, want) {
			t.Fatalf("%d runs, want the %d of before: %v", len(got), len(want), firstDifference(got, want))
		}
	}
	for name, pick := range map[string]picker{"last": pickLast, "random": pickRandom(rand.New(rand.NewPCG(1, 2)))} {
		t.Run(name, func(t *testing.T) {
			l, runs, err := s.learn(pick)
			check(t, l, runs, err)
		})
	}
	for _, piece := range []int64{511, 4096, 70_001, 1 << 20, s.BlobSize} {
		if piece <= 0 || s.BlobSize/piece > 100_000 {
			continue
		}
		t.Run(fmt.Sprintf("remembered/%d", piece), func(t *testing.T) {
			l := s.New()
			runs, _, err := s.pass(l, piece, true)
			check(t, l, runs, err)
		})
		t.Run(fmt.Sprintf("passes/%d", piece), func(t *testing.T) {
			l, runs, err := s.passes(piece)
			check(t, l, runs, err)
		})
	}
	t.Run("unpack", func(t *testing.T) { s.unpack(t, l, want) })
}

// Learn gives l the ranges of the size bytes in blob that it asks for, the lowest first, and returns the runs that follow.
// It suits hostile files: what a Learner must never do is a panic, what the file does wrong an error. It does not call
// Finish.
func Learn(l image.Learner, blob io.ReaderAt, size int64) ([]image.Run, error) {
	s := LearnerSuite{Blob: blob, BlobSize: size, New: func() image.Learner { return l }}
	_, runs, err := s.learn(pickFirst)
	return runs, err
}

// A picker chooses which of the ranges that a Learner knows that it needs it is given next; n > 0.
type picker func(n int) int

func pickFirst(int) int                  { return 0 }
func pickLast(n int) int                 { return n - 1 }
func pickRandom(r *rand.Rand) picker     { return r.IntN }
func (s LearnerSuite) suite() Suite      { return Suite{Want: s.Want, Size: s.Size} }
func misuse(what string, a ...any) error { return fmt.Errorf("learner: "+what, a...) }

// wanted lists up to most of the ranges that l needs from from on, and checks them.
func (s LearnerSuite) wanted(l image.Learner, from int64, most int) ([]image.Range, error) {
	var list []image.Range
	for len(list) < most {
		r, ok := l.Next(from)
		if !ok {
			break
		}
		if r.Start < from || r.Length <= 0 || r.Length > image.MaxWant {
			panic(misuse("Next(%d) is %+v", from, r))
		}
		if again, ok := l.Next(from); !ok || again != r {
			panic(misuse("Next(%d) is %+v and then %+v, %v", from, r, again, ok))
		}
		if r.Start >= s.BlobSize || r.Length > s.BlobSize-r.Start {
			return nil, misuse("range [%d,+%d) passes the file of %d bytes: %w", r.Start, r.Length, s.BlobSize, errdef.ErrCorrupt)
		}
		list = append(list, r)
		from = r.Start + 1
	}
	return list, nil
}

// give lets l learn r, and checks that it keeps its hands off what is not its own.
func (s LearnerSuite) give(l image.Learner, r image.Range, runs []image.Run) ([]image.Run, error) {
	p := bytes.Repeat([]byte{0xa5}, int(r.Length)+16)
	if n, err := s.Blob.ReadAt(p[:r.Length], r.Start); int64(n) < r.Length {
		return nil, fmt.Errorf("blob at %d: %w", r.Start, err)
	}
	before := bytes.Clone(p)
	n := len(runs)
	var last image.Run
	if n > 0 {
		last = runs[n-1]
	}
	runs, err := l.Learn(r, p[:r.Length:r.Length], runs)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(p, before) {
		panic(misuse("Learn(%+v) wrote into the caller's bytes", r))
	}
	if len(runs) < n || n > 0 && runs[n-1] != last {
		panic(misuse("Learn(%+v) did not append", r))
	}
	clear(p) // the caller takes them back
	if again, ok := l.Next(r.Start); ok && again == r {
		panic(misuse("range %+v is wanted again after it was learnt", r))
	}
	return runs, nil
}

// learn gives l what it wants in the order of pick.
func (s LearnerSuite) learn(pick picker) (image.Learner, []image.Run, error) {
	l := s.New()
	var runs []image.Run
	for given := int64(0); ; {
		list, err := s.wanted(l, 0, 100)
		if err != nil || len(list) == 0 {
			return l, runs, err
		}
		r := list[pick(len(list))]
		if runs, err = s.give(l, r, runs); err != nil {
			return nil, nil, err
		}
		// Pieces of a table do not overlap, and no byte belongs to many tables.
		if given += r.Length; given > 16*s.BlobSize+1<<20 {
			panic(misuse("%d bytes were learnt of a file of %d", given, s.BlobSize))
		}
	}
}

// pass lets the file pass once. With memory, a range that has passed can still be given.
func (s LearnerSuite) pass(l image.Learner, piece int64, memory bool) (runs []image.Run, given int, err error) {
	from := int64(0)
	for pos := int64(0); pos < s.BlobSize; {
		pos = min(pos+piece, s.BlobSize)
		for at := from; ; {
			list, err := s.wanted(l, at, 1)
			if err != nil {
				return nil, given, err
			}
			if len(list) == 0 {
				break
			}
			r := list[0]
			if r.End() > pos {
				// It has not passed yet, but one that begins behind it may have.
				at = r.Start + 1
				if at >= pos {
					break
				}
				continue
			}
			if runs, err = s.give(l, r, runs); err != nil {
				return nil, given, err
			}
			given++
			at = from // what follows may begin before
		}
		if !memory {
			from = s.underWay(l, from, pos)
		}
	}
	return runs, given, nil
}

// underWay is the start of the first range at or behind from that pos lies inside of: bytes that a transfer must keep. Without
// one it is pos.
func (s LearnerSuite) underWay(l image.Learner, from, pos int64) int64 {
	for at := max(from, pos-image.MaxWant); at < pos; {
		r, ok := l.Next(at)
		if !ok || r.Start >= pos {
			break
		}
		if r.End() > pos {
			return r.Start
		}
		at = r.Start + 1
	}
	return pos
}

// passes lets the file pass until the map is complete.
func (s LearnerSuite) passes(piece int64) (image.Learner, []image.Run, error) {
	l := s.New()
	var runs []image.Run
	for {
		more, given, err := s.pass(l, piece, false)
		if err != nil {
			return nil, nil, err
		}
		runs = append(runs, more...)
		r, ok := l.Next(0)
		if !ok {
			return l, runs, nil
		}
		if given == 0 {
			return nil, nil, misuse("no range of a whole pass was wanted, but %+v is", r)
		}
	}
}

// finished checks what holds when nothing is wanted any more.
func (s LearnerSuite) finished(l image.Learner) error {
	for _, from := range []int64{0, 1, s.BlobSize} {
		if r, ok := l.Next(from); ok {
			return misuse("Next(%d) is %+v at the end", from, r)
		}
	}
	if l.Size() != s.Size {
		return misuse("size is %d, want %d", l.Size(), s.Size)
	}
	return l.Finish(s.BlobSize)
}

// canonical is runs in guest order, plain neighbours joined.
func canonical(runs []image.Run) []image.Run {
	runs = slices.Clone(runs)
	slices.SortFunc(runs, func(a, b image.Run) int {
		switch {
		case a.Guest < b.Guest:
			return -1
		case a.Guest > b.Guest:
			return 1
		}
		return 0
	})
	out := runs[:0]
	for _, r := range runs {
		if n := len(out); n > 0 && !r.Packed && !out[n-1].Packed && out[n-1].Guest+out[n-1].Length == r.Guest && out[n-1].StoredEnd() == r.Stored {
			out[n-1].Length += r.Length
			out[n-1].StoredLength += r.StoredLength
			continue
		}
		out = append(out, r)
	}
	return out
}

func firstDifference(got, want []image.Run) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return fmt.Sprintf("run %d is missing: %+v", i, want[i])
		case i >= len(want):
			return fmt.Sprintf("run %d is too many: %+v", i, got[i])
		case got[i] != want[i]:
			return fmt.Sprintf("run %d is %+v, want %+v", i, got[i], want[i])
		}
	}
	return "none"
}

// content puts the disk together from its runs in guest order.
func (s LearnerSuite) content(t *testing.T, l image.Learner, runs []image.Run) {
	if err := s.finished(l); err != nil {
		t.Fatal(err)
	}
	d, pos := s.suite(), int64(0)
	for _, r := range runs {
		switch {
		case r.Length <= 0 || r.StoredLength <= 0 || r.Guest < 0 || r.Guest+r.Length > s.Size:
			t.Fatalf("run %+v does not fit the disk of %d bytes", r, s.Size)
		case r.Stored < 0 || r.Stored >= s.BlobSize || !r.Packed && (r.StoredEnd() > s.BlobSize || r.StoredLength != r.Length):
			t.Fatalf("run %+v does not fit the file of %d bytes", r, s.BlobSize)
		case r.Guest < pos:
			t.Fatalf("run %+v overlaps the one before, which ends at %d", r, pos)
		}
		if err := d.zeros(image.Extent{Start: pos, Length: r.Guest - pos, Kind: image.Hole}); err != nil {
			t.Fatalf("no run: %v", err)
		}
		if err := s.run(l, r); err != nil {
			t.Fatalf("run %+v: %v", r, err)
		}
		pos = r.Guest + r.Length
	}
	if err := d.zeros(image.Extent{Start: pos, Length: s.Size - pos, Kind: image.Hole}); err != nil {
		t.Fatalf("no run: %v", err)
	}
}

// run compares the content of r.
func (s LearnerSuite) run(l image.Learner, r image.Run) error {
	if !r.Packed {
		buf := make([]byte, chunk)
		for at := int64(0); at < r.Length; at += chunk {
			b := buf[:min(chunk, r.Length-at)]
			if n, err := s.Blob.ReadAt(b, r.Stored+at); n < len(b) {
				return err
			}
			if err := s.suite().same(b, r.Guest+at); err != nil {
				return err
			}
		}
		return nil
	}
	stored, dst := make([]byte, min(r.StoredLength, s.BlobSize-r.Stored)), bytes.Repeat([]byte{0xa5}, int(r.Length))
	if n, err := s.Blob.ReadAt(stored, r.Stored); n < len(stored) {
		return err
	}
	if err := l.Unpack(dst, stored); err != nil {
		return err
	}
	if err := s.suite().same(dst, r.Guest); err != nil {
		return err
	}
	return s.measured(l, r, stored)
}

// measured checks that nothing is needed of what UnpackMeasured leaves, if there is such a thing.
func (s LearnerSuite) measured(l image.Learner, r image.Run, stored []byte) error {
	m, ok := l.(image.Measurer)
	if !ok {
		return nil
	}
	dst := make([]byte, r.Length)
	n, err := m.UnpackMeasured(dst, stored)
	if err != nil {
		return err
	}
	if n <= 0 || n > len(stored) {
		return misuse("run %+v takes %d of %d stored bytes", r, n, len(stored))
	}
	again, err := m.UnpackMeasured(dst, append(bytes.Clone(stored[:n]), bytes.Repeat([]byte{0xff}, len(stored)-n)...))
	if err != nil || again != n {
		return misuse("run %+v takes %d of %d stored bytes, and then %d, %w", r, n, len(stored), again, err)
	}
	return s.suite().same(dst, r.Guest)
}

// unpack decodes packed runs from several goroutines.
func (s LearnerSuite) unpack(t *testing.T, l image.Learner, runs []image.Run) {
	packed := slices.DeleteFunc(slices.Clone(runs), func(r image.Run) bool { return !r.Packed })
	if len(packed) == 0 {
		return
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 3))
			for range 20 {
				run := packed[r.IntN(len(packed))]
				if err := s.run(l, run); err != nil {
					t.Errorf("run %+v: %v", run, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
