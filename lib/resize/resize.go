// Package resize is the arithmetic of sizes: sectors, the disk that an image and a wish make, and what a filesystem leaves
// of a claim. Sizes are bytes. Everything but Grow is pure.
package resize

import (
	"fmt"
	"math"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Sector is what the size of every disk is a multiple of.
const Sector = 512

// Alignment is what sizes of disks in claims are rounded to: 1 MiB, so that any guest partition and any block size fits.
const Alignment = 1 << 20

// AlignUp rounds n up to a multiple of align, a power of two. What would pass the largest int64 is errdef.ErrLimit.
func AlignUp(n, align int64) (int64, error) {
	if n < 0 || n > math.MaxInt64-(align-1) {
		return 0, fmt.Errorf("size %d cannot be rounded up to %d: %w", n, align, errdef.ErrLimit)
	}
	return (n + align - 1) &^ (align - 1), nil
}

// Disk is the size of the disk that an image of imageSize makes where requested is asked for: 0 asks for the image's own
// size. A disk is never shrunk: a smaller request is errdef.ErrTooSmall. The result is whole sectors.
func Disk(imageSize, requested int64) (int64, error) {
	if imageSize < 0 || requested < 0 {
		return 0, fmt.Errorf("image of %d and request of %d bytes: %w", imageSize, requested, errdef.ErrUsage)
	}
	if requested != 0 && requested < imageSize {
		return 0, errdef.WithHint(fmt.Errorf("the image has a virtual size of %d bytes, %d were asked for: %w", imageSize, requested, errdef.ErrTooSmall),
			fmt.Sprintf("ask for at least %s: --size %d", FormatSize(imageSize), imageSize))
	}
	return AlignUp(max(imageSize, requested), Sector)
}

// A Truncater is a disk that can be given a size: an *os.File.
type Truncater interface{ Truncate(size int64) error }

// Grow gives a raw disk of size bytes the size wanted, and never shrinks it.
func Grow(disk Truncater, size, wanted int64) error {
	n, err := Disk(size, wanted)
	if err != nil || n == size {
		return err
	}
	return disk.Truncate(n)
}
