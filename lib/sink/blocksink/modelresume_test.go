package blocksink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/transfer"
)

var errPower = errors.New("the power failed")

// A world is a device and the files that speak of it, with one supply of power. An operation is one of the device or of a
// file: of a file it is done or not, of the device what was not flushed may be there in part.
type world struct {
	*memDevice
	record, ends memFile
	ops, failAt  int // the operation at which the power fails; 0: never
	phase        string
	broken       string       // what is done in the wrong order
	held         func() error // what a broken order does later
}

// memFile is a file that is replaced as a whole. One that was removed may be there again after a power failure, as nobody
// flushes its folder then.
type memFile struct {
	w            *world
	now, removed []byte
	before       func([]byte) (bool, error) // of a broken order: true if it has been seen to
	after        func() error
}

func (f *memFile) Load() ([]byte, error) { return f.now, nil }

func (f *memFile) Save(b []byte) error {
	if f.before != nil {
		if done, err := f.before(b); done || err != nil {
			return err
		}
	}
	if err := f.w.step(); err != nil {
		return err
	}
	f.now, f.removed = bytes.Clone(b), nil
	if f.after != nil {
		return f.after()
	}
	return nil
}

func (f *memFile) Drop() error {
	if err := f.w.step(); err != nil {
		return err
	}
	if f.now != nil {
		f.now, f.removed = nil, f.now
	}
	return nil
}

func newWorld(device []byte, sector int64, record, ends []byte, broken string) *world {
	w := &world{memDevice: &memDevice{sector: sector, now: bytes.Clone(device), durable: bytes.Clone(device)}, broken: broken}
	w.gate = w.step
	w.record, w.ends = memFile{w: w, now: record}, memFile{w: w, now: ends}
	later := func() error {
		do := w.held
		w.held = nil
		if do == nil {
			return nil
		}
		return do()
	}
	switch broken {
	case tokenLast:
		w.record.after = later
	case endsLast:
		w.ends.before = func(b []byte) (bool, error) {
			w.held = func() error {
				if err := w.step(); err != nil {
					return err
				}
				w.ends.now = bytes.Clone(b)
				return nil
			}
			return true, nil
		}
		w.record.after = later
	}
	return w
}

// step is the boundary between two operations.
func (w *world) step() error {
	w.ops++
	if w.failAt > 0 && w.ops >= w.failAt {
		return errPower
	}
	return nil
}

// The orders that must not be.
const (
	recordFirst = "the record is saved before the device is flushed"
	tokenLast   = "the token comes after the record"
	endsLast    = "what is held back is noted after the record"
	fillLast    = "what was held back is written before the rest is flushed"
)

func (w *world) WriteAt(p []byte, off int64) (int, error) {
	if w.broken == tokenLast && bytes.HasPrefix(p, []byte("cdictl: import")) {
		p = bytes.Clone(p)
		w.held = func() error {
			if _, err := w.memDevice.WriteAt(p, off); err != nil {
				return err
			}
			return w.memDevice.Sync()
		}
		return len(p), nil
	}
	return w.memDevice.WriteAt(p, off)
}

func (w *world) Sync() error {
	if w.broken == fillLast && w.phase == "commit" {
		return nil
	}
	return w.memDevice.Sync()
}

func (w *world) Close() error {
	if w.broken == fillLast {
		return w.memDevice.Sync()
	}
	return nil
}

// hasty is a sink that does not flush when it is told to, and hastyJournal flushes it after the record.
type hasty struct{ sink.Keeper }

func (hasty) Sync(context.Context) error { return nil }

type hastyJournal struct {
	sink.Journal
	late sink.Keeper
}

func (h hastyJournal) Save(b []byte) error {
	if err := h.Journal.Save(b); err != nil {
		return err
	}
	return h.late.Sync(context.Background())
}

// life imports want to w as an importer does: goes on with what is there, or begins anew.
func (w *world) life(t *testing.T, want []byte, opened int64, s story) (resumed bool, kept int64, err error) {
	target := &Target{path: "mem", o: Options{Force: true}, notes: &notes{record: &w.record, ends: &w.ends}}
	size := int64(len(w.now))
	o := transfer.DurableOptions{Journal: recorder{target}, Step: 1}
	w.phase = "open"
	d, err := target.take(w, size, w.sector, sink.Options{Size: opened, Mode: sink.Resume})
	switch {
	case err == nil:
		_, content, err := noteOf(&w.record)
		if err != nil {
			return false, 0, err
		}
		rec, err := journal.Decode(content)
		if err != nil {
			return false, 0, err
		}
		resumed, o.Resumed, o.Record = true, true, *rec
	case !errors.Is(err, fs.ErrNotExist):
		return false, 0, err
	default:
		if d, err = target.take(w, size, w.sector, sink.Options{Size: opened}); err != nil {
			return false, 0, err
		}
	}
	w.phase = "write"
	k := sink.Keeper(d)
	if w.broken == recordFirst {
		k, o.Journal = hasty{d}, hastyJournal{o.Journal, d}
	}
	done := o.Record.Done.Clone()
	dur := transfer.NewDurable(t.Context(), k, o)
	const piece = 250_001
	pieces := (len(want) + piece - 1) / piece
	for i := range pieces {
		off := i * piece
		if s.backward {
			off = (pieces - 1 - i) * piece
		}
		p := want[off:min(off+piece, len(want))]
		switch {
		case done.Has(int64(off), int64(len(p))):
			kept += int64(len(p))
			continue
		case blankBytes(p):
			err = dur.Zero(int64(off), int64(len(p)))
		default:
			_, err = dur.WriteAt(p, int64(off))
		}
		if err == nil && i%3 == 2 {
			err = dur.Checkpoint(&journal.Point{}, 0, true)
		}
		if err != nil {
			return resumed, kept, err
		}
	}
	if s.givesUp {
		w.phase = "drop"
		dur.Keep(false)
		return resumed, kept, dur.Close()
	}
	w.phase = "commit"
	if err := dur.Commit(t.Context(), int64(len(want))); err != nil {
		return resumed, kept, err
	}
	w.phase = "done"
	return resumed, kept, dur.Close()
}

// A story is how a first life goes.
type story struct {
	name              string
	sector            int64
	size              int
	known             bool // the size, when it is opened
	backward, givesUp bool
}

// tell lets the power fail at every operation of the first life, and at some of the second, and returns what was wrong.
func (s story) tell(t *testing.T, broken string) (wrong []string, boundaries, resumes int) {
	r := rand.New(rand.NewPCG(3, uint64(s.size)))
	const device = 7 << 19
	old := bytes.Repeat([]byte{0xa5}, device)
	copy(old[510:], "\x55\xaaEFI PART")
	copy(old[device-512:], "EFI PART")
	want := diskOf(s.size)
	full := append(bytes.Clone(want), make([]byte, device-s.size)...)
	opened := int64(-1)
	if s.known {
		opened = int64(s.size)
	}
	for failAt := 1; ; failAt++ {
		w := newWorld(old, s.sector, nil, nil, broken)
		w.failAt = failAt
		_, _, err := w.life(t, want, opened, s)
		if err != nil && !errors.Is(err, errPower) {
			t.Fatalf("operation %d: %v", failAt, err)
		}
		if w.ops < failAt || broken != "" && len(wrong) > 0 {
			return wrong, failAt - 1, resumes
		}
		for try := range 2 {
			found := func(format string, args ...any) {
				wrong = append(wrong, fmt.Sprintf("operation %d (%s): ", failAt, w.phase)+fmt.Sprintf(format, args...))
			}
			b, record, ends := w.crashAll(r)
			if w.phase != "open" {
				if what := half(b, full, s.sector); what != "" {
					found("%s", what)
				} else if n := len(b) - heldBytes; w.phase == "write" && !(blankBytes(unmarked(b, s.sector)[:heldBytes]) && blankBytes(b[n:])) {
					found("the ends are not blank")
				}
			}
			x := newWorld(b, s.sector, record, ends, broken)
			if try == 0 {
				x.failAt = 1 + r.IntN(60) // may be past its end
			}
			resumed, kept, err := x.life(t, want, opened, story{backward: s.backward})
			if resumed {
				resumes++
			}
			tied := w.phase == "write" || w.phase == "commit" && !bytes.Equal(unmarked(b, s.sector), b)
			if tied && record != nil && !resumed && x.phase != "open" {
				found("there is a record, and nothing to go on with")
			}
			if resumed && record != nil && kept == 0 && x.phase == "commit" {
				found("it went on, and kept nothing")
			}
			if x.failAt > 0 && x.ops >= x.failAt {
				b, record, ends = x.crashAll(r)
				if what := half(b, full, s.sector); x.phase != "open" && what != "" {
					found("then, at %d (%s), %s", x.failAt, x.phase, what)
				}
				x = newWorld(b, s.sector, record, ends, broken)
				_, _, err = x.life(t, want, opened, story{})
			}
			switch {
			case err != nil:
				t.Fatalf("operation %d: the next life: %v", failAt, err)
			case !bytes.Equal(x.durable, full):
				found("another disk")
			case x.record.now != nil || x.ends.now != nil:
				found("a record was left")
			}
		}
	}
}

// crashAll is what there may be after the power failed.
func (w *world) crashAll(r *rand.Rand) (device, record, ends []byte) {
	left := func(f *memFile) []byte {
		if f.now == nil && r.IntN(2) == 0 {
			return f.removed
		}
		return f.now
	}
	return w.crash(r), left(&w.record), left(&w.ends)
}

var stories = []story{
	{"a stream", 512, 2<<20 + 300_001, false, false, false},
	{"extents", 4096, 2<<20 + 600_001, true, true, false},
	{"all of the device", 4096, 7 << 19, true, false, false},
	{"given up", 4096, 2<<20 + 512, true, true, true},
}

// TestPowerFailResume: the power fails between any two operations of an import that can be gone on with, and of the one
// that goes on with it. Nothing is recognised before Commit, what was noted is not done again, and in the end the disk is
// right.
func TestPowerFailResume(t *testing.T) {
	if testing.Short() {
		t.Skip("TestPowerFail runs the same code, from an empty device")
	}
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			wrong, boundaries, resumes := s.tell(t, "")
			for _, w := range wrong {
				t.Error(w)
			}
			if boundaries < 20 || resumes < 10 {
				t.Errorf("only %d boundaries, %d lives that went on", boundaries, resumes)
			}
			t.Logf("%d boundaries, %d lives that went on, %d violations", boundaries, resumes, len(wrong))
		})
	}
}

// TestBrokenOrders: what must not be is seen.
func TestBrokenOrders(t *testing.T) {
	for _, broken := range []string{recordFirst, tokenLast, endsLast, fillLast} {
		if testing.Short() && broken != tokenLast {
			continue
		}
		t.Run(broken, func(t *testing.T) {
			wrong, boundaries, _ := stories[1].tell(t, broken)
			if len(wrong) == 0 {
				t.Fatalf("%d boundaries, and nothing wrong was found", boundaries)
			}
			t.Logf("found, as it should be, with %d boundaries before it: %s", boundaries, wrong[0])
		})
	}
}
