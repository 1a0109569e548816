package sinktest

import (
	"errors"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
)

// commitLarger commits more than was written: the rest reads as zeros.
func (f Factory) commitLarger(t *testing.T) {
	for _, size := range []int64{-1, 2_000_001} {
		p := f.New(t)
		s := open(t, p, sink.Options{Size: size})
		want := make([]byte, 2_000_001)
		copy(want, content(10_001))
		write(t, s, want[:10_001], 0)
		commit(t, p, s, want)
	}
}

// commitLess cuts off what was written behind the size, and it stays cut.
func (f Factory) commitLess(t *testing.T) {
	for _, size := range []int64{-1, 100_000} {
		for _, preallocate := range []bool{false, true} {
			p := f.New(t)
			s := open(t, p, sink.Options{Size: size, Preallocate: preallocate})
			want := content(100_000)
			write(t, s, want, 0)
			commit(t, p, s, want[:70_001])
		}
	}
}

// outOfOrder checks that an ordered sink refuses what it cannot do.
func (f Factory) outOfOrder(t *testing.T) {
	p := f.New(t)
	s := open(t, p, sink.Options{Size: 100_000})
	write(t, s, content(100), 0)
	for _, off := range []int64{0, 99, 101} {
		if n, err := s.WriteAt(make([]byte, 10), off); n != 0 || err == nil {
			t.Errorf("WriteAt at %d behind 100 bytes: %d, %v, want an error", off, n, err)
		}
		if err := s.Zero(off, 10); err == nil {
			t.Errorf("Zero at %d behind 100 bytes: no error", off)
		}
	}
	if err := s.Commit(t.Context(), 99); err == nil {
		t.Error("Commit of less than was written: no error")
	}
}

func (f Factory) closeDrops(t *testing.T) {
	for _, size := range []int64{-1, 100_000} {
		p := f.New(t)
		s := open(t, p, sink.Options{Size: size})
		write(t, s, content(100_000), 0)
		nothing(t, p)
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		nothing(t, p)
		leftovers(t, p)
	}
}

// existing checks that what is there is kept, however late it came, unless the target may replace it.
func (f Factory) existing(t *testing.T) {
	p := f.New(t)
	if p.Occupy == nil {
		return
	}
	old := []byte("somebody's disk")
	occupy := func(p Place) {
		t.Helper()
		if err := p.Occupy(old); err != nil {
			t.Fatal(err)
		}
	}
	occupy(p)
	if s, err := p.Target.Open(t.Context(), sink.Options{Size: 5}); !errors.Is(err, errdef.ErrExists) {
		t.Errorf("Open over an existing disk: %v, want ErrExists", err)
		if err == nil {
			_ = s.Close()
		}
	}
	expect(t, p, old)
	leftovers(t, p)

	p = f.New(t)
	s := open(t, p, sink.Options{Size: 5})
	write(t, s, content(5), 0)
	occupy(p)
	if err := s.Commit(t.Context(), 5); !errors.Is(err, errdef.ErrExists) {
		t.Errorf("Commit over a disk that came meanwhile: %v, want ErrExists", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	expect(t, p, old)
	leftovers(t, p)

	if p.Forced == nil {
		return
	}
	p.Target = p.Forced
	s = open(t, p, sink.Options{Size: 5})
	write(t, s, content(5), 0)
	expect(t, p, old)
	if err := s.Close(); err != nil { // changed its mind
		t.Errorf("Close: %v", err)
	}
	expect(t, p, old)
	s = open(t, p, sink.Options{Size: 5})
	write(t, s, content(5), 0)
	commit(t, p, s, content(5))
}

// busy checks that two writers do not share a part, or a device.
func (f Factory) busy(t *testing.T) {
	p := f.New(t)
	if p.Occupy == nil && !p.Fixed {
		return
	}
	s := open(t, p, sink.Options{Size: 5})
	if other, err := p.Target.Open(t.Context(), sink.Options{Size: 5}); !errors.Is(err, errdef.ErrBusy) {
		t.Errorf("second Open: %v, want ErrBusy", err)
		if err == nil {
			_ = other.Close()
		}
	}
	write(t, s, content(5), 0)
	commit(t, p, s, content(5))
}

// sparse checks that only data takes space.
func (f Factory) sparse(t *testing.T) {
	const size, data = 32 << 20, 64 << 10
	p := f.New(t)
	s := open(t, p, sink.Options{Size: size})
	want := make([]byte, size)
	copy(want[20<<20:], content(data))
	write(t, s, content(4<<20), 8<<20) // comes and goes
	zero(t, s, 0, 20<<20)
	write(t, s, want[20<<20:20<<20+data], 20<<20)
	zero(t, s, 20<<20+data, 4<<20)
	commit(t, p, s, want)
	if n := allocated(t, p); n < data || n > data+512<<10 {
		t.Errorf("%d bytes of data take %d bytes of storage", data, n)
	}
}

// preallocate checks that every byte has its storage, zeroed or not, and that content is right nevertheless.
func (f Factory) preallocate(t *testing.T) {
	const size = 8<<20 + 513
	for _, opened := range []int64{size, -1} {
		p := f.New(t)
		s := open(t, p, sink.Options{Size: opened, Preallocate: true})
		want := make([]byte, size)
		copy(want, content(2<<20))
		write(t, s, want[:2<<20], 0)
		clear(want[1<<20 : 2<<20])
		zero(t, s, 1<<20, 5<<20)
		commit(t, p, s, want)
		if n := allocated(t, p); n < size {
			t.Errorf("opened with size %d: %d bytes take %d bytes of storage", opened, size, n)
		}
	}
}
