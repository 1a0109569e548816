package sinktest

import (
	"math/rand/v2"
	"sync"
	"testing"
	"unsafe"

	"github.com/cdictl/cdictl/lib/sink"
)

// inOrder writes and zeros pieces of odd lengths, one after the other.
func (f Factory) inOrder(t *testing.T, size int, opened int64) {
	p := f.New(t)
	s := open(t, p, sink.Options{Size: opened})
	want := content(size)
	for off, i := 0, 0; off < size; i++ {
		n := min([]int{1, 511, 4096, 70_003, 1 << 20}[i%5], size-off)
		if i%3 == 2 {
			clear(want[off : off+n])
			zero(t, s, int64(off), int64(n))
		} else {
			write(t, s, want[off:off+n], int64(off))
		}
		off += n
	}
	commit(t, p, s, want)
}

// zerosOnly zeros the whole disk, where nothing was written.
func (f Factory) zerosOnly(t *testing.T, size int) {
	p := f.New(t)
	s := open(t, p, sink.Options{Size: int64(size)})
	zero(t, s, 0, int64(size))
	commit(t, p, s, make([]byte, size))
}

// piece is a range of the disk and what becomes of it.
type piece struct {
	off, n int
	zeros  int // 0: write; 1: zero; 2: write, then zero; 3: zero, then write
}

// pieces cuts [0,size) at random places: many within a page of each other, some far apart, some at round numbers.
func pieces(r *rand.Rand, size int) []piece {
	var ps []piece
	for off := 0; off < size; {
		var n int
		switch r.IntN(4) {
		case 0:
			n = 1 + r.IntN(600)
		case 1:
			n = 1 + r.IntN(9000)
		case 2:
			n = 4096*(1+r.IntN(64)) - off%4096
		default:
			n = 1 + r.IntN(400_000)
		}
		n = min(n, size-off)
		ps = append(ps, piece{off, n, r.IntN(4)})
		off += n
	}
	r.Shuffle(len(ps), func(i, j int) { ps[i], ps[j] = ps[j], ps[i] })
	return ps
}

// atRandom works on disjoint pieces in random order from several goroutines, with memory of every alignment. Pieces
// meet within pages and sectors, so a sink that mixes direct and buffered writes, or that reads, changes and writes
// whole blocks, shows it here.
func (f Factory) atRandom(t *testing.T, size int, preallocate bool) {
	for seed := range uint64(3) {
		p := f.New(t)
		s := open(t, p, sink.Options{Size: int64(size), Preallocate: preallocate})
		r := rand.New(rand.NewPCG(seed, uint64(size)))
		want := content(size)
		ps := pieces(r, size)
		work := make(chan piece)
		var wg sync.WaitGroup
		for g := range 3 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(g)))
				for q := range work {
					f.piece(t, s, r, want[q.off:q.off+q.n], q)
				}
			})
		}
		for _, q := range ps {
			work <- q
		}
		close(work)
		wg.Wait()
		commit(t, p, s, want)
	}
}

// piece does q and leaves in want what the disk must have there.
func (f Factory) piece(t *testing.T, s sink.Sink, r *rand.Rand, want []byte, q piece) {
	off, n := int64(q.off), int64(q.n)
	switch q.zeros {
	case 0:
		write(t, s, aligned(want, r.IntN(2)*r.IntN(4096)), off)
	case 1:
		clear(want)
		zero(t, s, off, n)
	case 2:
		write(t, s, aligned(want, r.IntN(2)*r.IntN(4096)), off)
		clear(want)
		zero(t, s, off, n)
	case 3:
		zero(t, s, off, n)
		write(t, s, aligned(want, 0), off)
	}
}

// aligned copies b to memory that begins shift bytes behind a multiple of 4096.
func aligned(b []byte, shift int) []byte {
	p := make([]byte, len(b)+8192)
	skip := shift
	if r := int(uintptr(unsafe.Pointer(unsafe.SliceData(p))) % 4096); r != 0 {
		skip += 4096 - r
	}
	p = p[skip : skip+len(b)]
	copy(p, b)
	return p
}

// zeroOverData zeros what was written, at every alignment, and writes into it again.
func (f Factory) zeroOverData(t *testing.T) {
	const size = 3<<20 + 100
	for _, preallocate := range []bool{false, true} {
		for _, q := range [][2]int{{0, 4096}, {0, size}, {1, 4094}, {4095, 2}, {5000, 1 << 20}, {1 << 20, 1 << 20}, {size - 1, 1}, {size - 5000, 5000}, {100, size - 200}} {
			p := f.New(t)
			s := open(t, p, sink.Options{Size: size, Preallocate: preallocate})
			want := content(size)
			write(t, s, want, 0)
			clear(want[q[0] : q[0]+q[1]])
			zero(t, s, int64(q[0]), int64(q[1]))
			zero(t, s, int64(q[0]), int64(q[1])) // again, over zeros
			copy(want[q[0]:], content(q[1]/2))
			write(t, s, want[q[0]:q[0]+q[1]/2], int64(q[0]))
			commit(t, p, s, want)
		}
	}
}

// untouched writes here and there, with the size known and not: what lies between reads as zeros.
func (f Factory) untouched(t *testing.T) {
	const size = 3<<20 + 512
	for _, known := range []int64{size, -1} {
		p := f.New(t)
		s := open(t, p, sink.Options{Size: known})
		want, data := make([]byte, size), content(size)
		for _, r := range [][2]int{{100_000, 70_001}, {1 << 20, 4096}, {2<<20 + 3, 10}, {size - 700, 100}} {
			write(t, s, data[r[0]:r[0]+r[1]], int64(r[0]))
			copy(want[r[0]:], data[r[0]:r[0]+r[1]])
		}
		commit(t, p, s, want)
	}
}
