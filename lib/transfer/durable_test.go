package transfer

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/sink"
)

// slowFlush is a disk whose flushes end when they are let.
type slowFlush struct {
	sink.Keeper
	written atomic.Int64
	flush   chan struct{}
	saves   int64
	noted   atomic.Int64 // bytes that the last record covers
}

func (s *slowFlush) WriteAt(p []byte, _ int64) (int, error) {
	s.written.Add(int64(len(p)))
	return len(p), nil
}

func (s *slowFlush) Sync(context.Context) error {
	<-s.flush
	return nil
}

func (s *slowFlush) Save(b []byte) error {
	rec, err := journal.Decode(b)
	if err != nil {
		return err
	}
	s.saves++
	s.noted.Store(rec.Done.Bytes())
	return nil
}

func (s *slowFlush) Keep(bool)             {}
func (s *slowFlush) Load() ([]byte, error) { return nil, nil }
func (s *slowFlush) Drop() error           { return nil }

// However slow a flush is, what is not noted yet stays within the bound: a kill costs no more.
func TestDurableBoundsWhatIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowFlush{flush: make(chan struct{})}
		d := NewDurable(t.Context(), disk, DurableOptions{Journal: disk, Auto: func(*journal.Extents) *journal.Point { return nil }})
		const writers, each, segment = 4, 40, 1 << 20
		done := make(chan error, writers)
		buf := make([]byte, segment)
		for w := range int64(writers) {
			go func() {
				for i := range int64(each) {
					if _, err := d.WriteAt(buf, (i*writers+w)*segment); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		ended := 0
		for flushes := int64(0); ended < writers; flushes++ {
			synctest.Wait()
			for len(done) > 0 {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				ended++
			}
			if n := disk.saves; n != flushes {
				t.Fatalf("%d records after %d flushes", n, flushes)
			}
			if ahead := disk.written.Load() - disk.noted.Load(); ahead > aheadBytes+writers*segment {
				t.Fatalf("%d bytes are written and not noted after %d flushes, want at most %d", ahead, flushes, aheadBytes)
			}
			if ended < writers {
				disk.flush <- struct{}{}
			}
		}
		close(disk.flush)
		d.Leave(t.Context(), false)
	})
}

// What a record cannot be gone on with behind counts as not noted, though it was flushed.
func TestDurableCountsWhatIsBeyond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowFlush{flush: make(chan struct{})}
		d := NewDurable(t.Context(), disk, DurableOptions{Journal: disk})
		defer d.Leave(t.Context(), false)
		defer close(disk.flush)
		const segment, beyond = 1 << 20, 12 << 20
		write := func(n int64) {
			for range n / segment {
				if _, err := d.WriteAt(make([]byte, segment), disk.written.Load()); err != nil {
					t.Error(err)
				}
			}
		}
		write(20 << 20)
		if err := d.Checkpoint(&journal.Point{}, beyond, false); err != nil {
			t.Fatal(err)
		}
		disk.flush <- struct{}{}
		synctest.Wait()
		if err := d.Checkpoint(&journal.Point{}, 0, false); err != nil {
			t.Fatal(err)
		}
		go write(aheadBytes)
		synctest.Wait()
		if got, want := disk.written.Load(), int64(20<<20+aheadBytes-beyond); got != want {
			t.Errorf("%d bytes are written beside a flush, want %d", got, want)
		}
	})
}
