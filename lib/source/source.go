// Package source names the places that images come from.
//
// An implementation is a package of its own (httpsource, filesource, …) that passes package sourcetest. Retry and
// resume belong here, around one request; nobody above a source tries again.
package source

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/cdictl/cdictl/lib/limits"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/trace"
)

// A Source names bytes somewhere. Making one is free; Open does the work.
type Source interface {
	// Open makes the content readable. The Blob observes ctx until it is closed: cancelling ctx ends its reads.
	Open(ctx context.Context, env Env) (Blob, error)
	// String names the source for people. It never shows credentials.
	String() string
}

// A Statter is a Source that tells Info without opening the content.
type Statter interface {
	Stat(ctx context.Context, env Env) (Info, error)
}

// A Siblinger is a Source whose content has others beside it: a disk may lie in several files, which one of them names.
type Siblinger interface {
	// Sibling names what lies in the same folder under a name that may come from an untrusted image: one element of a
	// path. Whatever else it is, or leads to, is errdef.ErrRefused, here or when the source is opened. The credentials are
	// those of the source, and so is the host.
	Sibling(name string) (Source, error)
}

// Env is what the importer lends to a source. Every field may be nil.
type Env struct {
	Limiter *limits.Rate      // paces the stored bytes
	Tracker *progress.Tracker // counts the stored bytes as they arrive (a source calls AddStored)
	OnRetry func(Retry)       // is told of each try that failed and will be repeated; may be called concurrently
	Trace   *trace.Recorder
	// OnNotice is told what people should know, such as that somebody may write to the content.
	OnNotice func(text string)
}

// Retry is one failed try that will be repeated.
type Retry struct {
	Source  string        // as Source.String tells it
	Offset  int64         // where the content goes on
	Attempt int           // 1 for the first repetition
	Delay   time.Duration // until the repetition
	Err     error
}

// A Blob is content as stored.
//
// Read goes through it once, in order. A blob that can be read out of order is an io.ReaderAt too, safe for concurrent
// use; one that knows its holes is an image.Extenter too. Blobs are never wrapped, so these assertions hold.
// A Read and a ReadAt may be under way at the same time. ReadAt follows the io.ReaderAt contract (short only with an
// error, io.EOF at the end).
type Blob interface {
	io.ReadCloser
	Info() Info
}

// A Starter is a Blob whose Read can begin elsewhere than at its start.
type Starter interface {
	// StartAt makes the first Read begin at off, within the content. It is called before that, once.
	StartAt(off int64) error
}

// A Filer is a Blob that is a file of this machine, whose storage another file may share instead of a copy.
type Filer interface {
	// File is the open file. It stays the Blob's, and its offset has no meaning.
	File() *os.File
}

// A Marker is a Blob that proves its content at the end, by more than the content: so it begins elsewhere only with what it
// has noted there.
type Marker interface {
	// Marks says in words where places are noted; ok is false, and where the reason, if none are.
	Marks() (where string, ok bool)
	// Mark returns what was noted at the last place at or before off, in bytes for another process; ok is false if there is
	// none. Places before it are forgotten. It may be called beside Read, and after Close.
	Mark(off int64) (state []byte, ok bool)
	// StartWith makes Read go on at off, by what Mark has returned for it. Nobody reads then.
	StartWith(state []byte, off int64) error
}

// Info is what a source knows of its content.
type Info struct {
	// Size is the stored size, -1 where only the end tells.
	Size int64
	// Allocated is what the content takes on its filesystem, 0 where that is not known.
	Allocated int64
	// Name is the content's file name where the source has one (the last element of a path), for checksum files.
	Name string
	// Identity tells this content from another at the same place: an ETag, a generation, a digest. Empty: unknown.
	Identity string
	// Strong: equal identities mean equal bytes.
	Strong bool
	// Reopenable: Open again gives the same content, as far as Identity can tell.
	Reopenable bool
	// Local: a ReadAt costs no round trip, so small reads are cheap.
	Local bool
	// Dir is the folder on this machine that holds the content, empty if there is none: relative names of backing
	// files mean it.
	Dir string
	// Digest is "alg:hex" of the stored bytes where the source vouches for it.
	Digest string
	Labels map[string]string
}
