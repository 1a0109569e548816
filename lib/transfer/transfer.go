// Package transfer moves the content of an image or a stream into a sink, sparse and in parallel.
//
// There is one function for each way the bytes can lie: [Copy] reads an image in guest order, [CopyStored] and
// [CopyHashed] read a blob in its stored order and place what passes, [Stream] takes a stream. All of them hand zeros to
// Sink.Zero, bound their memory by Options and not by the image, and end all goroutines before they return.
package transfer

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/trace"
)

// Options of a transfer. The zero value is useful.
type Options struct {
	// Workers is the number of goroutines that read, decode and write. Default 2.
	Workers int
	// Segment is what one worker takes at a time, a power of two of at least 64 KiB. Default 1 MiB: smaller direct
	// writes are slower, larger ones are not faster. A larger cluster wants a larger segment, or it is decoded twice.
	Segment int64
	// Fetch is the largest read of a remote blob. Default 4 MiB, some 30 ms at 1 Gbit/s, so that a round trip
	// weighs little.
	Fetch int64
	// InFlight is the number of such reads at the same time. Default 4.
	InFlight int
	// MaxIndex bounds the bytes that the index of runs may take. Default 32 MiB.
	MaxIndex int64
	// Names of the two ends, for errors.
	SourceName, TargetName string
	// Done, if set, tells what of the disk an earlier run has made durable: it is not read again where that can be.
	Done Done
	// Clone, if set, is asked by Copy to make [off, off+n) of the disk, which is data, without reading it. It returns for how
	// many bytes that could be done; what is left is read and written.
	Clone func(off, n int64) (int64, error)
	// Abort, if set, is called at the first error, so that reads of the blob that are under way end.
	Abort context.CancelFunc

	Tracker *progress.Tracker
	Trace   *trace.Recorder
}

func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = 2
	}
	if o.Segment <= 0 {
		o.Segment = 1 << 20
	}
	if o.Fetch <= 0 {
		o.Fetch = 4 << 20
	}
	if o.InFlight <= 0 {
		o.InFlight = 4
	}
	if o.MaxIndex <= 0 {
		o.MaxIndex = 32 << 20
	}
	if o.Abort == nil {
		o.Abort = func() {}
	}
	return o
}

// Done is a set of bytes of a disk.
type Done interface {
	// At tells whether off is in the set, and for how many bytes from there on, at least one, that is so.
	At(off int64) (in bool, n int64)
}

// has reports whether all of [off, off+n) is done.
func (o Options) has(off, n int64) bool {
	if o.Done == nil {
		return false
	}
	in, k := o.Done.At(off)
	return in && k >= n
}

// Stats counts what went to the sink.
type Stats struct {
	Data   int64 // bytes written
	Cloned int64 // bytes whose storage is shared with the source's
	Zero   int64 // bytes that read as zeros without being written
	Kept   int64 // bytes that were there already
}

// onSide says which end an error belongs to, unless something below already did.
func onSide(side errdef.Side, op, name string, err error) error {
	var e *errdef.Error
	if err == nil || errors.As(err, &e) || errors.Is(err, context.Canceled) {
		return err
	}
	return &errdef.Error{Op: op, Side: side, Name: name, Err: err}
}

func (o Options) readError(err error) error { return onSide(errdef.Source, "read", o.SourceName, err) }
func (o Options) writeError(err error) error {
	return onSide(errdef.Target, "write", o.TargetName, err)
}

// group is an errgroup that calls o.Abort when its first error is recorded, not before: what Abort breaks must not
// look like the cause.
func (o Options) group(ctx context.Context) (*errgroup.Group, context.Context) {
	g, gctx := errgroup.WithContext(ctx)
	context.AfterFunc(gctx, func() {
		if !errors.Is(context.Cause(gctx), context.Canceled) { // as it is when Wait ends without an error
			o.Abort()
		}
	})
	return g, gctx
}

// writer hands guest content to the sink and counts it. Safe for concurrent use where the sink is.
type writer struct {
	dst   sink.Sink
	o     Options
	stats counters
}

// kept counts what an earlier run wrote.
func (w *writer) kept(n int64) {
	w.stats.kept.Add(n)
	w.o.Tracker.AddVirtual(n)
}

func (w *writer) zero(off, n int64) error {
	if n == 0 {
		return nil
	}
	if err := w.dst.Zero(off, n); err != nil {
		return w.o.writeError(err)
	}
	w.stats.zero.Add(n)
	w.o.Tracker.AddVirtual(n)
	return nil
}

// write puts p at off; runs of zeros in it become zeros of the sink.
func (w *writer) write(off int64, p []byte) error {
	for len(p) > 0 {
		data, zero := split(off, p)
		if data > 0 {
			if _, err := w.dst.WriteAt(p[:data], off); err != nil {
				return w.o.writeError(err)
			}
			w.stats.data.Add(int64(data))
			w.o.Tracker.AddVirtual(int64(data))
		}
		if err := w.zero(off+int64(data), int64(zero)); err != nil {
			return err
		}
		off += int64(data + zero)
		p = p[data+zero:]
	}
	return nil
}
