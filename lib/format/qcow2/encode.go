package qcow2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/cdictl/cdictl/lib/errdef"
)

// batchBytes is what a worker reads and compresses at a time, or one cluster if that is more.
const batchBytes = 1 << 20

// A load is a stretch of the disk on its way through a worker.
type load struct {
	off, end int64
	data     []byte // the disk's bytes, whole clusters
	packed   []byte // compressed clusters, one behind the other
	lengths  []int  // of each in packed; 0: uncompressed, -1: zeros
	err      error
	ready    chan struct{}
}

// data writes the disk's clusters and fills the tables. Workers read and compress, and this goroutine places what they
// made in the order of the disk, so that the result does not depend on them.
func (e *encoder) data(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	size := max(min(batchBytes, e.whole(e.size)), e.cluster())
	free := make(chan *load, 2*e.o.Workers)
	for range cap(free) {
		free <- &load{data: make([]byte, size)}
	}
	work, order := make(chan *load), make(chan *load, cap(free))
	var walked error
	var group sync.WaitGroup
	defer func() {
		cancel()
		group.Wait()
	}()
	group.Go(func() {
		defer close(work)
		defer close(order)
		walked = e.walk(func(off, end int64) error {
			for ; off < end; off += size {
				var l *load
				select {
				case l = <-free:
				case <-ctx.Done():
					return ctx.Err()
				}
				l.off, l.end, l.ready = off, min(off+size, end), make(chan struct{})
				order <- l // never full
				select {
				case work <- l:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	})
	for range e.o.Workers {
		group.Go(func() {
			p := newPacker(e.o.Compression)
			for l := range work {
				l.err = e.fill(l, p)
				close(l.ready)
			}
		})
	}
	for l := range order {
		select {
		case <-l.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
		if l.err != nil {
			return l.err
		}
		if err := e.place(l); err != nil {
			return err
		}
		free <- l
	}
	if walked != nil {
		return walked
	}
	if len(e.held) > 0 {
		if err := e.release(); err != nil {
			return err
		}
	}
	if err := e.out.pad(e.cluster()); err != nil {
		return err
	}
	return e.settle(int64(len(e.l1)) * e.reach())
}

// fill reads and compresses.
func (e *encoder) fill(l *load, p packer) error {
	n := l.end - l.off
	l.data = l.data[:e.whole(n)]
	if got, err := e.img.ReadAt(l.data[:n], l.off); int64(got) < n {
		if err == nil || errors.Is(err, io.EOF) {
			err = fmt.Errorf("image gave %d of %d bytes at %d: %w", got, n, l.off, errdef.ErrCorrupt)
		}
		return err
	}
	clear(l.data[n:])
	l.packed, l.lengths = l.packed[:0], l.lengths[:0]
	for c := l.data; len(c) > 0; c = c[e.cluster():] {
		c := c[:e.cluster()]
		if c[0] == 0 && bytes.Equal(c[:len(c)-1], c[1:]) {
			l.lengths = append(l.lengths, -1)
			continue
		}
		before := len(l.packed)
		if p != nil {
			var err error
			if l.packed, err = p.pack(l.packed, c); err != nil {
				return err
			}
		}
		k := len(l.packed) - before
		if k >= len(c) {
			l.packed, k = l.packed[:before], 0
		}
		l.lengths = append(l.lengths, k)
	}
	return nil
}

// place places what a worker made.
func (e *encoder) place(l *load) error {
	packed := l.packed
	for i, n := range l.lengths {
		guest := l.off + int64(i)<<e.bits
		var err error
		switch {
		case n > 0:
			err = e.packed(guest, packed[:n])
			packed = packed[n:]
		case n == 0:
			err = e.plain(guest, l.data[int64(i)<<e.bits:][:e.cluster()])
		}
		if err != nil {
			return err
		}
	}
	l.data = l.data[:cap(l.data)]
	e.done(l.end - l.off)
	return e.settle(l.off)
}

// A packer compresses clusters. One goroutine uses it.
type packer interface {
	pack(dst, src []byte) ([]byte, error)
}

func newPacker(compression string) packer {
	switch compression {
	case "zlib":
		return &deflater{}
	case "zstd":
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
		if err != nil {
			return broken{err} // of our options only
		}
		return zstdPacker{w}
	}
	return nil
}

type broken struct{ err error }

func (b broken) pack(dst, _ []byte) ([]byte, error) { return dst, b.err }

type zstdPacker struct{ *zstd.Encoder }

func (z zstdPacker) pack(dst, src []byte) ([]byte, error) { return z.EncodeAll(src, dst), nil }

// deflateLevel makes about what zlib makes by default, which is what qemu-img takes.
const deflateLevel = 6

// deflater makes raw deflate, the compression that qcow2 calls zlib.
type deflater struct {
	w   *flate.Writer
	out appender
}

type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

func (d *deflater) pack(dst, src []byte) ([]byte, error) {
	d.out = dst
	if d.w == nil {
		w, err := flate.NewWriter(&d.out, deflateLevel)
		if err != nil {
			return dst, err
		}
		d.w = w
	} else {
		d.w.Reset(&d.out)
	}
	if _, err := d.w.Write(src); err != nil {
		return dst, err
	}
	if err := d.w.Close(); err != nil {
		return dst, err
	}
	return d.out, nil
}
