package importer

import (
	"context"
	"errors"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/source"
)

// ExportRequest says what to write where, as an image of a format that is not raw.
type ExportRequest struct {
	Source source.Source
	Target sink.Target
	// Format is one that is Writable.
	Format      format.Format
	Compression string // see format.WriteOptions
	ClusterSize int64  // likewise
	DiskOptions
}

// ExportResult tells what an export did. Its JSON names are stable.
type ExportResult struct {
	Source       string  `json:"source"`
	Target       string  `json:"target"`
	Format       string  `json:"format"` // of the source
	Codec        string  `json:"codec,omitempty"`
	OutputFormat string  `json:"outputFormat"`
	Compression  string  `json:"compression"`
	VirtualSize  int64   `json:"virtualSize"`
	OutputSize   int64   `json:"outputSize"` // of the stored image that was made
	Digest       string  `json:"digest,omitempty"`
	Fetched      int64   `json:"bytesFetched"`
	Spooled      int64   `json:"bytesSpooled"`
	Seconds      float64 `json:"seconds"`
}

// Export makes an image of r.Format at r.Target out of the one at r.Source. As with Import, nothing is visible before all of
// it is there, and after an error nothing is left.
func Export(ctx context.Context, r ExportRequest) (ExportResult, error) {
	start := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if r.Tracker == nil {
		r.Tracker = newTracker()
	}
	d, err := OpenDisk(ctx, r.Source, r.DiskOptions)
	if err != nil {
		return ExportResult{}, cause(ctx, err)
	}
	defer d.Close()
	r.Tracker.SetTotal(d.Size())
	n, err := r.write(ctx, d)
	if err != nil {
		return ExportResult{}, cause(ctx, err)
	}
	s := r.Tracker.Snapshot()
	res := ExportResult{
		Source: r.Source.String(), Target: r.Target.String(), Format: d.Format, Codec: d.Codec, OutputFormat: r.Format.Name,
		Compression: r.Compression, VirtualSize: d.Size(), OutputSize: n, Fetched: s.Stored, Spooled: s.Spooled, Seconds: time.Since(start).Seconds(),
	}
	if res.Compression == "" {
		res.Compression = "none"
	}
	if !r.Checksum.IsZero() {
		res.Digest = r.Checksum.String()
	}
	return res, nil
}

func (r *ExportRequest) write(ctx context.Context, d *Disk) (int64, error) {
	s, err := r.Target.Open(ctx, sink.Options{Size: -1})
	if err != nil {
		return 0, r.onTarget("open", err)
	}
	defer s.Close()
	r.Tracker.SetPhase("exporting")
	n, err := r.Format.Write(ctx, s, d, format.WriteOptions{
		Limits: r.Limits, Compression: r.Compression, ClusterSize: r.ClusterSize, Ordered: s.Caps().Ordered, Done: r.Tracker.AddVirtual,
	})
	if err != nil {
		var e *errdef.Error
		if errors.As(err, &e) || errors.Is(err, context.Canceled) {
			return 0, err
		}
		return 0, &errdef.Error{Op: "export to", Side: errdef.Target, Name: r.Target.String(), Err: err}
	}
	r.Tracker.SetPhase("committing")
	return n, r.onTarget("commit", s.Commit(ctx, n))
}

func (r *ExportRequest) onTarget(op string, err error) error {
	return (&job{req: Request{Target: r.Target}}).onTarget(op, err)
}
