package blocksink

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Size tells the bytes of the device, as an import may use them, without taking it.
func (t *Target) Size() (int64, error) {
	dev, err := t.look()
	if err != nil {
		return 0, err
	}
	defer func() { _ = dev.Close() }() // only looked at
	size, _, err := dev.geometry()
	if err != nil {
		return 0, t.explain("open", err)
	}
	return size, nil
}

// look opens the device for reading, without taking it.
func (t *Target) look() (*blockDevice, error) {
	path, rdev, err := t.stat()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, t.explain("open", err)
	}
	dev := &blockDevice{f: f}
	var st unix.Stat_t
	err = dev.control(func(fd int) error { return unix.Fstat(fd, &st) })
	if err == nil && st.Rdev != rdev {
		err = fmt.Errorf("another device came in its place: %w", errdef.ErrBusy)
	}
	if err != nil {
		_ = f.Close()
		return nil, t.explain("open", err)
	}
	return dev, nil
}
