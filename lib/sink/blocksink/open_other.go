//go:build !linux

package blocksink

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
)

// Open is errdef.ErrUnsupported: only Linux tells enough about a device to write to it safely.
func (t *Target) Open(ctx context.Context, o sink.Options) (sink.Sink, error) {
	if err := ctx.Err(); err != nil {
		return nil, t.fail("open", err)
	}
	if err := t.checkOptions(o); err != nil {
		return nil, err
	}
	return nil, t.fail("open", onlyLinux())
}

// Size is errdef.ErrUnsupported.
func (t *Target) Size() (int64, error) { return 0, t.fail("open", onlyLinux()) }

// Clean is errdef.ErrUnsupported.
func (k *Kept) Clean(bool) (bool, error) { return false, k.fail("clean", onlyLinux()) }

func (t *Target) glance(stamp) error { return t.fail("look at", onlyLinux()) }

// ours has nothing to decide: there are no records here.
func ours(fs.FileInfo) bool { return false }

func onlyLinux() error {
	return errdef.WithHint(fmt.Errorf("block devices can be written on Linux only: %w", errdef.ErrUnsupported), "write to a file, or to - and pipe that")
}
