package blocksink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/inuse"
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
	dev, err := t.claim(ctx.Done())
	if err != nil {
		return nil, err
	}
	size, sector, err := dev.geometry()
	if err != nil {
		err = t.explain("open", err)
	}
	var d *disk
	if err == nil {
		d, err = t.take(dev, size, sector, o)
	}
	if err != nil {
		_ = dev.Close()
		return nil, err
	}
	return d, nil
}

// glance says whether the device is the one that s speaks of, whoever has it now.
func (t *Target) glance(s stamp) error {
	dev, err := t.look()
	if err != nil {
		return err
	}
	defer func() { _ = dev.Close() }() // only looked at
	size, sector, err := dev.geometry()
	if err != nil {
		return t.explain("look at", err)
	}
	return s.check(dev, size, sector)
}

// Clean drops what an interrupted import left, and reports whether there was anything: the record, and the token that ties
// the device to it. What is on the device is recognised by nobody, and stays until somebody writes there.
func (k *Kept) Clean(bool) (found bool, err error) {
	s, content, err := noteOf(k.notes.record)
	_, ends, eerr := noteOf(k.notes.ends)
	if err == nil && eerr == nil && content == nil && ends == nil {
		return false, k.notes.drop() // of what was never whole
	}
	dev, cerr := k.claim(nil)
	if cerr != nil {
		return true, cerr
	}
	defer func() { _ = dev.Close() }() // what was written is flushed
	size, sector, err2 := dev.geometry()
	if err2 != nil {
		return true, k.explain("clean", err2)
	}
	var errs []error
	if err == nil && s.check(dev, size, sector) == nil {
		errs = append(errs, k.forget(dev, s))
	}
	errs = append(errs, k.notes.drop())
	if err := errors.Join(errs...); err != nil {
		return true, k.explain("clean", err)
	}
	return true, nil
}

func ours(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// claim opens the device exclusively, unless done is closed while it waits for udev.
func (t *Target) claim(done <-chan struct{}) (*blockDevice, error) {
	path, rdev, err := t.stat()
	if err != nil {
		return nil, err
	}
	busy := func(err error) error {
		by := inuse.By(inuse.Device(os.DirFS("/"), unix.Major(rdev), unix.Minor(rdev)))
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
		err = dev.lock(done)
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

func (b *blockDevice) lock(done <-chan struct{}) error {
	end := time.Now().Add(lockPatience)
	for {
		err := b.control(func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			return err
		}
		select {
		case <-done:
			return context.Canceled
		case <-time.After(50 * time.Millisecond):
		}
	}
}
