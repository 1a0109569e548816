package filesource

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Whence values of lseek(2).
const (
	seekData = 3
	seekHole = 4
)

// seek returns where data begins at or behind off and, if that is off itself, where it ends. Both results come from
// lseek's return value and the file's own offset is never used, so calls may run at the same time on one descriptor.
func (b *file) seek(off int64) (data, hole int64, err error) {
	data, err = b.f.Seek(off, seekData)
	switch {
	case errors.Is(err, unix.ENXIO): // nothing but a hole up to the end
		return b.info.Size, b.info.Size, b.checkShrunk()
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ESPIPE):
		return 0, 0, errNoSeek
	case err != nil:
		return 0, 0, err
	case data > off:
		return data, data, nil
	}
	hole, err = b.f.Seek(off, seekHole)
	if errors.Is(err, unix.ENXIO) { // the end moved between the calls
		if err = b.checkShrunk(); err == nil {
			return off, b.info.Size, nil
		}
	}
	return data, hole, err
}
