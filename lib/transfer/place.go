package transfer

import (
	"fmt"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/bufpool"
)

// A placer decodes what was read of a blob and writes it at its guest offsets. It gathers neighbours in a window of the
// guest, so that many small clusters become one large, aligned write. One goroutine uses it at a time.
type placer struct {
	*writer
	img    unpacker
	window []byte // guest bytes [base, base+len(window)), base aligned to the window's length
	base   int64
	lo, hi int // what of the window is filled
	lane   int
}

// An unpacker is what a placer needs of an image.Mapper or of an image.Learner.
type unpacker interface {
	Unpack(dst, stored []byte) error
	Size() int64
}

func newPlacer(w *writer, img unpacker, maxUnpacked int64, lane int) *placer {
	n := w.o.Segment
	for n < maxUnpacked {
		n *= 2
	}
	return &placer{writer: w, img: img, window: bufpool.Make(int(n)), lane: lane}
}

// fit makes the window hold packed runs of n bytes.
func (l *placer) fit(n int64) error {
	size := int64(len(l.window))
	if n <= size {
		return nil
	}
	if err := l.flush(); err != nil {
		return err
	}
	for size < n {
		size *= 2
	}
	l.window = bufpool.Make(int(size))
	return nil
}

// place takes entry e, whose stored bytes are p.
func (l *placer) place(e entry, p []byte) error {
	if e.packed != 0 {
		q, err := l.room(e.guest, int64(e.length))
		if err != nil {
			return err
		}
		if int64(len(q)) < int64(e.length) {
			// A cluster is aligned to its own length and no longer than the window, so it cannot cross one.
			return l.o.readError(fmt.Errorf("packed run at %d is not aligned to its %d bytes: %w", e.guest, e.length, errdef.ErrCorrupt))
		}
		end := l.o.Trace.Span("decode", "unpack", l.lane, e.stored, int64(e.packed))
		err = l.img.Unpack(q, p)
		end()
		if err != nil {
			return l.o.readError(fmt.Errorf("at guest offset %d: %w", e.guest, err))
		}
		return nil
	}
	for guest := e.guest; len(p) > 0; {
		q, err := l.room(guest, int64(len(p)))
		if err != nil {
			return err
		}
		n := copy(q, p)
		p, guest = p[n:], guest+int64(n)
	}
	return nil
}

// room returns the window's bytes for the guest range [guest, guest+n), or as much of it as one window holds, and
// counts them as filled. What was gathered before is written first if it is no neighbour.
func (l *placer) room(guest, n int64) ([]byte, error) {
	size := int64(len(l.window))
	base := guest &^ (size - 1)
	at := int(guest - base)
	if l.hi > l.lo && (base != l.base || at != l.hi) {
		if err := l.flush(); err != nil {
			return nil, err
		}
	}
	if l.hi == l.lo {
		l.base, l.lo, l.hi = base, at, at
	}
	l.hi = int(min(int64(at)+n, size))
	return l.window[at:l.hi], nil
}

// flush writes what was gathered. The last cluster of a disk may pass its end.
func (l *placer) flush() error {
	off := l.base + int64(l.lo)
	p := l.window[l.lo:l.hi]
	p = p[:min(int64(len(p)), l.img.Size()-off)]
	l.lo, l.hi = 0, 0
	if len(p) == 0 {
		return nil
	}
	end := l.o.Trace.Span("write", "write", l.lane, off, int64(len(p)))
	defer end()
	return l.write(off, p)
}
