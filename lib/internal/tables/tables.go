// Package tables holds the tables of an image's second level, those that are too many to hold them all: L2 tables of qcow2,
// grain tables of VMDK. Each is read when it is first wanted, together with those that will be wanted next.
package tables

import (
	"cmp"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cdictl/cdictl/lib/internal/blob"
)

const (
	maxBudget = 8 << 20 // qcow2: of a disk of 64 GiB with clusters of 64 KiB; VMDK: of 128 GiB with grains of 64 KiB
	minBudget = 1 << 20
	overhead  = 256 // of a table beside its bytes, about

	readAhead    = 256 << 10 // tables read at once when they lie behind each other
	gapReadAhead = 1 << 20   // the same where reading over gaps pays
	maxAhead     = 64        // tables read for one that is wanted
	maxHoles     = 4096      // looked at on the way to the next table
	// aheadReads is how many reads are under way at once where each costs a round trip: in a VMDK that was streamed every table
	// lies behind its grains, alone.
	aheadReads = 8
)

// Options make a Cache.
type Options struct {
	// Format and What name the tables in errors.
	Format, What string
	// Largest is the size of the largest table, Metadata the limit of what all tables of an image may take.
	Largest, Metadata int64
	// Gap is the number of stored bytes between two tables that are rather read than skipped; 0 is for a local file.
	Gap int64
	// Find tells where a table is stored, and the number of the next one in the disk's order to look at, which must lie in the same
	// file; negative: there is none. A table without a Place.Size is a hole.
	Find func(no int64) (p Place, next int64)
}

// A Place is where a table is stored.
type Place struct {
	File     io.ReaderAt
	At, Size int64
}

func (p Place) end() int64 { return p.At + p.Size }

// A Cache holds tables by their number. It is safe for concurrent use: one reader loads a table, others wait for it.
type Cache struct {
	o    Options
	max  int
	last atomic.Pointer[table] // the one that was last asked for: who walks a disk asks for it again

	mu    sync.Mutex
	m     map[int64]*table
	clock []int64 // numbers of the tables in m, in a ring
	hand  int
}

// A table is as it is stored. data and err are valid once done is closed.
type table struct {
	done chan struct{}
	data []byte
	err  error
	used bool // since the hand passed; under the cache's mu
	no   int64
	Place
}

// New makes a cache.
func New(o Options) *Cache {
	budget := min(max(o.Metadata/6, minBudget), maxBudget)
	return &Cache{o: o, max: int(budget / (o.Largest + overhead)), m: make(map[int64]*table)}
}

// Get returns a table, which must not be a hole. Its bytes may only be read.
func (c *Cache) Get(no int64) ([]byte, error) {
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
	p, next := c.o.Find(no)
	batch := make([]*table, 1, maxAhead)
	batch[0] = c.insert(no, p)
	batch = c.ahead(next, batch)
	c.mu.Unlock()
	wanted := batch[0]
	c.load(batch)
	return wanted.data, wanted.err
}

// insert makes room for a table. c.mu is held.
func (c *Cache) insert(no int64, p Place) *table {
	t := &table{done: make(chan struct{}), no: no, Place: p}
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

// ahead inserts the tables from no on that are worth reading with the first of batch: of a local file those that lie behind it,
// elsewhere any. c.mu is held.
func (c *Cache) ahead(no int64, batch []*table) []*table {
	end, holes := batch[0].end(), 0
	// A quarter of the cache at most: what was read ahead must not push itself out.
	for room := min(cap(batch), c.max/4); len(batch) < room && no >= 0; {
		p, next := c.o.Find(no)
		if p.Size == 0 {
			if holes++; holes > maxHoles {
				break
			}
			no = next
			continue
		}
		if _, ok := c.m[no]; ok || c.o.Gap == 0 && (p.At != end || p.end()-batch[0].At > readAhead) {
			break
		}
		batch = append(batch, c.insert(no, p))
		no, end = next, p.end()
	}
	return batch
}

// load reads the tables of batch with as few reads as they need.
func (c *Cache) load(batch []*table) {
	slices.SortFunc(batch, func(a, b *table) int { return cmp.Compare(a.At, b.At) })
	var wg sync.WaitGroup
	slots := make(chan struct{}, aheadReads)
	for len(batch) > 0 {
		n := 1
		for n < len(batch) && batch[n].At-batch[n-1].end() <= c.o.Gap && batch[n].end()-batch[0].At <= gapReadAhead {
			n++
		}
		group := batch[:n]
		batch = batch[n:]
		if len(batch) == 0 {
			c.read(group) // the last one, or the only one
			break
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			c.read(group)
		})
	}
	wg.Wait()
}

// read reads the tables of a group with one read; if that fails, each alone.
func (c *Cache) read(group []*table) {
	if len(group) > 1 {
		first := group[0].At
		end := first
		for _, t := range group {
			end = max(end, t.end())
		}
		buf := make([]byte, end-first)
		if blob.ReadFull(c.o.Format, group[0].File, buf, first, c.o.What) == nil {
			for _, t := range group {
				t.data = append(make([]byte, 0, t.Size), buf[t.At-first:][:t.Size]...)
				close(t.done)
			}
			return
		}
	}
	for _, t := range group {
		t.data = make([]byte, t.Size)
		if err := blob.ReadFull(c.o.Format, t.File, t.data, t.At, c.o.What); err != nil {
			c.forget(t, err)
			continue
		}
		close(t.done)
	}
}

// forget ends the loading of a table with err, and takes it out so that the next reader tries again.
func (c *Cache) forget(t *table, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m[t.no] == t {
		delete(c.m, t.no)
	}
	t.data, t.err = nil, err
	close(t.done)
}
