package blocksink

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/lib/errdef"
)

// blockDevice is the kernel's, open for direct I/O.
type blockDevice struct {
	f *os.File
	// Ways of zeroing that failed once are not tried again.
	noPunch, noZero atomic.Bool
}

func (b *blockDevice) ReadAt(p []byte, off int64) (int, error)  { return b.f.ReadAt(p, off) }
func (b *blockDevice) WriteAt(p []byte, off int64) (int, error) { return b.f.WriteAt(p, off) }
func (b *blockDevice) Sync() error                              { return b.f.Sync() }
func (b *blockDevice) Close() error                             { return b.f.Close() }

// control runs one system call, again when a signal interrupts it.
func (b *blockDevice) control(call func(fd int) error) error {
	c, err := b.f.SyscallConn()
	if err != nil {
		return err
	}
	cerr := c.Control(func(fd uintptr) {
		for {
			if err = call(int(fd)); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
	return errors.Join(cerr, err)
}

// geometry tells the bytes of the device and of a logical sector, the smallest that can be written.
func (b *blockDevice) geometry() (size, sector int64, err error) {
	var bytes uint64
	var s int
	err = b.control(func(fd int) error {
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&bytes))); e != 0 {
			return fmt.Errorf("ask for its size: %w", e)
		}
		var err error
		if s, err = unix.IoctlGetInt(fd, unix.BLKSSZGET); err != nil {
			return fmt.Errorf("ask for its sector size: %w", err)
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	if s < 512 || s > maxSector || s&(s-1) != 0 {
		return 0, 0, fmt.Errorf("sectors of %d bytes: %w", s, errdef.ErrUnsupported)
	}
	if bytes > 1<<62 {
		return 0, 0, fmt.Errorf("a device of %d bytes: %w", bytes, errdef.ErrUnsupported)
	}
	return int64(bytes) / int64(s) * int64(s), int64(s), nil
}

// smallZero is the longest stretch for which writing zeros is as cheap as asking for them, and which thin storage gains
// nothing from giving back.
const smallZero = 64 << 10

// Zero asks the device for zeros where the kernel promises that they are read afterwards, and writes them elsewhere. A
// discard promises nothing, so there is none. Whatever goes wrong on the way is tried in the next one: the last, a plain
// write, tells.
func (b *blockDevice) Zero(off, n int64, keep bool) error {
	if n > smallZero {
		// Give the storage back; this fails unless the device can do that and reads zeros then.
		if !keep && b.allocate(&b.noPunch, unix.FALLOC_FL_PUNCH_HOLE, off, n) {
			return nil
		}
		// By a command of the device that keeps the storage, or written by the kernel.
		if b.allocate(&b.noZero, unix.FALLOC_FL_ZERO_RANGE, off, n) {
			return nil
		}
	}
	for n > 0 {
		m, err := b.f.WriteAt(zeros()[:min(n, chunk)], off)
		if err != nil {
			return err
		}
		off, n = off+int64(m), n-int64(m)
	}
	return nil
}

func (b *blockDevice) allocate(not *atomic.Bool, mode uint32, off, n int64) bool {
	if not.Load() {
		return false
	}
	err := b.control(func(fd int) error { return unix.Fallocate(fd, mode|unix.FALLOC_FL_KEEP_SIZE, off, n) })
	if err != nil {
		not.Store(true)
	}
	return err == nil
}
