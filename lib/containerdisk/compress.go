package containerdisk

import (
	"bytes"
	"context"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/cdictl/cdictl/lib/progress"
)

// chunk is what becomes one frame of zstd or one member of gzip. Each is compressed for itself, so how many workers there are does not
// change a byte; from 4 MiB on that costs less than one percent, and it is where a reader can go on after an interruption.
const chunk = 4 << 20

// An encoder compresses a chunk. It is for one goroutine.
type encoder func(dst, src []byte) ([]byte, error)

func newEncoder(codec string) (encoder, error) {
	if codec == "gzip" {
		w := gzip.NewWriter(nil)
		return func(dst, src []byte) ([]byte, error) {
			b := bytes.NewBuffer(dst)
			w.Reset(b)
			if _, err := w.Write(src); err != nil {
				return nil, err
			}
			err := w.Close()
			return b.Bytes(), err
		}, nil
	}
	// One goroutine for each encoder, and none that outlives it.
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return func(dst, src []byte) ([]byte, error) { return z.EncodeAll(src, dst), nil }, nil
}

// piece is a chunk on its way.
type piece struct {
	in   []byte
	out  []byte
	done chan struct{}
}

// compress writes t under a codec to w, and t itself to diff.
func compress(ctx context.Context, t *tarball, codec string, workers int, w io.Writer, diff hash.Hash, track *progress.Tracker) (n int64, err error) {
	g, gctx := errgroup.WithContext(ctx)
	free := make(chan *piece, workers+2)
	for range cap(free) {
		free <- &piece{in: make([]byte, chunk), done: make(chan struct{}, 1)}
	}
	work, order := make(chan *piece, cap(free)), make(chan *piece, cap(free)) // neither ever blocks: there are no more pieces
	g.Go(func() error {
		defer close(work)
		defer close(order)
		for off := int64(0); off < t.size; {
			var p *piece
			select {
			case p = <-free:
			case <-gctx.Done():
				return gctx.Err()
			}
			p.in = p.in[:min(int64(cap(p.in)), t.size-off)]
			if _, err := t.ReadAt(p.in, off); err != nil {
				return err
			}
			off += int64(len(p.in))
			work <- p
			order <- p
			diff.Write(p.in) // while others compress
		}
		return nil
	})
	for range workers {
		g.Go(func() error {
			encode, err := newEncoder(codec)
			if err != nil {
				return err
			}
			for p := range work {
				if p.out, err = encode(p.out[:0], p.in); err != nil {
					return err
				}
				p.done <- struct{}{}
			}
			return nil
		})
	}
	g.Go(func() error {
		for p := range order {
			select {
			case <-p.done:
			case <-gctx.Done():
				return gctx.Err()
			}
			if _, err := w.Write(p.out); err != nil {
				return err
			}
			n += int64(len(p.out))
			track.AddVirtual(int64(len(p.in)))
			free <- p
		}
		return nil
	})
	err = g.Wait()
	return n, err
}
