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

// wholeRound is the round where the system has no such call (gVisor, a seccomp filter): all that is dirty is waited for,
// so it comes less often.
const wholeRound = 32 << 20

// pacer keeps cached writes close to the device and drops what is written from the cache: nobody will read the disk
// soon, and the kernel then takes warm pages for the next write instead of cold ones.
type pacer struct {
	f     *os.File
	acc   atomic.Int64
	mu    sync.Mutex
	err   error
	whole atomic.Bool // flush, as nothing less will do
}

func (p *pacer) round() int64 {
	if p.whole.Load() {
		return wholeRound
	}
	return round
}

// wrote counts n bytes. The writer that completes a round waits for the round before.
func (p *pacer) wrote(n int) error {
	if p.acc.Add(int64(n)) < p.round() {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.acc.Load() < p.round() {
		return p.err
	}
	if !p.whole.Load() {
		err := control(p.f, begin)
		switch {
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPERM):
			p.whole.Store(true) // not here: what has come so far waits for the next round
			return nil
		case err != nil:
			p.err = err // told once by the kernel: fsync would not say it again
			return err
		}
	} else if err := control(p.f, unix.Fdatasync); err != nil {
		p.err = err
		return err
	}
	p.acc.Store(0)
	_ = control(p.f, func(fd int) error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) })
	return nil
}

// begin waits for what is on its way to the device and sends the rest.
func begin(fd int) error {
	return unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE)
}

// failed returns the error of any earlier round.
func (p *pacer) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
