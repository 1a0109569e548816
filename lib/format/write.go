package format

import (
	"context"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/qcow2"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/limits"
)

// WriteOptions of Write. The zero value is useful.
type WriteOptions struct {
	Limits limits.Limits
	// Compression of the data: "none" (the default) or what the format has: "zlib", "zstd".
	Compression string
	// ClusterSize is what the format allocates at a time; 0: its default.
	ClusterSize int64
	// Ordered: the target takes bytes in order and without gaps only.
	Ordered bool
	// Done is told how much of the disk is done. May be nil.
	Done func(n int64)
}

// Writable reports whether Write can make the format. Raw is not among them: a raw disk is what a sink is written as.
func (f Format) Writable() bool { return f.write != nil }

// Write writes img in the format to w, which is new and reads as zeros, and returns the length of the stored file.
func (f Format) Write(ctx context.Context, w io.WriterAt, img image.Image, o WriteOptions) (int64, error) {
	if f.write == nil {
		return 0, fmt.Errorf("%s cannot be written: %w", f.Name, errdef.ErrUnsupported)
	}
	o.Limits = o.Limits.WithDefaults()
	return f.write(ctx, w, img, o)
}

func writeQcow2(ctx context.Context, w io.WriterAt, img image.Image, o WriteOptions) (int64, error) {
	return qcow2.Write(ctx, w, img, qcow2.WriteOptions{
		Compression: o.Compression, ClusterSize: o.ClusterSize, Workers: o.Limits.Workers, Ordered: o.Ordered, Limits: o.Limits, Done: o.Done,
	})
}
