package filesink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/bufpool"
	"github.com/cdictl/cdictl/lib/internal/fsop"
	"github.com/cdictl/cdictl/lib/sink"
)

const (
	// chunk is the write that pays off: 0.2 s of CPU a GB direct; 64 KiB take 1.0, 4 MiB 0.1 but more memory.
	chunk = 1 << 20
	// directMin is the shortest write that goes direct of its own accord. At 256 KiB both ways take the same CPU, and the
	// cached one has the better throughput, as it need not wait for the device each time; at 1 MiB direct takes half.
	directMin = 512 << 10
	// growStep is how far a file of unknown size is extended ahead of its writes: a direct write that extends the file
	// excludes all others and is journalled.
	growStep = 64 << 20
)

// disk is the open part. See sink.Sink for what is safe concurrently.
type disk struct {
	t          *Target
	path, part string
	o          sink.Options
	limit      int64 // end of what may be written

	f         *os.File // through the page cache; holds the lock
	direct    *os.File // past it; nil: not here
	align     int      // of offsets and lengths for direct
	directMin int      // shortest stretch that goes direct
	noDirect  atomic.Bool
	copies    *bufpool.Pool // aligned memory for misaligned writes
	pace      pacer

	written written
	noPunch atomic.Bool // the filesystem cannot make holes or zero ranges
	noClone atomic.Bool // storage cannot be shared with the source

	grow   sync.Mutex
	grown  atomic.Int64 // length of the file as claimed ahead
	noGrow atomic.Bool

	state     sync.Mutex // serialises Commit and Close
	closed    atomic.Bool
	published bool
	keep      bool // the part, if it is not published
}

func newDisk(t *Target, f *os.File, path, part string, o sink.Options) *disk {
	d := &disk{t: t, f: f, path: path, part: part, o: o, limit: o.Size,
		// A page is the unit in which cached and direct writes disturb each other.
		align: max(bufpool.Align, os.Getpagesize()), directMin: directMin,
		copies: bufpool.New(chunk, 2)}
	if d.limit < 0 {
		d.limit = math.MaxInt64
	}
	d.written.init(o.Size)
	d.pace.f = f
	if t.o.Direct == DirectOn {
		d.directMin = d.align
	}
	return d
}

// prepare makes the part ready for its first byte.
func (d *disk) prepare(ctx context.Context) error {
	if err := d.attributes(); err != nil {
		return d.t.explain("open", err, -1)
	}
	if d.t.o.Direct != DirectOff {
		var err error
		d.direct, err = openDirect(d.f, d.part, d.align, d.o.Mode == sink.New, d.t.o.Tap)
		if err != nil && d.t.o.Direct == DirectOn {
			return d.t.fail("open", errdef.WithHint(fmt.Errorf("direct writes do not work here: %w: %w", errdef.ErrUnsupported, err), "leave it to cdictl: direct writes are used where they work"))
		}
	}
	if d.o.Size < 0 {
		return nil
	}
	if d.o.Mode == sink.New {
		if err := d.truncate(d.o.Size); err != nil {
			return d.t.explain("resize", err, d.o.Size)
		}
	}
	d.grown.Store(d.o.Size)
	if d.o.Preallocate {
		return d.allocate(ctx, d.o.Size)
	}
	return nil
}

// attributes gives the part owner and mode: those asked for, else those of the file that it will replace.
func (d *disk) attributes() error {
	o := &d.t.o
	if fi, err := os.Stat(d.path); o.Force && err == nil {
		if err := keepAttributes(d.f, fi); err != nil {
			return err
		}
	}
	if err := giveAway(d.f, o.UID, o.GID); err != nil {
		return err
	}
	if o.Mode != 0 { // after the owner: giving a file away may take bits of its mode
		return d.f.Chmod(o.Mode.Perm())
	}
	return nil
}

// Caps asks for aligned writes of a mebibyte.
func (d *disk) Caps() sink.Caps { return sink.Caps{Align: d.align, Chunk: chunk} }

func (d *disk) alive() error {
	if d.closed.Load() {
		return d.t.fail("write", os.ErrClosed)
	}
	return nil
}

func (d *disk) check(off, n int64) error {
	if err := d.alive(); err != nil {
		return err
	}
	switch {
	case off < 0 || n < 0 || n > math.MaxInt64-off:
		return d.t.fail("write", fmt.Errorf("range [%d,+%d): %w", off, n, errdef.ErrUsage))
	case n > 0 && off+n > d.limit:
		return d.t.fail("write", fmt.Errorf("range [%d,+%d) passes the end of the disk at %d: %w", off, n, d.limit, errdef.ErrTooSmall))
	}
	return nil
}

// WriteAt writes p at off.
func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	if err := d.check(off, int64(len(p))); err != nil || len(p) == 0 {
		return 0, err
	}
	d.written.mark(off, int64(len(p))) // first: a write that fails may have written
	if d.o.Size < 0 {
		d.ahead(off + int64(len(p)))
	}
	n, err := d.write(p, off)
	if err != nil {
		return n, d.t.explain("write", err, off+int64(len(p)))
	}
	return n, nil
}

// ahead extends a file of unknown size so that writes up to end do not.
func (d *disk) ahead(end int64) {
	if end <= d.grown.Load() || d.noGrow.Load() {
		return
	}
	d.grow.Lock()
	defer d.grow.Unlock()
	if end <= d.grown.Load() || d.noGrow.Load() || end > math.MaxInt64-2*growStep {
		return
	}
	to := (end + growStep) / growStep * growStep
	if err := d.truncate(to); err != nil {
		// The file may be larger by a concurrent write from now on, so it must not be set to a length again.
		d.noGrow.Store(true)
		return
	}
	d.grown.Store(to)
}

// Zero makes a hole, or with Preallocate an allocated range that reads as zeros. Where nothing was written there is
// nothing to do.
func (d *disk) Zero(off, n int64) error {
	if err := d.check(off, n); err != nil || n == 0 {
		return err
	}
	err := d.written.runs(off, n, func(off, n int64, was bool) error {
		if !was {
			return nil
		}
		return d.clear(off, n)
	})
	if err != nil {
		return d.t.explain("zero", err, off+n)
	}
	return nil
}

func (d *disk) truncate(size int64) error {
	return d.t.o.Tap.Do(fsop.Op{Kind: fsop.Truncate, Path: d.part, N: size}, func() error { return d.f.Truncate(size) })
}

// clear replaces old data by zeros.
func (d *disk) clear(off, n int64) error {
	if !d.noPunch.Load() {
		err := d.t.o.Tap.Do(fsop.Op{Kind: fsop.Zero, Path: d.part, Off: off, N: n}, func() error {
			return clearRange(d.f, off, n, d.o.Preallocate)
		})
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		d.noPunch.Store(true)
	}
	return d.writeZeros(d.alive, off, n)
}

// Commit publishes the disk under its name with exactly size bytes: cut, or extended by zeros. It may be tried again
// after an error; only an error of flushing the folder comes when the disk is visible already.
func (d *disk) Commit(ctx context.Context, size int64) error {
	d.state.Lock()
	defer d.state.Unlock()
	switch {
	case d.closed.Load() || d.published:
		return d.t.fail("commit", os.ErrClosed)
	case size < 0:
		return d.t.fail("commit", fmt.Errorf("size %d: %w", size, errdef.ErrUsage))
	}
	if err := ctx.Err(); err != nil {
		return d.t.fail("commit", err)
	}
	if err := d.truncate(size); err != nil {
		return d.t.explain("resize", err, size)
	}
	if d.o.Preallocate && size != d.o.Size {
		if err := d.allocate(ctx, size); err != nil {
			return err
		}
	}
	if err := d.sync(ctx); err != nil {
		return d.t.explain("flush", err, size)
	}
	if err := d.attributes(); err != nil {
		return d.t.explain("commit", err, size)
	}
	if err := ctx.Err(); err != nil {
		return d.t.fail("commit", err)
	}
	if err := publish(d.part, d.path, d.t.o.Force, d.t.o.Tap); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = exists()
		}
		return d.t.explain("commit", err, size)
	}
	d.published = true
	if err := d.t.syncFolder(d.path); err != nil {
		return d.t.explain("flush the folder of", err, size)
	}
	if err := d.t.forget(d.path); err != nil { // last: until here it says what the part is
		return d.t.explain("tidy up after", err, size)
	}
	return nil
}

// sync makes the content durable. A flush cannot be interrupted, so cancellation leaves it behind.
func (d *disk) sync(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		done <- errors.Join(d.pace.failed(), d.t.o.Tap.Do(fsop.Op{Kind: fsop.Sync, Path: d.part}, d.f.Sync))
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close removes a part that was not committed and is not to be kept.
func (d *disk) Close() error {
	d.state.Lock()
	defer d.state.Unlock()
	if d.closed.Swap(true) {
		return nil
	}
	var errs []error
	if !d.published && !d.keep { // before the lock goes with the descriptor
		if sameFile(d.f, d.part) {
			errs = append(errs, d.t.forget(d.path), d.t.remove(d.part))
		}
	}
	if d.direct != nil {
		errs = append(errs, d.direct.Close())
	}
	errs = append(errs, d.f.Close())
	if err := errors.Join(errs...); err != nil {
		return d.t.explain("close", err, -1)
	}
	return nil
}

// sameFile reports whether path still names f.
func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}
