// Package limits holds the bounds on what an image, a header or a server may make us do.
package limits

import (
	"fmt"
	"runtime"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Limits bound one import. The zero value of a field means its default.
type Limits struct {
	// VirtualSize is the largest disk. Default 64 TiB, the largest that common filesystems and KubeVirt volumes hold.
	VirtualSize int64
	// Metadata bounds tables held in memory at once (L1, snapshot tables, headers, the index of runs). Default 48 MiB:
	// with it the whole program stays under 96 MiB.
	Metadata int64
	// Window is the largest codec window (dictionary). Default 128 MiB: xz -9 needs 64, zstd --long=27 128.
	Window int64
	// Expansion bounds the ratio of non-zero output to stored input of a codec. Default 2,000: above it deflate
	// cannot go on data, and zeros do not count. A start of 64 MiB is free.
	Expansion int64
	// Entries is the number of members of an archive that is extracted. Default 10 million, ten times what the largest
	// distributions have.
	Entries int64
	// Workers is the number of goroutines that decode and write. Default GOMAXPROCS, at least 2.
	Workers int
}

// WithDefaults replaces zero fields by their defaults.
func (l Limits) WithDefaults() Limits {
	set := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	set(&l.VirtualSize, 64<<40)
	set(&l.Metadata, 48<<20)
	set(&l.Window, 128<<20)
	set(&l.Expansion, 2000)
	set(&l.Entries, 10_000_000)
	if l.Workers <= 0 {
		l.Workers = max(2, runtime.GOMAXPROCS(0))
	}
	return l
}

// CheckVirtualSize refuses a disk above l.VirtualSize. Call it on Limits with defaults.
func (l Limits) CheckVirtualSize(n int64) error {
	if n > l.VirtualSize {
		return errdef.WithHint(fmt.Errorf("virtual size %d is above the limit of %d bytes: %w", n, l.VirtualSize, errdef.ErrLimit),
			"if the image is trusted, raise --max-virtual-size")
	}
	return nil
}

// CheckMetadata refuses n bytes of tables above l.Metadata; what names them. Call it on Limits with defaults.
func (l Limits) CheckMetadata(what string, n int64) error {
	if n > l.Metadata {
		return errdef.WithHint(fmt.Errorf("%s takes %d bytes, above the limit of %d: %w", what, n, l.Metadata, errdef.ErrLimit),
			"if the image is trusted, raise --max-metadata")
	}
	return nil
}
