package httpsource

const (
	// firstWindow is what is fetched ahead at first: somebody who only wants to look at a header gets little more.
	firstWindow = 256 << 10
	// maxPiece is one range. Measured on loopback, 1 MiB is a tenth faster than 2 (the copy is still in the cache) and
	// 4 MiB a fifth slower; on a long line each range costs a round trip of its connection, so the larger is taken.
	maxPiece = 2 << 20
	// maxWindow bounds the memory of reading ahead, whatever the number of connections.
	maxWindow = 20 << 20
)

// window reads a content in order from a moving window, whose pieces are fetched concurrently. It begins small and
// doubles each time that its size has been read. It is used by one goroutine.
type window struct {
	s     *session
	next  int64    // offset of the next piece to ask for
	limit int64    // size of the window
	full  int64    // largest limit
	piece int64    // largest piece
	ready int64    // bytes read since the window grew
	queue []*piece // in order; the first is being read
	free  [][]byte // buffers of capacity piece
}

type piece struct {
	buf  []byte
	read int
	err  error
	done chan struct{}
}

func newWindow(s *session, off int64) *window {
	// One piece is being read while the others are in flight.
	n := int64(s.src.o.Connections + 1)
	w := &window{s: s, next: off, limit: firstWindow, piece: min(maxPiece, maxWindow/n)}
	w.full = w.piece * n
	return w
}

// read returns bytes of the first piece, waiting for it.
func (w *window) read(p []byte) (int, error) {
	w.fill()
	if err := w.s.ended(); err != nil || len(w.queue) == 0 {
		return 0, err
	}
	pc := w.queue[0]
	<-pc.done // ends with the blob's context at the latest
	if pc.err != nil {
		return 0, pc.err
	}
	n := copy(p, pc.buf[pc.read:])
	pc.read += n
	if pc.read == len(pc.buf) {
		w.queue = w.queue[1:]
		w.free = append(w.free, pc.buf[:0])
	}
	if w.ready += int64(n); w.ready >= w.limit && w.limit < w.full {
		w.limit, w.ready = min(2*w.limit, w.full), 0
	}
	return n, nil
}

// fill asks for pieces until the window is full. While it is small its pieces are a part of it, so that several are in
// flight from the second step on.
func (w *window) fill() {
	held, conns := int64(0), int64(w.s.src.o.Connections)
	for _, pc := range w.queue {
		held += int64(len(pc.buf))
	}
	for w.next < w.s.size {
		n := min(w.piece, max(w.limit/conns, firstWindow), w.s.size-w.next)
		if len(w.queue) > 0 && (held+n > w.limit || int64(len(w.queue)) > conns) {
			return
		}
		if !w.start(n) {
			return
		}
		held += n
	}
}

func (w *window) start(n int64) bool {
	var buf []byte
	if k := len(w.free); k > 0 {
		buf, w.free = w.free[k-1], w.free[:k-1]
	} else {
		buf = make([]byte, 0, min(w.piece, w.s.size-w.next)) // memory that is not used is not touched
	}
	pc := &piece{done: make(chan struct{})}
	off := w.next
	if int64(cap(buf)) < n {
		buf = make([]byte, 0, n)
	}
	pc.buf = buf[:n]
	ok := w.s.spawn(func() {
		defer close(pc.done)
		_, pc.err = w.s.fetch(pc.buf, off)
	})
	if ok {
		w.queue = append(w.queue, pc)
		w.next += n
	}
	return ok
}
