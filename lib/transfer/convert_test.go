package transfer

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/progress"
)

// A script is a stored file in which tables, data and garbage lie in any order, and its disk.
type script struct {
	blob, guest []byte
	tables      map[image.Range]*scriptTable
	root        image.Range
	twice       bool // some stored bytes belong to two runs
}

// scriptTable is what a range leads to. Its bytes say nothing, but they must be the right ones.
type scriptTable struct {
	at       image.Range
	children []*scriptTable
	runs     []image.Run
}

type layoutOf uint8

const (
	before   layoutOf = iota // tables right before what they lead to
	after                    // right behind
	atEnd                    // tables at the end, the first one last
	shuffled                 // all anywhere
	layouts
)

// newScript makes one up. Guest clusters have size bytes.
func newScript(seed uint64, layout layoutOf, size int, twice bool) *script {
	rnd := rand.New(rand.NewPCG(seed, uint64(layout)))
	s := &script{tables: map[image.Range]*scriptTable{}, twice: twice}
	root := &scriptTable{}
	type object struct {
		table *scriptTable
		owner *scriptTable // of data
		runs  []image.Run  // stored from the object's start on
		bytes []byte
	}
	noise := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rnd.Uint32())
		}
		return p
	}
	objects := []object{}
	for range 2 + rnd.IntN(6) {
		leaf := &scriptTable{}
		root.children = append(root.children, leaf)
		data := object{owner: leaf}
		for range rnd.IntN(20) {
			guest := len(s.guest)
			k := 1 + rnd.IntN(3)
			switch rnd.IntN(4) {
			case 0: // hole
				s.guest = append(s.guest, make([]byte, k*size)...)
			case 1, 2:
				if len(data.bytes)%512 != 0 {
					data.bytes = append(data.bytes, make([]byte, 512-len(data.bytes)%512)...)
				}
				p := noise(k * size)
				clear(p[:rnd.IntN(len(p))])
				data.runs = append(data.runs, image.Run{Guest: int64(guest), Length: int64(len(p)), Stored: int64(len(data.bytes)), StoredLength: int64(len(p))})
				s.guest, data.bytes = append(s.guest, p...), append(data.bytes, p...)
				if twice && rnd.IntN(4) == 0 {
					r := data.runs[len(data.runs)-1]
					r.Guest = int64(len(s.guest))
					data.runs = append(data.runs, r)
					s.guest = append(s.guest, p...)
				}
			default:
				p := noise(size)
				for i := range size / 2 {
					p[i] = byte(i / 50)
				}
				var z bytes.Buffer
				w, _ := flate.NewWriter(&z, 1)
				w.Write(p)
				w.Close()
				at := len(data.bytes)
				data.runs = append(data.runs, image.Run{Guest: int64(guest), Length: int64(size), Stored: int64(at), StoredLength: int64((at+z.Len()+511)&^511 - at), Packed: true})
				s.guest, data.bytes = append(s.guest, p...), append(data.bytes, z.Bytes()...)
			}
		}
		table := object{table: leaf, bytes: noise(512 * (1 + rnd.IntN(4)))}
		if layout == after {
			objects = append(objects, data, table)
		} else {
			objects = append(objects, table, data)
		}
		objects = append(objects, object{bytes: noise(rnd.IntN(3 * size))}) // belongs to nothing
	}
	rootObject := object{table: root, bytes: noise(512)}
	switch layout {
	case before, after:
		objects = append([]object{rootObject}, objects...)
	case atEnd:
		objects = append(objects, rootObject)
		slices.SortStableFunc(objects, func(a, b object) int {
			rank := func(o object) int {
				switch o.table {
				case nil:
					return 0
				case root:
					return 2
				}
				return 1
			}
			return cmp.Compare(rank(a), rank(b))
		})
	case shuffled:
		objects = append(objects, rootObject)
		rnd.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
	}
	header := &scriptTable{children: []*scriptTable{root}}
	s.blob = noise(600)
	header.at = image.Range{Start: 0, Length: 100}
	s.tables[header.at] = header
	s.root = header.at
	for _, o := range objects {
		s.blob = append(s.blob, make([]byte, (512-len(s.blob)%512)%512)...)
		start := int64(len(s.blob))
		if o.table != nil {
			o.table.at = image.Range{Start: start, Length: int64(len(o.bytes))}
			s.tables[o.table.at] = o.table
		}
		for _, r := range o.runs {
			r.Stored += start
			o.owner.runs = append(o.owner.runs, r)
		}
		s.blob = append(s.blob, o.bytes...)
	}
	return s
}

// scriptLearner learns a script, and holds its caller to what it must give.
type scriptLearner struct {
	s     *script
	wants []image.Range
	size  int64
}

func (s *script) learner() *scriptLearner {
	return &scriptLearner{s: s, wants: []image.Range{s.root}, size: -1}
}

func (l *scriptLearner) Next(from int64) (image.Range, bool) {
	best, ok := image.Range{}, false
	for _, r := range l.wants {
		if r.Start >= from && (!ok || r.Start < best.Start) {
			best, ok = r, true
		}
	}
	return best, ok
}

func (l *scriptLearner) Learn(r image.Range, p []byte, runs []image.Run) ([]image.Run, error) {
	i := slices.Index(l.wants, r)
	if i < 0 {
		return runs, fmt.Errorf("range %+v was not wanted", r)
	}
	if !bytes.Equal(p, l.s.blob[r.Start:r.End()]) {
		return runs, fmt.Errorf("range %+v has other bytes", r)
	}
	l.wants = slices.Delete(l.wants, i, i+1)
	l.size = int64(len(l.s.guest))
	t := l.s.tables[r]
	for _, c := range t.children {
		l.wants = append(l.wants, c.at)
	}
	return append(runs, t.runs...), nil
}

func (l *scriptLearner) Size() int64 { return l.size }

func (l *scriptLearner) Finish(stored int64) error {
	if stored != int64(len(l.s.blob)) {
		return fmt.Errorf("stored is %d, want %d: %w", stored, len(l.s.blob), errdef.ErrCorrupt)
	}
	return nil
}

func (l *scriptLearner) Unpack(dst, stored []byte) error { return new(fakeImage).Unpack(dst, stored) }

func (l *scriptLearner) UnpackMeasured(dst, stored []byte) (int, error) {
	r := bytes.NewReader(stored)
	_, err := io.ReadFull(flate.NewReader(r), dst)
	return len(stored) - r.Len(), err
}

// newMemDisk is a sink that reads as zeros where nothing was written, as Convert may expect.
func newMemDisk(t *testing.T, size int) *memSink {
	s := newMemSink(t, int64(size))
	clear(s.data)
	return s
}

// TestConvert reads scripts of every layout with every fallback. The disk is right, or there is an error that says why
// it could not be made; within what may be held it is always right.
func TestConvert(t *testing.T) {
	seeds := uint64(24)
	if testing.Short() {
		seeds = 4
	}
	for layout := range layouts {
		for _, hold := range []int64{16 << 10, 64 << 10, 1 << 20} {
			for _, again := range []string{"again", "spool", "never"} {
				t.Run(fmt.Sprintf("layout=%d/hold=%d/%s", layout, hold, again), func(t *testing.T) {
					right, passes, spooled := 0, 0, int64(0)
					for seed := range seeds {
						s := newScript(seed, layout, []int{512, 4096, 8192}[seed%3], seed%4 == 0)
						c, err := convertScript(t, s, hold, again, seed%2 == 0)
						switch {
						case err == nil:
							right++
						case again == "again" || hold > int64(len(s.blob)):
							t.Fatalf("seed %d: %v", seed, err)
						case errors.Is(err, errdef.ErrScratchNeeded):
							if again == "spool" || errdef.Hint(err) == "" {
								t.Fatalf("seed %d: %v", seed, err)
							}
						case !s.twice || !errors.Is(err, errdef.ErrUnsupported):
							t.Fatalf("seed %d: %v", seed, err)
						}
						passes, spooled = max(passes, c.Passes), max(spooled, c.Spooled)
					}
					t.Logf("%d of %d, at most %d passes, %d bytes spooled", right, seeds, passes, spooled)
					if layout == before && right < int(seeds)*3/4 {
						t.Errorf("only %d of %d", right, seeds)
					}
				})
			}
		}
	}
}

func convertScript(t *testing.T, s *script, hold int64, again string, slow bool) (Converted, error) {
	t.Helper()
	dst := newMemDisk(t, len(s.guest))
	var tracker progress.Tracker
	reader := func() io.Reader {
		if slow {
			return iotest.HalfReader(bytes.NewReader(s.blob))
		}
		return bytes.NewReader(s.blob)
	}
	told, most := int64(-1), int64(-1)
	co := ConvertOptions{Hold: hold, Size: func(n int64) error { told = n; return nil }}
	switch again {
	case "again":
		co.Again = func(context.Context) (io.Reader, error) { return reader(), nil }
	case "spool":
		if co.Stored = int64(len(s.blob)); slow {
			co.Stored = -1
		}
		co.Spool = func(n int64) (SpoolFile, error) {
			most = n
			if (n >= 0) != (co.Stored >= 0) || n > co.Stored && n >= 0 {
				t.Errorf("the spool may get %d bytes of a stream of %d", n, co.Stored)
			}
			f, err := os.CreateTemp(t.TempDir(), "spool")
			if err == nil {
				t.Cleanup(func() { f.Close() })
			}
			return f, err
		}
	}
	c, err := Convert(t.Context(), dst, reader(), s.learner(), co, Options{Workers: 3, Segment: 64 << 10, Tracker: &tracker})
	if !s.twice && most >= 0 && c.Spooled > most {
		t.Fatalf("%d bytes were spooled, at most %d were foretold", c.Spooled, most)
	}
	if c.HeldMax > hold {
		t.Fatalf("%d bytes were held, at most %d", c.HeldMax, hold)
	}
	if err != nil {
		return c, err
	}
	if c.Size != int64(len(s.guest)) || told != c.Size || c.Stored != int64(len(s.blob)) {
		t.Fatalf("%+v, told %d; want %d and %d", c, told, len(s.guest), len(s.blob))
	}
	if got := tracker.Snapshot().Virtual; got != c.Size || c.Data+c.Zero != c.Size {
		t.Fatalf("progress counts %d and %+v of %d", got, c, c.Size)
	}
	for i := range s.guest {
		if dst.data[i] != s.guest[i] {
			t.Fatalf("byte %d is %#x, want %#x", i, dst.data[i], s.guest[i])
		}
	}
	return c, nil
}

// TestConvertChanged gives other bytes in the second pass.
func TestConvertChanged(t *testing.T) {
	s := newScript(5, atEnd, 8192, false)
	for name, second := range map[string][]byte{
		"longer":  append(bytes.Clone(s.blob), 1),
		"shorter": s.blob[:len(s.blob)-1],
		"other":   append([]byte{s.blob[0] ^ 1}, s.blob[1:]...),
	} {
		co := ConvertOptions{Hold: 32 << 10, Again: func(context.Context) (io.Reader, error) { return bytes.NewReader(second), nil }}
		_, err := Convert(t.Context(), newMemDisk(t, len(s.guest)), bytes.NewReader(s.blob), s.learner(), co, Options{})
		if name == "shorter" && errors.Is(err, errdef.ErrCorrupt) {
			continue // the last table was cut
		}
		if !errors.Is(err, errdef.ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestConvertErrors fails at each end, and never hangs.
func TestConvertErrors(t *testing.T) {
	s := newScript(7, before, 8192, false)
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		change func(dst *memSink, r *io.Reader, co *ConvertOptions)
		want   error
	}{
		"source": {func(_ *memSink, r *io.Reader, _ *ConvertOptions) {
			*r = io.MultiReader(io.LimitReader(*r, 30000), iotest.ErrReader(broken))
		}, broken},
		"target":  {func(dst *memSink, _ *io.Reader, _ *ConvertOptions) { dst.fail = func(int64) error { return broken } }, broken},
		"size":    {func(_ *memSink, _ *io.Reader, co *ConvertOptions) { co.Size = func(int64) error { return broken } }, broken},
		"cut":     {func(_ *memSink, r *io.Reader, _ *ConvertOptions) { *r = io.LimitReader(*r, 30000) }, errdef.ErrCorrupt},
		"nothing": {func(_ *memSink, r *io.Reader, _ *ConvertOptions) { *r = io.LimitReader(*r, 0) }, errdef.ErrCorrupt},
		"long":    {func(_ *memSink, _ *io.Reader, co *ConvertOptions) { co.Max, co.TooLarge = 30000, errdef.ErrLimit }, errdef.ErrLimit},
	} {
		t.Run(name, func(t *testing.T) {
			dst, r, co := newMemDisk(t, len(s.guest)), io.Reader(bytes.NewReader(s.blob)), ConvertOptions{Hold: 32 << 10}
			c.change(dst, &r, &co)
			if _, err := Convert(t.Context(), dst, r, s.learner(), co, Options{}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Convert(ctx, newMemDisk(t, len(s.guest)), bytes.NewReader(s.blob), s.learner(), ConvertOptions{}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if _, err := Convert(t.Context(), newMemDisk(t, len(s.guest)), bytes.NewReader(s.blob), s.learner(), ConvertOptions{}, Options{MaxIndex: 3 * entrySize}); !errors.Is(err, errdef.ErrLimit) {
		t.Errorf("too many runs: %v", err)
	}
}
