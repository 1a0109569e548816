package filesink

import "sync/atomic"

const (
	leafWords = 4096           // 32 KiB, made when the first of its bits is set
	leafBits  = leafWords * 64 // 1 GiB of disk at one bit for 4 KiB
	maxLeaves = 64             // 2 MiB of bits, for any disk
)

// written remembers where a disk may have been written, so that zeros over nothing cost nothing. It errs on the side
// of "written". All methods are safe for concurrent use.
type written struct {
	shift  uint // one bit stands for 1<<shift bytes
	leaves []atomic.Pointer[[leafWords]atomic.Uint64]
	high   atomic.Int64 // end of the last write
}

// init prepares for a disk of size bytes, -1 where unknown. Above 64 GiB a bit stands for more than 4 KiB.
func (w *written) init(size int64) {
	w.shift = 12
	if size < 0 {
		// The stream comes in order, so that high says most of it; 64 KiB reach to 1 TiB.
		w.shift, size = 16, maxLeaves*leafBits<<16
	}
	last := max(size-1, 0)
	for last>>w.shift >= maxLeaves*leafBits {
		w.shift++
	}
	w.leaves = make([]atomic.Pointer[[leafWords]atomic.Uint64], last>>w.shift/leafBits+1)
}

func (w *written) leaf(i int64) *[leafWords]atomic.Uint64 {
	p := &w.leaves[i]
	if l := p.Load(); l != nil {
		return l
	}
	p.CompareAndSwap(nil, new([leafWords]atomic.Uint64))
	return p.Load()
}

// mark remembers [off, off+n), n > 0.
func (w *written) mark(off, n int64) {
	for h := w.high.Load(); off+n > h && !w.high.CompareAndSwap(h, off+n); {
		h = w.high.Load()
	}
	end := min((off+n-1)>>w.shift+1, int64(len(w.leaves))*leafBits)
	for i := off >> w.shift; i < end; {
		in := i % 64
		k := min(64-in, end-i)
		mask := ^uint64(0) >> (64 - k) << in
		if word := &w.leaf(i / leafBits)[i%leafBits/64]; word.Load()&mask != mask {
			word.Or(mask)
		}
		i += k
	}
}

// at tells the state of bit i and a bit up to which it is the same.
func (w *written) at(i int64) (was bool, to int64) {
	if i >= int64(len(w.leaves))*leafBits {
		return true, 1<<63 - 1
	}
	l := w.leaves[i/leafBits].Load()
	if l == nil {
		return false, (i/leafBits + 1) * leafBits
	}
	switch word := l[i%leafBits/64].Load(); word {
	case 0, ^uint64(0):
		return word != 0, (i/64 + 1) * 64
	default:
		return word>>(i%64)&1 != 0, i + 1
	}
}

// runs calls f for the longest runs of [off, off+n) that may have been written, or have not, in order.
func (w *written) runs(off, n int64, f func(off, n int64, was bool) error) error {
	end := off + n
	high := min(max(w.high.Load(), off), end)
	for off < high {
		was, to := w.at(off >> w.shift)
		for to < 1<<62>>w.shift && to<<w.shift < high {
			next, further := w.at(to)
			if next != was {
				break
			}
			to = further
		}
		stop := high
		if to < 1<<62>>w.shift {
			stop = min(to<<w.shift, high)
		}
		if !was && stop == high {
			break // one run with what lies behind high
		}
		if err := f(off, stop-off, was); err != nil {
			return err
		}
		off = stop
	}
	if off < end {
		return f(off, end-off, false)
	}
	return nil
}
