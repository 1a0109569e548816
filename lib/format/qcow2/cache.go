package qcow2

import (
	"errors"
	"sync"
	"sync/atomic"
)

const (
	maxCacheBytes = 8 << 20 // L2 tables of a 64 GiB disk with clusters of 64 KiB
	minCacheBytes = 1 << 20
	tableOverhead = 256 // of a slice beside its bytes, about

	readAhead    = 256 << 10 // tables read at once when they lie behind each other
	gapReadAhead = 1 << 20   // the same where reading over gaps pays
	maxSkipHoles = 4096      // L1 entries looked at on the way to the next table
)

// errNotRead marks a slice that was to be read ahead and was not.
var errNotRead = errors.New("not read")

// A cache holds slices of L2 tables by their number in guest order. One reader loads a slice, others wait for it.
type cache struct {
	d    *disk
	max  int
	last atomic.Pointer[slice] // the one that was last asked for: who walks a disk asks for it again

	mu    sync.Mutex
	m     map[int64]*slice
	clock []int64 // numbers of the slices in m, in a ring
	hand  int
}

// A slice is a part of an L2 table as it is stored. data and err are valid once done is closed.
type slice struct {
	done chan struct{}
	data []byte
	err  error
	used bool  // since the hand passed; under the cache's mu
	no   int64 // its number
	at   int64 // where it is stored
}

func newCache(d *disk, metadata int64) *cache {
	budget := min(max(metadata/6, minCacheBytes), maxCacheBytes)
	return &cache{d: d, max: int(budget / (d.sliceBytes() + tableOverhead)), m: make(map[int64]*slice)}
}

// sliceBytes is the size of a slice.
func (d *disk) sliceBytes() int64 { return 1 << (d.sliceBits + d.entryBits) }

// sliceHost is where slice i is stored; 0 if it is a hole.
func (d *disk) sliceHost(i int64) int64 {
	perTable := d.l2Bits - d.sliceBits
	l2 := d.l1[i>>perTable]
	if l2 == 0 {
		return 0
	}
	return int64(l2) + (i&(1<<perTable-1))*d.sliceBytes()
}

// get returns slice i, which is not a hole.
func (c *cache) get(i int64) ([]byte, error) {
	if s := c.last.Load(); s != nil && s.no == i {
		return s.data, nil
	}
	for {
		c.mu.Lock()
		if s, ok := c.m[i]; ok {
			s.used = true
			c.mu.Unlock()
			<-s.done
			if errors.Is(s.err, errNotRead) {
				continue
			}
			if s.err == nil {
				c.last.Store(s)
			}
			return s.data, s.err
		}
		var batch [64]*slice
		batch[0] = c.insert(i, c.d.sliceHost(i))
		n := 1 + c.ahead(i, batch[1:])
		c.mu.Unlock()
		c.load(batch[:n])
		return batch[0].data, batch[0].err
	}
}

// insert makes room for a slice. c.mu is held.
func (c *cache) insert(i, host int64) *slice {
	s := &slice{done: make(chan struct{}), no: i, at: host}
	if len(c.clock) < c.max {
		c.clock = append(c.clock, i)
	} else {
		for {
			old, ok := c.m[c.clock[c.hand]]
			if !ok || !old.used {
				break
			}
			old.used = false
			c.hand = (c.hand + 1) % len(c.clock)
		}
		delete(c.m, c.clock[c.hand])
		c.clock[c.hand] = i
		c.hand = (c.hand + 1) % len(c.clock)
	}
	c.m[i] = s
	return s
}

// ahead inserts the slices behind i in guest order that lie behind it in the file too, near enough for one read, into
// batch; it returns how many. c.mu is held.
func (c *cache) ahead(i int64, batch []*slice) int {
	d := c.d
	perTable := d.l2Bits - d.sliceBits
	window := int64(readAhead)
	if d.gap > 0 {
		window = gapReadAhead
	}
	first := d.sliceHost(i)
	end := first + d.sliceBytes()
	n, holes := 0, 0
	// A quarter of the cache at most: what was read ahead must not push itself out.
	for room := min(len(batch), c.max/4); n < room; {
		i++
		if i >= int64(len(d.l1))<<perTable || holes > maxSkipHoles {
			break
		}
		host := d.sliceHost(i)
		if host == 0 {
			i |= 1<<perTable - 1
			holes++
			continue
		}
		if _, ok := c.m[i]; ok || host < end || host-end > d.gap || host+d.sliceBytes()-first > window {
			break
		}
		batch[n] = c.insert(i, host)
		n++
		end = host + d.sliceBytes()
	}
	return n
}

// load reads the slices of batch with one read; if that fails, the first alone.
func (c *cache) load(batch []*slice) {
	size := c.d.sliceBytes()
	start, end := batch[0].at, batch[len(batch)-1].at+size
	var err error
	if len(batch) == 1 {
		batch[0].data = make([]byte, size)
		err = c.d.readFull(batch[0].data, start, "L2 table")
	} else {
		buf := make([]byte, end-start)
		if err = c.d.readFull(buf, start, "L2 tables"); err == nil {
			for _, s := range batch {
				s.data = append(make([]byte, 0, size), buf[s.at-start:][:size]...)
			}
		} else {
			batch[0].data = make([]byte, size)
			err = c.d.readFull(batch[0].data, start, "L2 table")
			c.forget(batch[1:], errNotRead)
			batch = batch[:1]
		}
	}
	if err != nil {
		c.forget(batch, err)
		return
	}
	for _, s := range batch {
		close(s.done)
	}
}

// forget ends the loading of slices with err, and takes them out so that the next reader tries again.
func (c *cache) forget(batch []*slice, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range batch {
		if c.m[s.no] == s {
			delete(c.m, s.no)
		}
		s.data, s.err = nil, err
		close(s.done)
	}
}
