package journal

import (
	"encoding/binary"
	"math"
)

// writer appends numbers, and bytes behind their length.
type writer struct{ b []byte }

func (w *writer) number(n int64) { w.b = binary.AppendUvarint(w.b, uint64(n)) }

func (w *writer) bytes(p []byte) {
	w.number(int64(len(p)))
	w.b = append(w.b, p...)
}

func (w *writer) bool(v bool) {
	n := int64(0)
	if v {
		n = 1
	}
	w.number(n)
}

func (w *writer) parts(list []Bytes) {
	w.number(int64(len(list)))
	for _, p := range list {
		w.number(p.Off)
		w.bytes(p.Data)
	}
}

func (w *writer) point(p *Point) {
	w.bool(p != nil)
	if p == nil {
		return
	}
	for _, n := range []int64{p.Stored, p.Out, p.Hashed, p.Pos} {
		w.number(n)
	}
	for _, b := range [][]byte{p.Codec, p.Hash, p.Source, p.Tables} {
		w.bytes(b)
	}
	w.parts(p.Learnt)
	w.parts(p.Held)
}

// reader takes them off again. What it returns lies in b, so no length makes it allocate. After the first thing that is
// wrong, bad is set and all is empty.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() int64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > math.MaxInt64 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return int64(v)
}

func (r *reader) bytes() []byte {
	n := r.number()
	if n > int64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	if n == 0 {
		return nil
	}
	return p
}

func (r *reader) bool() bool {
	n := r.number()
	r.bad = r.bad || n > 1
	return n == 1
}

func (r *reader) parts() (list []Bytes) {
	n := r.number()
	if n > int64(len(r.b))/2 { // each takes two bytes at least
		r.bad = true
		return nil
	}
	for range n {
		if r.bad {
			return nil
		}
		list = append(list, Bytes{r.number(), r.bytes()})
	}
	return list
}

func (r *reader) point() *Point {
	if !r.bool() {
		return nil
	}
	p := new(Point)
	for _, n := range []*int64{&p.Stored, &p.Out, &p.Hashed, &p.Pos} {
		*n = r.number()
	}
	for _, b := range []*[]byte{&p.Codec, &p.Hash, &p.Source, &p.Tables} {
		*b = r.bytes()
	}
	p.Learnt, p.Held = r.parts(), r.parts()
	return p
}
