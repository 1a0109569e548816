package blocksink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
)

// Open takes the device for this process alone and blanks what identifies its content, after everything that can be
// refused was: errdef.ErrBusy for a device that is mounted, has holders or another writer, or whose partitions have;
// errdef.ErrTooSmall; and, without Options.Force, errdef.ErrExists.
//
// The sink takes writes of a known size up to that size, and with size -1 up to the device's. In the latter case the end
// of the disk is not held back unless it is the device's end too.
func (t *Target) Open(ctx context.Context, o sink.Options) (sink.Sink, error) {
	if err := ctx.Err(); err != nil {
		return nil, t.fail("open", err)
	}
	if err := t.checkOptions(o); err != nil {
		return nil, err
	}
	dev, err := t.claim(ctx)
	if err != nil {
		return nil, err
	}
	d, err := t.take(dev, o)
	if err != nil {
		_ = dev.Close()
		return nil, err
	}
	return d, nil
}

// take checks an open device and makes it ours.
func (t *Target) take(dev *blockDevice, o sink.Options) (*disk, error) {
	size, sector, err := dev.geometry()
	if err != nil {
		return nil, t.explain("open", err)
	}
	if err := tooSmall(size, o.Size); err != nil {
		return nil, t.fail("open", err)
	}
	if !t.o.Force {
		what, err := recognise(dev, size, sector)
		if err != nil {
			return nil, t.explain("open", err)
		}
		if what != "" {
			return nil, t.fail("open", errdef.WithHint(fmt.Errorf("the device holds %s: %w", what, errdef.ErrExists),
				"look at it (wipefs -n "+t.path+", lsblk -f); if nobody needs it, overwrite it with --force"))
		}
	}
	return newDisk(t, dev, size, sector, o)
}

// claim opens the device exclusively.
func (t *Target) claim(ctx context.Context) (*blockDevice, error) {
	path, rdev, err := t.stat()
	if err != nil {
		return nil, err
	}
	busy := func(err error) error {
		by := users(os.DirFS("/"), unix.Major(rdev), unix.Minor(rdev))
		switch {
		case len(by) > 0:
			err = errdef.WithHint(fmt.Errorf("the device is in use (%s): %w", strings.Join(by, ", "), errdef.ErrBusy), "unmount it, or stop what uses it; --force does not help here")
		case err != nil:
			err = errdef.WithHint(fmt.Errorf("another process has the device for itself: %w", errdef.ErrBusy), "wait until it is done, or stop it: see lsof "+t.path)
		default:
			return nil
		}
		return t.fail("open", err)
	}
	if err := busy(nil); err != nil {
		return nil, err
	}
	// Exclusive openers, mounts, swap, RAID and device-mapper keep each other out, across containers too, and a whole
	// disk and its partitions.
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, busy(err)
	}
	if err != nil {
		return nil, t.explain("open", err)
	}
	dev := &blockDevice{f: f}
	var st unix.Stat_t
	err = dev.control(func(fd int) error { return unix.Fstat(fd, &st) })
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFBLK || st.Rdev != rdev) {
		err = fmt.Errorf("another device came in its place: %w", errdef.ErrBusy)
	}
	if err == nil {
		err = dev.lock(ctx)
	}
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		err = busy(err)
	case err != nil:
		err = t.explain("open", err)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return dev, nil
}

// stat finds the device without opening it: to open a tape, say, would move it.
func (t *Target) stat() (path string, rdev uint64, err error) {
	if t.path == "" {
		return "", 0, t.fail("open", fmt.Errorf("the path is empty: %w", errdef.ErrUsage))
	}
	var st unix.Stat_t
	for {
		if err = unix.Stat(t.path, &st); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", 0, t.fail("open", errdef.WithHint(fmt.Errorf("there is no such device: %w", errdef.ErrUsage), "see what there is: lsblk"))
	case err != nil:
		return "", 0, t.explain("open", err)
	case st.Mode&unix.S_IFMT != unix.S_IFBLK:
		return "", 0, t.fail("open", errdef.WithHint(fmt.Errorf("it is no block device: %w", errdef.ErrUsage), "see what there is: lsblk"))
	}
	path, err = filepath.EvalSymlinks(t.path)
	if err != nil {
		return "", 0, t.explain("open", err)
	}
	return path, st.Rdev, nil
}

// lockPatience is for udev, which takes a shared lock while it looks at a device, and lets us alone while we have it.
const lockPatience = 3 * time.Second

func (b *blockDevice) lock(ctx context.Context) error {
	end := time.Now().Add(lockPatience)
	for {
		err := b.control(func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
