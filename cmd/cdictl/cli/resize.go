package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cdictl/cdictl/cmd/cdictl/cli/meter"
	"github.com/cdictl/cdictl/lib/compress"
	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format"
	"github.com/cdictl/cdictl/lib/resize"
)

// resizeFlags are the flags of resize.
type resizeFlags struct {
	output outputFlags
	limits limitFlags
}

func (a *app) resizeCommand() *cobra.Command {
	var f resizeFlags
	c := &cobra.Command{
		Use:   "resize DISK SIZE [flags]",
		Short: "Grow the disk in a raw or qcow2 file",
		Long: `Grows the disk in a local raw or qcow2 file, in place: what is new reads as zeros. SIZE is the new size (40Gi, 512M, bytes),
rounded up to 512. A disk is never shrunk. If it is interrupted, the image is whole, in the old size or the new one.
An image that a virtual machine has open is refused. Partitions and filesystems in the disk stay as they are.`,
		Example: `%[1]s resize disk.img 40Gi
%[1]s resize server.qcow2 100Gi`,
		Args: arguments("DISK", "SIZE"),
	}
	f.output.register(c.Flags())
	f.limits.register(c.Flags())
	return a.command(c, func(c *cobra.Command, args []string) error {
		n, err := resize.ParseSize(args[1])
		if err != nil {
			return usage(c, err)
		}
		r, err := f.resize(c.Context(), args[0], (n+511)&^511)
		if err != nil {
			var e *errdef.Error
			if !errors.As(err, &e) {
				err = &errdef.Error{Op: "resize", Side: errdef.Target, Name: args[0], Err: err}
			}
			return err
		}
		if f.output.quiet && !f.output.json() {
			return nil
		}
		return answer(a.out, f.output.json(), r)
	})
}

// resized is the answer.
type resized struct {
	Disk    string `json:"disk"`
	Format  string `json:"format"`
	OldSize int64  `json:"oldSize"`
	Size    int64  `json:"virtualSize"`
}

func (r resized) String() string {
	if r.OldSize == r.Size {
		return fmt.Sprintf("%s: %s disk has %s (%d bytes) already", clean(r.Disk), r.Format, meter.Size(r.Size), r.Size)
	}
	return fmt.Sprintf("%s: %s disk grown from %s to %s (%d bytes)", clean(r.Disk), r.Format, meter.Size(r.OldSize), meter.Size(r.Size), r.Size)
}

func (f *resizeFlags) resize(ctx context.Context, path string, size int64) (resized, error) {
	l, err := f.limits.limits()
	if err != nil {
		return resized{}, err
	}
	l = l.WithDefaults()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return resized{}, err
	}
	defer file.Close()
	fi, err := file.Stat()
	switch {
	case err != nil:
		return resized{}, err
	case !fi.Mode().IsRegular():
		return resized{}, fmt.Errorf("no regular file: %w", errdef.ErrUsage)
	}
	if err := resize.Lock(file); err != nil {
		return resized{}, err
	}
	head, tail := make([]byte, min(format.PeekSize, fi.Size())), make([]byte, min(format.TailSize, fi.Size()))
	if _, err := file.ReadAt(head, 0); err != nil && len(head) > 0 {
		return resized{}, err
	}
	if _, err := file.ReadAt(tail, fi.Size()-int64(len(tail))); err != nil && len(tail) > 0 {
		return resized{}, err
	}
	if codec, ok := compress.Detect(head); ok {
		return resized{}, fmt.Errorf("it is compressed (%s): %w", codec.Name(), errdef.ErrUnsupported)
	}
	found, err := format.Detect(head, tail)
	if err != nil {
		return resized{}, err
	}
	d, err := found.Describe(ctx, file, fi.Size(), format.Options{Limits: l})
	if err != nil {
		return resized{}, err
	}
	if err := found.Grow(ctx, file, fi.Size(), size, l); err != nil {
		return resized{}, err
	}
	return resized{Disk: path, Format: found.Name, OldSize: d.VirtualSize, Size: size}, nil
}
