package verify

import (
	"encoding"
	"fmt"
	"hash"

	"github.com/cdictl/cdictl/lib/errdef"
)

const (
	// markStep is how far marks lie apart: what lies between one and where reading goes on is read again.
	markStep = 1 << 20
	// maxMarks reach back further than anything is written behind its reader; some 50 KiB.
	maxMarks = 256
)

// marks are states of a hash at places that it has passed not long ago.
type marks struct {
	at   int64 // what was hashed
	ring [maxMarks]mark
	next int
}

type mark struct {
	off   int64
	state []byte
}

// passed counts n bytes. Chunks are whole but for the last, so that each step is met.
func (m *marks) passed(h hash.Hash, n int64) {
	m.at += n
	if m.at%markStep != 0 {
		return
	}
	if state := State(h); state != nil {
		m.ring[m.next%maxMarks] = mark{m.at, state}
		m.next++
	}
}

func (a *hasher) mark(n int64) (off int64, state []byte, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := a.marks.next - 1; i >= 0 && i >= a.marks.next-maxMarks; i-- {
		if k := a.marks.ring[i%maxMarks]; k.off <= n {
			return k.off, k.state, true
		}
	}
	return 0, nil, false
}

// resume takes a state that mark told. The first mark counts too: nothing may have passed when the next is asked for.
func (a *hasher) resume(off int64, state []byte) error {
	if err := SetState(a.h, state); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.marks = marks{at: off, next: 1}
	a.marks.ring[0] = mark{off, state}
	return nil
}

// State is that of h, to be kept; nil if it cannot be told.
func State(h hash.Hash) []byte {
	b, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		return nil
	}
	state, err := b.MarshalBinary()
	if err != nil {
		return nil
	}
	return state
}

// SetState makes h go on where State was called of another of its kind.
func SetState(h hash.Hash, state []byte) error {
	b, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return fmt.Errorf("this hash cannot go on: %w", errdef.ErrUnsupported)
	}
	if err := b.UnmarshalBinary(state); err != nil {
		return fmt.Errorf("state of the hash: %w: %w", err, errdef.ErrCorrupt)
	}
	return nil
}
