package vmdk

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
)

// maxOpen is how many files of a disk are open at once, if that many are not read at once: a disk of 62 TB may have
// 31,000, and a remote one holds the first 64 KiB of each.
const maxOpen = 32

// A pool keeps some of a disk's files open. It is safe for concurrent use.
type pool struct {
	open func(name string) (File, error)

	mu     sync.Mutex
	cond   *sync.Cond // a member stops being opened
	tick   int64
	opened []*member
	closed bool
}

func newPool(open func(name string) (File, error)) *pool {
	p := &pool{open: open}
	p.cond = sync.NewCond(&p.mu)
	return p
}

// A member is one file of a disk: an io.ReaderAt that opens the file when it is read.
type member struct {
	p    *pool
	name string
	size int64 // -1 before it was opened

	// Under the pool's mu.
	f       File
	opening bool
	refs    int
	used    int64
}

func (p *pool) member(name string) *member { return &member{p: p, name: name, size: -1} }

// acquire returns the open file, which stays open until release.
func (m *member) acquire() (File, error) {
	p := m.p
	p.mu.Lock()
	defer p.mu.Unlock()
	for m.opening {
		p.cond.Wait()
	}
	if p.closed {
		return nil, fmt.Errorf("vmdk: %s: read after close: %w", m.name, errdef.ErrUsage)
	}
	if m.f == nil {
		if err := m.openLocked(); err != nil {
			return nil, err
		}
	}
	m.refs++
	p.tick++
	m.used = p.tick
	return m.f, nil
}

// openLocked opens the file; p.mu is given up meanwhile.
func (m *member) openLocked() error {
	p := m.p
	m.opening = true
	var old File
	if len(p.opened) >= maxOpen {
		old = p.evict()
	}
	p.mu.Unlock()
	f, err := m.reopen(old)
	p.mu.Lock()
	m.opening = false
	p.cond.Broadcast()
	if err == nil && p.closed {
		f.Close()
		return fmt.Errorf("vmdk: %s: read after close: %w", m.name, errdef.ErrUsage)
	}
	if err == nil {
		m.f = f
		p.opened = append(p.opened, m)
	}
	return err
}

// evict takes the file out that was not read for the longest time; nil if all are being read.
func (p *pool) evict() File {
	at := -1
	for i, m := range p.opened {
		if m.refs == 0 && (at < 0 || m.used < p.opened[at].used) {
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	m := p.opened[at]
	p.opened[at] = p.opened[len(p.opened)-1]
	p.opened = p.opened[:len(p.opened)-1]
	f := m.f
	m.f = nil
	return f
}

func (m *member) reopen(old File) (File, error) {
	if old != nil {
		if err := old.Close(); err != nil {
			return nil, err
		}
	}
	f, err := m.p.open(m.name)
	if err != nil {
		return nil, fmt.Errorf("vmdk: extent file %q: %w", m.name, err)
	}
	size := f.Size()
	switch {
	case size < 0:
		err = unsupported("extent file %q has no known size", m.name)
	case m.size >= 0 && size != m.size:
		err = fmt.Errorf("vmdk: extent file %q had %d bytes, has %d: %w", m.name, m.size, size, errdef.ErrChanged)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	m.size = size
	return f, nil
}

func (m *member) release() {
	m.p.mu.Lock()
	m.refs--
	m.p.mu.Unlock()
}

// ReadAt reads from the file, opening it if need be.
func (m *member) ReadAt(b []byte, off int64) (int, error) {
	f, err := m.acquire()
	if err != nil {
		return 0, err
	}
	defer m.release()
	return f.ReadAt(b, off)
}

// NextExtent tells the holes of the file; where it does not know them, all is data.
func (m *member) NextExtent(off, n int64) (image.Extent, error) {
	f, err := m.acquire()
	if err != nil {
		return image.Extent{}, err
	}
	defer m.release()
	if h, ok := f.(image.Extenter); ok {
		return image.Next(h, off, n)
	}
	return image.Extent{Start: off, Length: n, Kind: image.Data}, nil
}

// Close closes what is open. Nobody may read any more.
func (p *pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, m := range p.opened {
		errs = append(errs, m.f.Close())
		m.f = nil
	}
	p.opened = nil
	return errors.Join(errs...)
}

var (
	_ io.ReaderAt    = (*member)(nil)
	_ image.Extenter = (*member)(nil)
)
