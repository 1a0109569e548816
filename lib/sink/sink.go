// Package sink names the places that disks are written to.
//
// An implementation is a package of its own (filesink, pipesink, …) that passes package sinktest.
package sink

import (
	"context"
	"io"
	"os"
)

// A Target names a place for a disk. Making one is free; Open does the work.
type Target interface {
	// Open prepares the target. Nothing is visible under its name before Commit.
	Open(ctx context.Context, o Options) (Sink, error)
	String() string
}

// A Capper is a Target that knows its Caps before it is open, as planning wants to for those that are Ordered.
type Capper interface {
	Caps() Caps
}

// A Resumer is a Target whose parts can outlive the process that writes them.
type Resumer interface {
	Target
	// Journal is where to write down how far a part has come. It belongs to the part: whoever makes that anew, drops or
	// commits it, drops the record too.
	Journal() (Journal, error)
}

// A Journal keeps one record, which is whole at any moment: the old one or the new one.
type Journal interface {
	// Load returns the record, nil if there is none.
	Load() ([]byte, error)
	// Save replaces it, and returns when the new one is durable. It keeps nothing of record.
	Save(record []byte) error
	// Drop forgets it. Without one it does nothing.
	Drop() error
}

// A Keeper is a Sink of a Resumer.
type Keeper interface {
	Sink
	// Sync returns when everything that was written and zeroed before it was called is durable. Others may write meanwhile.
	Sync(ctx context.Context) error
	// Keep says whether Close leaves the part, for Open with Resume, where it was not committed.
	Keep(keep bool)
}

// A Cloner is a Sink that can share the storage of a file that lies on the same filesystem (a reflink).
type Cloner interface {
	Sink
	// Clone makes the disk read as f does, from off on, and returns for how many of the n bytes that is so now: fewer, or
	// none, where storage cannot be shared. What is left is to be written. Both ends change independently afterwards.
	Clone(f *os.File, off, n int64) (int64, error)
}

// Mode says what Open finds and leaves.
type Mode uint8

const (
	// New makes a disk.
	New Mode = iota
	// Resume goes on with a part that an earlier, interrupted writer left: what was durable is there, the rest may be
	// anything that it wrote. Without one that can be trusted and has Options.Size it is fs.ErrNotExist.
	Resume
	// Update changes a disk in place (a delta): it never truncates, resizes or drops. Close without Commit leaves the
	// disk marked incomplete, and the delta may be applied again.
	Update
)

// String returns the mode's name in lower case.
func (m Mode) String() string { return [...]string{"new", "resume", "update"}[m] }

// Options of Open.
type Options struct {
	// Size of the disk, -1 where only the end of the stream tells.
	Size int64
	Mode Mode
	// Preallocate makes the target allocate every byte.
	Preallocate bool
}

// Caps says how a sink wants to be written.
type Caps struct {
	// Ordered: writes and zeros must come in order and without gaps, from one goroutine at a time (a pipe).
	Ordered bool
	// Align is the alignment of offset, length and memory for the fastest writes, a power of two; 1: none.
	// Others are correct too.
	Align int
	// Chunk is the length of a write that the sink likes; 0: no wish.
	Chunk int
}

// A Sink is an open target. WriteAt and Zero are safe for concurrent use on ranges that do not overlap, unless Caps says
// Ordered. What was neither written nor zeroed reads as zeros after Commit, unless Mode is Update.
type Sink interface {
	io.WriterAt
	// Zero makes [off, off+n) read as zeros: a promise about content, not a hint.
	Zero(off, n int64) error
	Caps() Caps
	// Commit makes the disk visible, with exactly size bytes, after all of it is durable.
	Commit(ctx context.Context, size int64) error
	// Close drops what was not committed and leaves nothing behind, unless a Keeper was told to. After Commit it only
	// frees resources.
	Close() error
}
