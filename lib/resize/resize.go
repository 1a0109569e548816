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

// Usable is the largest disk that fits a filesystem of available bytes with an overhead (0.06 for 6%): whole MiB.
func Usable(available int64, overhead float64) (int64, error) {
	if err := check(available, overhead); err != nil {
		return 0, err
	}
	n := math.Ceil(float64(available) / (1 + overhead))
	return min(int64(n), available) &^ (Alignment - 1), nil
}

// Required is the capacity of a filesystem with an overhead on which a disk of size bytes fits: Usable of it is at
// least size.
func Required(size int64, overhead float64) (int64, error) {
	if err := check(size, overhead); err != nil {
		return 0, err
	}
	aligned, err := AlignUp(size, Alignment)
	if err != nil {
		return 0, err
	}
	n := math.Ceil(float64(aligned) * (1 + overhead))
	if n >= math.MaxInt64 {
		return 0, fmt.Errorf("disk of %d bytes with an overhead of %g: %w", size, overhead, errdef.ErrLimit)
	}
	return int64(n), nil
}

func check(size int64, overhead float64) error {
	if size < 0 || !(overhead >= 0 && overhead < 1) {
		return fmt.Errorf("size %d with overhead %g: sizes are positive, an overhead is in [0, 1): %w", size, overhead, errdef.ErrUsage)
	}
	return nil
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
