package transfer

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cdictl/cdictl/lib/internal/journal"
)

// What is cloned is not read, what is not is copied, and nothing is written twice.
func TestCopyClones(t *testing.T) {
	for seed := range uint64(8) {
		f := newFakeImage(seed, 100, 777)
		s := newMemSink(t, f.Size())
		left := 7 // then the filesystem cannot any more
		o := Options{Segment: 64 << 10, Clone: func(off, n int64) (int64, error) {
			n -= n % 4096
			if n == 0 {
				return 0, nil
			}
			if left--; left < 0 {
				return 0, nil
			}
			_, err := s.WriteAt(f.guest[off:off+n], off)
			return n, err
		}}
		stats, err := Copy(t.Context(), s, f, o)
		if err != nil || !bytes.Equal(s.data, f.guest) {
			t.Fatalf("seed %d: %v, or another disk", seed, err)
		}
		if stats.Cloned == 0 || stats.Data == 0 || stats.Cloned+stats.Data+stats.Zero != f.Size() {
			t.Errorf("seed %d: %+v of %d", seed, stats, f.Size())
		}
	}
	down := errors.New("no space")
	f := newFakeImage(1, 10, 0)
	if _, err := Copy(t.Context(), newMemSink(t, f.Size()), f, Options{Clone: func(int64, int64) (int64, error) { return 0, down }}); !errors.Is(err, down) {
		t.Error(err)
	}
}

// A machine that goes down has what the record says was cloned.
func TestClonesSurvive(t *testing.T) {
	for seed := range uint64(20) {
		f := newFakeImage(seed, 60, 0)
		c := &crashDisk{rnd: rand.New(rand.NewPCG(seed, 3)), now: make([]byte, f.Size()), safe: make([]byte, f.Size()), shares: f.guest}
		c.survive(t, DurableOptions{Auto: nowhere}, func(ctx context.Context, d *Durable, rec *journal.Record) (Stats, error) {
			if rec != nil {
				for off := int64(0); off < f.Size(); {
					in, n := rec.Done.At(off)
					end := min(off+n, f.Size())
					if in && !bytes.Equal(c.now[off:end], f.guest[off:end]) {
						t.Fatalf("seed %d: the record has [%d,%d), and the disk another content", seed, off, end)
					}
					off = end
				}
			}
			o := Options{Segment: 64 << 10, Workers: 1, Done: doneOf(rec)}
			o.Clone = func(off, n int64) (int64, error) { return d.Clone(nil, off, n) }
			return Copy(ctx, d, f, o)
		})
		if !bytes.Equal(c.now, f.guest) {
			t.Fatalf("seed %d: another disk", seed)
		}
	}
}
