package importer

import (
	"time"

	"github.com/cdictl/cdictl/lib/limits"
	"github.com/cdictl/cdictl/lib/plan"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/trace"
	"github.com/cdictl/cdictl/lib/verify"
)

// Options are common to everything that opens an image. The zero value is useful.
type Options struct {
	Limits limits.Limits
	// Snapshot names an internal snapshot (its name or ID) to read instead of the active disk.
	Snapshot string
	// AllowBacking is a folder: a backing chain of local files inside it is read. Empty: a backing file is refused.
	AllowBacking string
	// Disk is the name or the number of a disk in an archive (an OVA, a tar); empty: the only one.
	Disk string

	Limiter *limits.Rate      // paces the stored bytes; nil: unlimited
	Tracker *progress.Tracker // counts; nil: nobody looks
	Trace   *trace.Recorder   // nil: no timeline
	// OnRetry is told of each failed try that will be repeated; nil, or safe for concurrent use.
	OnRetry func(source.Retry)

	points bool // note where a codec could begin again
	notice func(text string)
}

// Request says what to import where.
type Request struct {
	Source source.Source
	Target sink.Target
	// Size grows the disk to this many bytes; 0 keeps the image's virtual size. A disk is never shrunk.
	Size int64
	// Max is what the target has room for, at least Size: an image between the two keeps its own size, a larger one is
	// errdef.ErrTooSmall. 0: with a Size that is the most, without one there is no bound.
	Max int64
	// OnPlan is told the plan before anything is done to the target, and before the sizes are found to fit: its
	// VirtualSize is the image's. May be nil.
	OnPlan func(Explanation)
	// Checksum of the stored bytes, checked before anything becomes visible; zero: none.
	Checksum verify.Digest
	// Preallocate makes the target allocate every byte.
	Preallocate bool
	// Spool is a folder for a hidden, sparse file with what of a one-way stream cannot be placed as it passes: all of it
	// where the target wants guest order, else what waited for its table too long and cannot be fetched again. Beside
	// the target is the natural place. Empty: an import that needs it ends in errdef.ErrScratchNeeded.
	Spool string
	// Resume goes on with what an interrupted import of the same disk left at the target, and leaves what there is if this one
	// is interrupted (then the error is an *Interrupted) or ends in an error after which another try may help. It wants a
	// sink.Resumer and a source that proves itself unchanged; without them it does nothing.
	Resume bool
	// Grace is how long an import that is interrupted may take to make durable what it wrote last; what is not by then is
	// fetched again. 0: a second, as people wait for the answer to a signal.
	Grace time.Duration
	// Journal is where to note how far the import has come; nil: the target's own.
	Journal sink.Journal
	// OnNotice is told what people should know while the import goes on, such as why what was left is of no use. May be nil.
	OnNotice func(text string)
	// Hold is how many bytes of a stream wait in memory for the table that names them; 0: 16 MiB.
	Hold int64
	Options

	// What is written at a time, and after how many bytes the record is saved; 0: by the kind of source, and package
	// transfer's. Tests of small disks want less.
	segment, saveStep int64
}

// room is the size of the largest disk that r takes, 0 for any.
func (r Request) room() int64 { return max(r.Size, r.Max) }

// Result tells what an import did. Its JSON names are stable.
type Result struct {
	Source      string     `json:"source"`
	Target      string     `json:"target"`
	Format      string     `json:"format"`
	Codec       string     `json:"codec,omitempty"`
	Route       plan.Route `json:"route"`
	Reason      string     `json:"reason"`      // why this route
	VirtualSize int64      `json:"virtualSize"` // of the disk that was made
	ImageSize   int64      `json:"imageSize"`   // virtual size of the image; less than VirtualSize after growing
	StoredSize  int64      `json:"storedSize"`
	Digest      string     `json:"digest,omitempty"` // of the stored bytes, verified
	Identity    string     `json:"identity,omitempty"`
	// Labels are what the source says of the disk, as labels of Kubernetes.
	Labels  map[string]string `json:"labels,omitempty"`
	Passes  int               `json:"passes"` // over the stored bytes
	Fetched int64             `json:"bytesFetched"`
	HeldMax int64             `json:"bytesHeldMax"` // most bytes of a stream that waited in memory for a table to name them
	Spooled int64             `json:"bytesSpooled"`
	Written int64             `json:"bytesWritten"`          // data handed to the target, zeros not counted
	Cloned  int64             `json:"bytesCloned,omitempty"` // data whose storage the target shares with the source
	// Resumed: an earlier import was gone on with, which had made Kept bytes of the disk.
	Resumed bool    `json:"resumed,omitempty"`
	Kept    int64   `json:"bytesKept,omitempty"`
	Seconds float64 `json:"seconds"`
}
