package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/verify"
)

// A crashDisk loses what was not flushed when its machine goes down: some of it, in any order. It is its own journal.
type crashDisk struct {
	mu        sync.Mutex
	rnd       *rand.Rand
	now, safe []byte
	dirty     []journal.Bytes
	left      int // writes until it goes down
	saved     []byte
	lie       bool   // flush after the record, not before it: what must not be
	shares    []byte // what Clone takes from
}

var errDown = errors.New("the machine went down")

func (c *crashDisk) Caps() sink.Caps { return sink.Caps{Align: 4096} }

func (c *crashDisk) WriteAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left < 0 {
		return 0, errDown
	}
	c.dirty = append(c.dirty, journal.Bytes{Off: off, Data: bytes.Clone(p)})
	return copy(c.now[off:], p), nil
}

func (c *crashDisk) Zero(off, n int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left < 0 {
		return errDown
	}
	c.dirty = append(c.dirty, journal.Bytes{Off: off, Data: make([]byte, n)})
	clear(c.now[off : off+n])
	return nil
}

// Clone shares half of what is asked for, in whole pages.
func (c *crashDisk) Clone(_ *os.File, off, n int64) (int64, error) {
	n = n / 2 &^ 4095
	if n == 0 || off%4096 != 0 {
		return 0, nil
	}
	_, err := c.WriteAt(c.shares[off:off+n], off)
	return n, err
}

func (c *crashDisk) Sync(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left < 0 {
		return errDown
	}
	if !c.lie {
		c.safe, c.dirty = bytes.Clone(c.now), nil
	}
	return nil
}

func (c *crashDisk) Load() ([]byte, error) { return c.saved, nil }
func (c *crashDisk) Drop() error           { c.saved = nil; return nil }

func (c *crashDisk) Save(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left < 0 {
		return errDown
	}
	c.saved = bytes.Clone(b)
	return nil
}

func (*crashDisk) Keep(bool)                           {}
func (*crashDisk) Commit(context.Context, int64) error { return nil }
func (*crashDisk) Close() error                        { return nil }

// reboot brings it up again with what has survived.
func (c *crashDisk) reboot() {
	c.now = bytes.Clone(c.safe)
	for _, i := range c.rnd.Perm(len(c.dirty)) {
		if c.rnd.IntN(2) == 0 {
			d := c.dirty[i]
			copy(c.now[d.Off:], d.Data[:c.rnd.IntN(len(d.Data)+1)])
		}
	}
	c.safe, c.dirty = bytes.Clone(c.now), nil
}

// survive runs route, which the machine interrupts, until it is done, and returns what it kept of earlier runs in all.
func (c *crashDisk) survive(t *testing.T, o DurableOptions, route func(context.Context, *Durable, *journal.Record) (Stats, error)) (kept int64) {
	t.Helper()
	for try := range 1000 {
		c.left = c.rnd.IntN(6 + try)
		o.Journal, o.Resumed, o.Record, o.Step = c, c.saved != nil, journal.Record{}, 1
		rec := (*journal.Record)(nil)
		if c.saved != nil {
			var err error
			if rec, err = journal.Decode(c.saved); err != nil {
				t.Fatal(err)
			}
			o.Record = *rec
		}
		d := NewDurable(t.Context(), c, o)
		stats, err := route(t.Context(), d, rec)
		d.stop()
		kept += stats.Kept
		if err == nil {
			return kept
		}
		if !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		c.reboot()
	}
	t.Fatal("never done")
	return 0
}

func doneOf(rec *journal.Record) Done {
	if rec == nil {
		return nil
	}
	return &rec.Done
}

func nowhere(*journal.Extents) *journal.Point { return nil }

// crashRoutes are imports of seed's disk.
var crashRoutes = map[string]func(t *testing.T, seed uint64, c *crashDisk) (want []byte, kept int64){
	"copy": func(t *testing.T, seed uint64, c *crashDisk) ([]byte, int64) {
		f := c.image(seed)
		return f.guest, c.survive(t, DurableOptions{Auto: nowhere}, func(ctx context.Context, d *Durable, rec *journal.Record) (Stats, error) {
			return Copy(ctx, d, f, Options{Segment: 64 << 10, Done: doneOf(rec)})
		})
	},
	"stored": func(t *testing.T, seed uint64, c *crashDisk) ([]byte, int64) {
		f := c.image(seed)
		return f.guest, c.survive(t, DurableOptions{Auto: nowhere}, func(ctx context.Context, d *Durable, rec *journal.Record) (Stats, error) {
			return CopyStored(ctx, d, f, File{bytes.NewReader(f.blob), int64(len(f.blob))}, Options{Segment: 64 << 10, Fetch: 64 << 10, Done: doneOf(rec)})
		})
	},
	"hashed": func(t *testing.T, seed uint64, c *crashDisk) ([]byte, int64) {
		f := c.image(seed)
		file := File{bytes.NewReader(f.blob), int64(len(f.blob))}
		return f.guest, c.survive(t, DurableOptions{}, func(ctx context.Context, d *Durable, rec *journal.Record) (Stats, error) {
			h, ho := sha256.New(), HashedOptions{Due: d.Due}
			if rec != nil {
				ho.From, ho.Tables = rec.Point.Stored, rec.Point.Tables
				if err := verify.SetState(h, rec.Point.Hash); err != nil {
					return Stats{}, err
				}
			}
			ho.Save = func(off, ahead int64, tables []byte) error {
				return d.Checkpoint(&journal.Point{Stored: off, Hash: verify.State(h), Tables: tables}, ahead, seed%2 == 0)
			}
			w := NewWitness(file)
			f.ra = w
			stats, err := CopyHashed(ctx, d, f, file, w, h, ho, Options{Segment: 64 << 10, Fetch: 20000})
			if want := sha256.Sum256(f.blob); err == nil && !bytes.Equal(h.Sum(nil), want[:]) {
				err = errors.New("another hash")
			}
			return stats, err
		})
	},
	"stream": func(t *testing.T, seed uint64, c *crashDisk) ([]byte, int64) {
		f := c.image(seed)
		o := DurableOptions{CountZeros: true, Auto: func(done *journal.Extents) *journal.Point {
			return &journal.Point{Out: max(done.Prefix()-TailSize, 0)}
		}}
		return f.guest, c.survive(t, o, func(ctx context.Context, d *Durable, rec *journal.Record) (Stats, error) {
			from := int64(0)
			if rec != nil {
				from = rec.Point.Out
			}
			_, stats, err := Stream(ctx, d, bytes.NewReader(f.guest[from:]), StreamOptions{From: from, Tail: func(tail []byte, n int64) (int64, error) {
				if n != f.Size() || !bytes.Equal(tail, f.guest[max(0, n-TailSize):]) {
					return 0, fmt.Errorf("a tail of %d bytes of %d", len(tail), n)
				}
				return n, nil
			}}, Options{Segment: 64 << 10})
			return stats, err
		})
	},
	"convert": func(t *testing.T, seed uint64, c *crashDisk) ([]byte, int64) {
		s := newScript(seed, layoutOf(seed)%layouts, []int{512, 4096, 8192}[seed%3], seed%4 == 0)
		c.now, c.safe = make([]byte, len(s.guest)), make([]byte, len(s.guest))
		return s.guest, c.survive(t, DurableOptions{}, func(ctx context.Context, d *Durable, rec *journal.Record) (Stats, error) {
			from, o := int64(0), Options{Segment: 64 << 10, Done: doneOf(rec)}
			co := ConvertOptions{Hold: 64 << 10, Due: d.Due, Save: func(p *journal.Point) error { return d.Checkpoint(p, 0, true) },
				Again: func(context.Context) (io.Reader, error) { return bytes.NewReader(s.blob), nil }}
			if rec != nil {
				co.From, from = rec.Point, rec.Point.Pos
				if err := Check(s.learner(), rec.Point); err != nil {
					return Stats{}, err
				}
			}
			done, err := Convert(ctx, d, bytes.NewReader(s.blob[from:]), s.learner(), co, o)
			if err == nil && done.Data+done.Zero+done.Kept != int64(len(s.guest)) {
				err = fmt.Errorf("%+v of %d bytes", done, len(s.guest))
			}
			return done.Stats, err
		})
	},
}

func (c *crashDisk) image(seed uint64) *fakeImage {
	f := newFakeImage(seed, 60, int(seed%3)*512)
	c.now, c.safe = make([]byte, len(f.guest)), make([]byte, len(f.guest))
	return f
}

// TestGoesOn lets machines go down at many moments of each route, and wants the right disk in the end.
func TestGoesOn(t *testing.T) {
	for name, route := range crashRoutes {
		t.Run(name, func(t *testing.T) {
			kept := int64(0)
			for seed := range uint64(8) {
				c := &crashDisk{rnd: rand.New(rand.NewPCG(seed, 3))}
				want, k := route(t, seed, c)
				kept += k
				if !bytes.Equal(c.now, want) {
					t.Fatalf("seed %d: another disk", seed)
				}
			}
			if kept == 0 {
				t.Error("nothing was ever kept")
			}
			t.Logf("%d bytes were not done again", kept)
		})
	}
}

// TestLieIsFound: the test above sees it when a record comes before what it says is durable.
func TestLieIsFound(t *testing.T) {
	for seed := range uint64(50) {
		c := &crashDisk{rnd: rand.New(rand.NewPCG(seed, 3)), lie: true}
		if want, _ := crashRoutes["stored"](t, seed, c); !bytes.Equal(c.now, want) {
			return
		}
	}
	t.Error("it made no difference")
}
