package filesink

import "os"

// Clone shares the storage of f where the filesystem of both can: whole pages, and none for a disk that wants storage of its
// own. Whatever keeps the filesystem from it is found again, and told, by who writes instead.
//
// copy_file_range is not used where this fails: without a filesystem that shares it is a copy like ours, only without holes
// for zeros and past no cache.
func (d *disk) Clone(f *os.File, off, n int64) (int64, error) {
	if err := d.check(off, n); err != nil {
		return 0, err
	}
	n -= n % int64(d.align)
	if n <= 0 || off%int64(d.align) != 0 || d.noClone.Load() || d.o.Preallocate || d.t.o.Tap != nil {
		return 0, nil
	}
	d.written.mark(off, n) // first: a clone that fails may have come some way
	if cloneRange(d.f, f, off, n) != nil {
		d.noClone.Store(true)
		return 0, nil //nolint:nilerr // it is no failure, and what is one shows when the same is written
	}
	return n, nil
}
