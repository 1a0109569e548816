package transfer

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
)

// A Witness remembers what was read through it, so that the bytes an image was understood by can be compared with those
// that pass the hash later. Safe for concurrent use until CopyHashed takes it.
type Witness struct {
	r    io.ReaderAt
	mu   sync.Mutex
	seen map[span][sha256.Size]byte
}

type span struct{ off, n int64 }

// NewWitness reads from r.
func NewWitness(r io.ReaderAt) *Witness {
	return &Witness{r: r, seen: map[span][sha256.Size]byte{}}
}

// ReadAt reads and remembers. The same range must give the same bytes each time.
func (w *Witness) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.r.ReadAt(p, off)
	if n > 0 {
		sum := sha256.Sum256(p[:n])
		key := span{off, int64(n)}
		w.mu.Lock()
		old, again := w.seen[key]
		w.seen[key] = sum
		w.mu.Unlock()
		if again && old != sum {
			return 0, changed(key)
		}
	}
	return n, err
}

func changed(s span) error {
	return fmt.Errorf("the %d bytes at %d are not what they were: %w", s.n, s.off, errdef.ErrChanged)
}

// A replay checks a file that passes in order against what a Witness saw.
type replay struct {
	todo   []span // by offset
	sums   map[span][sha256.Size]byte
	active []check
	off    int64
	tables []byte // sum of todo at the start
}

type check struct {
	span
	hash.Hash
}

func (w *Witness) replay() *replay {
	r := &replay{sums: w.seen}
	for s := range w.seen {
		r.todo = append(r.todo, s)
	}
	slices.SortFunc(r.todo, func(a, b span) int {
		switch {
		case a.off < b.off:
			return -1
		case a.off > b.off:
			return 1
		}
		return 0
	})
	all := sha256.New()
	for _, s := range r.todo {
		sum := w.seen[s]
		_, _ = fmt.Fprintf(all, "%d+%d %x\n", s.off, s.n, sum)
	}
	r.tables = all.Sum(nil)
	return r
}

// skip leaves out the first off bytes of the file, which an earlier run has compared with the same tables. It reports whether
// that can be: no range may lie on both sides.
func (r *replay) skip(off int64) bool {
	rest := r.todo[:0]
	for _, s := range r.todo {
		if s.off < off && s.end() > off {
			return false
		}
		if s.off >= off {
			rest = append(rest, s)
		}
	}
	r.todo, r.off = rest, off
	return true
}

// pass takes the next bytes of the file.
func (r *replay) pass(p []byte) error {
	end := r.off + int64(len(p))
	for len(r.todo) > 0 && r.todo[0].off < end {
		r.active = append(r.active, check{r.todo[0], sha256.New()})
		r.todo = r.todo[1:]
	}
	keep := r.active[:0]
	for _, c := range r.active {
		from, to := max(c.off, r.off), min(c.off+c.n, end)
		c.Write(p[from-r.off : to-r.off])
		if to < c.off+c.n {
			keep = append(keep, c)
		} else if [sha256.Size]byte(c.Sum(nil)) != r.sums[c.span] {
			return changed(c.span)
		}
	}
	r.active, r.off = keep, end
	return nil
}

// done reports whether every range was seen again.
func (r *replay) done() error {
	for _, c := range r.active {
		return changed(c.span)
	}
	for _, s := range r.todo {
		return changed(s)
	}
	return nil
}
