package filesink

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// round is how much is written through the page cache before the device is told to begin. With the round before it still
// under way, at most two are dirty: an import neither stalls the machine when memory fills up nor waits long in Commit.
const round = 8 << 20

// pacer keeps cached writes close to the device and drops what is written from the cache: nobody will read the disk
// soon, and the kernel then takes warm pages for the next write instead of cold ones.
type pacer struct {
	f   *os.File
	acc atomic.Int64
	mu  sync.Mutex
	err error
	off atomic.Bool
}

// wrote counts n bytes. The writer that completes a round waits for the round before.
func (p *pacer) wrote(n int) error {
	if p.acc.Add(int64(n)) < round || p.off.Load() {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.acc.Load() < round {
		return p.err
	}
	p.acc.Store(0)
	err := control(p.f, func(fd int) error {
		return unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE)
	})
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ESPIPE):
		p.off.Store(true) // not here
		return nil
	case err != nil:
		p.err = err // told once by the kernel: fsync would not say it again
		return err
	}
	_ = control(p.f, func(fd int) error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) })
	return nil
}

// failed returns the error of any earlier round.
func (p *pacer) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
