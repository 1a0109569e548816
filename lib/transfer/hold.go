package transfer

import (
	"slices"
	"sort"
	"sync/atomic"

	"github.com/cdictl/cdictl/lib/internal/bufpool"
)

// recentSlabs is how many slabs are kept whole for a while although everything in them has been named: stored bytes that
// belong to two runs are mostly named twice within a few clusters.
const recentSlabs = 4

// A hold keeps bytes of a stream that have passed. What is live in it no run has named yet; when memory is short, the rest
// goes first, then what is live is moved together, then the oldest of it goes to evict. One goroutine uses it at a time.
type hold struct {
	pool  *bufpool.Pool
	most  int // slabs
	evict func(off int64, p []byte) error
	slabs []*slab // in stored order
	pos   int64   // end of what has passed
	live  int64   // bytes
	max   int64   // largest value of live, as measure saw it
}

// A slab is a buffer with pieces of the stream.
type slab struct {
	buf  []byte
	refs atomic.Int32 // the hold and the tasks that read buf
	has  []held       // what buf has, in stored order
	live []span       // what of it is live, in stored order
}

// held is a stretch of the stream at off, at buf[at:at+n].
type held struct {
	off   int64
	at, n int
}

func (x held) end() int64 { return x.off + int64(x.n) }
func (s span) end() int64 { return s.off + s.n }

func (b *slab) start() int64 { return b.has[0].off }
func (b *slab) end() int64   { return b.has[len(b.has)-1].end() }

func (b *slab) liveBytes() (n int64) {
	for _, s := range b.live {
		n += s.n
	}
	return n
}

// bytes returns what b has at off, which it has, to the end of the stretch.
func (b *slab) bytes(off int64) []byte {
	i := sort.Search(len(b.has), func(i int) bool { return b.has[i].end() > off })
	if i == len(b.has) || b.has[i].off > off {
		return nil
	}
	x := b.has[i]
	return b.buf[x.at+int(off-x.off) : x.at+x.n]
}

// release gives b back when its last user does.
func (h *hold) release(b *slab) {
	if b.refs.Add(-1) == 0 {
		h.pool.Put(b.buf)
	}
}

// full reports whether there is no room for another piece.
func (h *hold) full() bool { return len(h.slabs) >= h.most }

// add takes the next n bytes of the stream, which are in buf, as live.
func (h *hold) add(buf []byte, n int) {
	b := &slab{buf: buf, has: []held{{h.pos, 0, n}}, live: []span{{h.pos, int64(n)}}}
	b.refs.Store(1)
	h.slabs = append(h.slabs, b)
	h.pos += int64(n)
	h.live += int64(n)
}

// search returns the index of the first slab that ends behind off.
func (h *hold) search(off int64) int {
	return sort.Search(len(h.slabs), func(i int) bool { return h.slabs[i].end() > off })
}

// at returns bytes that are there from off on, and their slab; nil if there are none.
func (h *hold) at(off int64) (*slab, []byte) {
	i := h.search(off)
	if i == len(h.slabs) {
		return nil, nil
	}
	return h.slabs[i], h.slabs[i].bytes(off)
}

// next returns the first offset from off on of which there are bytes, the end of what has passed if there is none.
func (h *hold) next(off int64) int64 {
	i := h.search(off)
	if i == len(h.slabs) {
		return max(off, h.pos)
	}
	b := h.slabs[i]
	k := sort.Search(len(b.has), func(k int) bool { return b.has[k].end() > off })
	return max(off, b.has[k].off)
}

// name says that [off, end) is live no more.
func (h *hold) name(off, end int64) {
	for i := h.search(off); i < len(h.slabs) && h.slabs[i].start() < end; i++ {
		b := h.slabs[i]
		k := sort.Search(len(b.live), func(k int) bool { return b.live[k].end() > off })
		for k < len(b.live) && b.live[k].off < end {
			s := b.live[k]
			from, to := max(s.off, off), min(s.end(), end)
			h.live -= to - from
			left, right := span{s.off, from - s.off}, span{to, s.end() - to}
			switch {
			case left.n > 0 && right.n > 0:
				b.live[k] = left
				b.live = slices.Insert(b.live, k+1, right)
				k += 2
			case left.n > 0:
				b.live[k] = left
				k++
			case right.n > 0:
				b.live[k] = right
				k++
			default:
				b.live = slices.Delete(b.live, k, k+1)
			}
		}
	}
}

// measure notes how much is held but for flying bytes, and frees slabs that are neither live nor recent.
func (h *hold) measure(flying int64) {
	h.max = max(h.max, h.live-flying)
	if old := len(h.slabs) - recentSlabs; old > 0 {
		kept := h.slabs[:0]
		for i, b := range h.slabs {
			if i < old && len(b.live) == 0 {
				h.release(b)
				continue
			}
			kept = append(kept, b)
		}
		clear(h.slabs[len(kept):])
		h.slabs = kept
	}
}

// drop forgets everything before off.
func (h *hold) drop(off int64) {
	h.name(0, off)
	n := h.search(off)
	for _, b := range h.slabs[:n] {
		h.release(b)
	}
	h.slabs = slices.Delete(h.slabs, 0, n)
}

// shrink makes one slab less without a loss, if that can be.
func (h *hold) shrink() bool {
	least, at := int64(h.pool.Size())+1, -1 // at worst a copy of a slab, which is less than to write and read it
	for i, b := range h.slabs {
		n := b.liveBytes()
		if n == 0 {
			h.release(b)
			h.slabs = slices.Delete(h.slabs, i, i+1)
			return true
		}
		if i+1 < len(h.slabs) {
			if n += h.slabs[i+1].liveBytes(); n < least {
				least, at = n, i
			}
		}
	}
	if at < 0 {
		return false
	}
	buf := h.pool.TryGet()
	if buf == nil {
		return false
	}
	h.merge(at, buf)
	return true
}

// merge moves what is live in slabs i and i+1 into buf.
func (h *hold) merge(i int, buf []byte) {
	m := &slab{buf: buf}
	m.refs.Store(1)
	n := 0
	for _, b := range h.slabs[i : i+2] {
		for _, s := range b.live {
			for off := s.off; off < s.end(); {
				p := b.bytes(off)
				p = p[:min(int64(len(p)), s.end()-off)]
				copy(buf[n:], p)
				m.has = append(m.has, held{off, n, len(p)})
				n, off = n+len(p), off+int64(len(p))
			}
		}
		m.live = append(m.live, b.live...)
		h.release(b)
	}
	h.slabs[i] = m
	h.slabs = slices.Delete(h.slabs, i+1, i+2)
}

// evictFirst takes the oldest slab away.
func (h *hold) evictFirst(flying int64) error {
	b := h.slabs[0]
	h.max = max(h.max, h.live-flying)
	for _, s := range b.live {
		for off := s.off; off < s.end(); {
			p := b.bytes(off)
			p = p[:min(int64(len(p)), s.end()-off)]
			if err := h.evict(off, p); err != nil {
				return err
			}
			off += int64(len(p))
		}
	}
	h.live -= b.liveBytes()
	h.release(b)
	h.slabs = slices.Delete(h.slabs, 0, 1)
	return nil
}
