package vmdk

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cdictl/cdictl/lib/internal/blob"
)

const (
	maxCacheBytes = 8 << 20 // grain tables of a 128 GiB disk with grains of 64 KiB
	minCacheBytes = 1 << 20
	tableOverhead = 256 // of a table beside its bytes, about

	readAhead    = 256 << 10 // tables read at once when they lie behind each other
	gapReadAhead = 1 << 20   // the same where reading over gaps pays
	maxAhead     = 64        // tables read for one that is wanted
	maxSkipHoles = 4096      // directory entries looked at on the way to the next table
	// aheadReads is how many reads are under way at once where each costs a round trip: in a stream that VMware wrote,
	// every table lies behind its grains, alone.
	aheadReads = 8
)

// A cache holds grain tables by their number in the disk. One reader loads a table, others wait for it.
type cache struct {
	gap  int64
	max  int
	last atomic.Pointer[table] // the one that was last asked for: who walks a disk asks for it again

	mu    sync.Mutex
	m     map[int64]*table
	clock []int64 // numbers of the tables in m, in a ring
	hand  int
}

// A table is a grain table as it is stored. data and err are valid once done is closed.
type table struct {
	done chan struct{}
	data []byte
	err  error
	used bool // since the hand passed; under the cache's mu
	no   int64
	at   int64 // where it is stored
}

func newCache(d *disk, metadata int64) *cache {
	largest := int64(1)
	for _, e := range d.extents {
		if len(e.gd) > 0 {
			largest = max(largest, e.tableBytes())
		}
	}
	bytes := min(max(metadata/6, minCacheBytes), maxCacheBytes)
	return &cache{gap: d.gap, max: int(bytes / (largest + tableOverhead)), m: make(map[int64]*table)}
}

// get returns table i of e, which is not a hole.
func (c *cache) get(e *extent, i int64) ([]byte, error) {
	no := e.firstTable + i
	if t := c.last.Load(); t != nil && t.no == no {
		return t.data, nil
	}
	c.mu.Lock()
	if t, ok := c.m[no]; ok {
		t.used = true
		c.mu.Unlock()
		<-t.done
		if t.err == nil {
			c.last.Store(t)
		}
		return t.data, t.err
	}
	batch := make([]*table, 1, maxAhead)
	batch[0] = c.insert(no, int64(e.gd[i])*sector)
	batch = c.ahead(e, i, batch)
	c.mu.Unlock()
	first := batch[0]
	c.load(e, batch)
	return first.data, first.err
}

// insert makes room for a table. c.mu is held.
func (c *cache) insert(no, at int64) *table {
	t := &table{done: make(chan struct{}), no: no, at: at}
	if len(c.clock) < c.max {
		c.clock = append(c.clock, no)
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
		c.clock[c.hand] = no
		c.hand = (c.hand + 1) % len(c.clock)
	}
	c.m[no] = t
	return t
}

// ahead inserts the tables behind i in guest order that are worth reading with it, into batch: on a local file those that
// lie behind it; elsewhere any. c.mu is held.
func (c *cache) ahead(e *extent, i int64, batch []*table) []*table {
	size := e.tableBytes()
	end, holes := batch[0].at+size, 0
	// A quarter of the cache at most: what was read ahead must not push itself out.
	for room := min(cap(batch), c.max/4); len(batch) < room; {
		i++
		if i >= int64(len(e.gd)) || holes > maxSkipHoles {
			break
		}
		if e.gd[i] == 0 {
			holes++
			continue
		}
		at := int64(e.gd[i]) * sector
		if _, ok := c.m[e.firstTable+i]; ok || c.gap == 0 && (at != end || at+size-batch[0].at > readAhead) {
			break
		}
		batch = append(batch, c.insert(e.firstTable+i, at))
		end = at + size
	}
	return batch
}

// load reads the tables of batch, with as few reads as they need. The first is the one that is wanted.
func (c *cache) load(e *extent, batch []*table) {
	slices.SortFunc(batch, func(a, b *table) int { return cmp.Compare(a.at, b.at) })
	size := e.tableBytes()
	var wg sync.WaitGroup
	slots := make(chan struct{}, aheadReads)
	for len(batch) > 0 {
		n := 1
		for n < len(batch) && batch[n].at-batch[n-1].at-size <= c.gap && batch[n].at+size-batch[0].at <= gapReadAhead {
			n++
		}
		group := batch[:n]
		batch = batch[n:]
		if len(batch) == 0 {
			c.read(e, group) // the last one, or the only one
			break
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			c.read(e, group)
		})
	}
	wg.Wait()
}

// read reads the tables of a group with one read; if that fails, each alone.
func (c *cache) read(e *extent, group []*table) {
	size := e.tableBytes()
	if len(group) > 1 {
		first := group[0].at
		buf := make([]byte, group[len(group)-1].at+size-first)
		if blob.ReadFull("vmdk", e.ra, buf, first, "grain tables") == nil {
			for _, t := range group {
				t.data = append(make([]byte, 0, size), buf[t.at-first:][:size]...)
				close(t.done)
			}
			return
		}
	}
	for _, t := range group {
		t.data = make([]byte, size)
		if err := blob.ReadFull("vmdk", e.ra, t.data, t.at, "grain table"); err != nil {
			c.forget(t, err)
			continue
		}
		close(t.done)
	}
}

// forget ends the loading of a table with err, and takes it out so that the next reader tries again.
func (c *cache) forget(t *table, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m[t.no] == t {
		delete(c.m, t.no)
	}
	t.data, t.err = nil, err
	close(t.done)
}
