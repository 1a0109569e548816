package filesink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/bufpool"
	"github.com/cdictl/cdictl/lib/internal/fsop"
)

// write writes the whole pages of p direct if they are worth it, what is left through the page cache. The two never
// meet on one page within a write. Writes beside each other may: the kernel then writes back and drops the cached page
// before the direct write, and a cached write of a part of a page reads the rest anew.
func (d *disk) write(p []byte, off int64) (int, error) {
	head := int((int64(d.align) - off%int64(d.align)) % int64(d.align))
	body := (len(p) - head) / d.align * d.align
	if d.direct == nil || d.noDirect.Load() || body < d.directMin {
		return d.buffered(p, off)
	}
	if n, err := d.buffered(p[:head], off); err != nil {
		return n, err
	}
	n, err := d.directly(p[head:head+body], off+int64(head))
	n += head
	if errors.Is(err, syscall.EINVAL) { // this filesystem wants more than the probe told
		d.noDirect.Store(true)
		err = nil
	}
	if err != nil {
		return n, err
	}
	m, err := d.buffered(p[n:], off+int64(n))
	return n + m, err
}

// directly writes whole pages past the cache. Misaligned memory is copied; while all buffers for that are in use, the
// write goes through the cache.
func (d *disk) directly(p []byte, off int64) (int, error) {
	if bufpool.Aligned(p) {
		return d.put(d.direct, p, off)
	}
	buf := d.copies.TryGet()
	if buf == nil {
		return d.buffered(p, off)
	}
	defer d.copies.Put(buf)
	n := 0
	for n < len(p) {
		c := copy(buf, p[n:])
		m, err := d.put(d.direct, buf[:c], off+int64(n))
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (d *disk) buffered(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := d.put(d.f, p, off)
	if err == nil {
		err = d.pace.wrote(n)
	}
	return n, err
}

// put writes to the part by f, one of the two ways to it. Without a tap it allocates nothing.
func (d *disk) put(f *os.File, p []byte, off int64) (int, error) {
	if d.t.o.Tap == nil {
		return f.WriteAt(p, off)
	}
	return d.tapped(f, p, off)
}

func (d *disk) tapped(f *os.File, p []byte, off int64) (n int, err error) {
	err = d.t.o.Tap(fsop.Op{Kind: fsop.Write, Path: d.part, Off: off, Data: p}, func() (err error) {
		n, err = f.WriteAt(p, off)
		return err
	})
	return n, err
}

// zeros is made when a filesystem cannot make them itself.
var zeros = sync.OnceValue(func() []byte { return bufpool.Make(chunk) })

// writeZeros writes zeros as long as proceed agrees.
func (d *disk) writeZeros(proceed func() error, off, n int64) error {
	for n > 0 {
		if err := proceed(); err != nil {
			return err
		}
		m, err := d.write(zeros()[:min(n, chunk-off%chunk)], off)
		if err != nil {
			return err
		}
		off, n = off+int64(m), n-int64(m)
	}
	return nil
}

// allocate gives storage to every byte of the disk.
func (d *disk) allocate(ctx context.Context, size int64) error {
	if err := d.checkFree(size); err != nil {
		return d.t.fail("allocate", err)
	}
	err := fallocate(ctx, d.f, size)
	if errors.Is(err, errors.ErrUnsupported) {
		err = d.written.runs(0, size, func(off, n int64, was bool) error {
			if was {
				return nil
			}
			return d.writeZeros(ctx.Err, off, n)
		})
	}
	if isNoSpace(err) {
		if ferr := d.checkFree(size); ferr != nil {
			err = ferr
		}
	}
	if err != nil {
		return d.t.explain("allocate", err, size)
	}
	return nil
}

// checkFree compares what the disk still needs with what the filesystem has.
func (d *disk) checkFree(size int64) error {
	free, have, known := space(d.f)
	// Where it is not known, the allocation itself will tell.
	if need := size - have; known && need > free {
		return errdef.WithHint(fmt.Errorf("%d bytes are needed, %d are free: %w", need, free, errdef.ErrNoSpace),
			"free some space, choose another filesystem, or do not preallocate: a sparse disk takes only what its data needs")
	}
	return nil
}
