package blocksink

import (
	"fmt"
	"math/bits"
	"sync"
)

const (
	leafWords = 4096           // 32 KiB, made when the first of its bits is set
	leafBits  = leafWords * 64 // units
	maxLeaves = 128            // 4 MiB of bits, for any device: 4 KiB a bit up to 128 GiB, 2 MiB a bit at 64 TiB

	minUnit     = 4096
	maxPartial  = 1024    // units
	partialMem  = 1 << 20 // bytes of their bits
	minPartials = 16
)

// cover remembers, to the sector, what of a device holds content of this disk: data or zeros. The rest holds what was
// there before. It is exact and takes bounded memory: a unit of many sectors that is known in part has a bit for each
// sector, and when there are too many such units, the rest of the one that has waited longest is zeroed.
//
// All methods but clearFrom and next are safe for concurrent use.
type cover struct {
	sector, unit int64
	size         int64
	zero         func(off, n int64) error // makes a stretch of the device zeros

	mu       sync.Mutex
	settled  sync.Cond // settling changed
	full     []*[leafWords]uint64
	partial  map[int64][]uint64
	queue    []int64 // of units, in the order in which they became partial; some are so no longer
	most     int     // partial units
	settling int64   // the unit whose rest is being zeroed; -1: none
}

func newCover(size, sector int64, zero func(off, n int64) error) *cover {
	c := &cover{sector: sector, unit: max(minUnit, sector), size: size, zero: zero, partial: map[int64][]uint64{}, settling: -1}
	c.settled.L = &c.mu
	for c.units() > maxLeaves*leafBits {
		c.unit *= 2
	}
	c.full = make([]*[leafWords]uint64, (c.units()+leafBits-1)/leafBits)
	c.most = int(max(minPartials, min(maxPartial, partialMem/(c.unit/sector/8+1))))
	return c
}

func (c *cover) units() int64 { return (c.size + c.unit - 1) / c.unit }

// mark notes that [off, off+n), whole sectors, is about to be written, and reports whether the first sector had been.
// It waits while a part of it is being zeroed, so that what is written afterwards stays.
func (c *cover) mark(off, n int64) (was bool, err error) {
	if n <= 0 || off < 0 || off+n > c.size || off%c.sector != 0 || n%c.sector != 0 {
		panic(fmt.Sprintf("blocksink: mark [%d,+%d) of %d", off, n, c.size))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.settling >= 0 && off < (c.settling+1)*c.unit && off+n > c.settling*c.unit {
		c.settled.Wait()
	}
	was = c.has(off)
	c.set(off, off+n)
	for len(c.partial) > c.most {
		if c.settling >= 0 {
			c.settled.Wait()
			continue
		}
		if err := c.settleOne(); err != nil {
			return was, err
		}
	}
	return was, nil
}

// settle zeroes the rest of every unit that is known in part.
func (c *cover) settle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.partial) > 0 {
		if err := c.settleOne(); err != nil {
			return err
		}
	}
	return nil
}

// settleOne zeroes the rest of one unit, without c.mu meanwhile.
func (c *cover) settleOne() error {
	u := c.queue[0]
	c.queue = c.queue[1:]
	p, ok := c.partial[u]
	if !ok {
		return nil
	}
	delete(c.partial, u)
	c.setUnits(u, u+1)
	c.settling = u
	c.mu.Unlock()
	var err error
	n := c.sectors(u)
	for s := int64(0); s < n && err == nil; {
		if bit(p, s) {
			s++
			continue
		}
		from := s
		for s < n && !bit(p, s) {
			s++
		}
		err = c.zero(u*c.unit+from*c.sector, (s-from)*c.sector)
	}
	c.mu.Lock()
	c.settling = -1
	c.settled.Broadcast()
	return err
}

func bit(p []uint64, i int64) bool { return p[i/64]>>(i%64)&1 != 0 }

// sectors of unit u; the last unit may be short.
func (c *cover) sectors(u int64) int64 { return (min((u+1)*c.unit, c.size) - u*c.unit) / c.sector }

func (c *cover) isFull(u int64) bool {
	l := c.full[u/leafBits]
	return l != nil && l[u%leafBits/64]>>(u%64)&1 != 0
}

func (c *cover) has(off int64) bool {
	u := off / c.unit
	if c.isFull(u) {
		return true
	}
	p := c.partial[u]
	return p != nil && bit(p, off%c.unit/c.sector)
}

func (c *cover) set(off, end int64) {
	first, last := off/c.unit, (end-1)/c.unit
	if first == last {
		c.setPart(first, off, end)
		return
	}
	c.setPart(first, off, (first+1)*c.unit)
	c.setPart(last, last*c.unit, end)
	c.setUnits(first+1, last)
	if int64(len(c.partial)) > last-first {
		for u := first + 1; u < last; u++ {
			delete(c.partial, u)
		}
		return
	}
	for u := range c.partial {
		if u > first && u < last {
			delete(c.partial, u)
		}
	}
}

// setPart sets sectors of one unit.
func (c *cover) setPart(u, off, end int64) {
	if c.isFull(u) {
		return
	}
	n := c.sectors(u)
	from, to := (off-u*c.unit)/c.sector, (end-u*c.unit)/c.sector
	p := c.partial[u]
	if to-from < n {
		if p == nil {
			p = make([]uint64, (n+63)/64)
			c.partial[u] = p
			c.enqueue(u)
		}
		for s := from; s < to; s++ {
			p[s/64] |= 1 << (s % 64)
		}
		set := 0
		for _, w := range p {
			set += bits.OnesCount64(w)
		}
		if int64(set) < n {
			return
		}
	}
	delete(c.partial, u)
	c.setUnits(u, u+1)
}

// enqueue adds u, which just became partial, and drops what is partial no longer when that is most of the queue.
func (c *cover) enqueue(u int64) {
	if len(c.queue) > 2*c.most+1 {
		seen := make(map[int64]bool, len(c.partial))
		kept := make([]int64, 0, len(c.partial))
		for _, q := range c.queue {
			if _, ok := c.partial[q]; ok && q != u && !seen[q] {
				seen[q] = true
				kept = append(kept, q)
			}
		}
		c.queue = kept
	}
	c.queue = append(c.queue, u)
}

// setUnits sets whole units [from, to).
func (c *cover) setUnits(from, to int64) {
	for u := from; u < to; {
		k := min(64-u%64, to-u)
		c.leaf(u)[u%leafBits/64] |= ^uint64(0) >> (64 - k) << (u % 64)
		u += k
	}
}

func (c *cover) leaf(u int64) *[leafWords]uint64 {
	l := c.full[u/leafBits]
	if l == nil {
		l = new([leafWords]uint64)
		c.full[u/leafBits] = l
	}
	return l
}

// clearFrom forgets all units from the one that begins at or after off. Nothing may be partial.
func (c *cover) clearFrom(off int64) {
	for u := (off + c.unit - 1) / c.unit; u < c.units(); {
		k := min(64-u%64, c.units()-u)
		if l := c.full[u/leafBits]; l != nil {
			l[u%leafBits/64] &^= ^uint64(0) >> (64 - k) << (u % 64)
		}
		u += k
	}
}

// next returns the first stretch at or behind off that holds old content; it is empty at the end of the device.
// Nothing may be partial, and off is a multiple of the unit or the end.
func (c *cover) next(off int64) (from, to int64) {
	u := c.seek((off+c.unit-1)/c.unit, false)
	return min(u*c.unit, c.size), min(c.seek(u, true)*c.unit, c.size)
}

// seek returns the first unit from u on that is full, or is not; c.units() if there is none.
func (c *cover) seek(u int64, full bool) int64 {
	for u < c.units() {
		var word uint64
		l := c.full[u/leafBits]
		if l == nil {
			if !full {
				return u
			}
			u = (u/leafBits + 1) * leafBits
			continue
		}
		word = l[u%leafBits/64]
		if !full {
			word = ^word
		}
		if word >>= u % 64; word != 0 {
			return min(u+int64(bits.TrailingZeros64(word)), c.units())
		}
		u = (u/64 + 1) * 64
	}
	return c.units()
}
