// Package plan decides which route the bytes of an import take, and says why in words. It is data in, data out: it opens
// nothing and knows no interface. A promise that no route can keep is an error here, before a byte moves.
package plan

import (
	"fmt"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Route names a way from the stored bytes to the disk.
type Route string

// The routes.
const (
	Direct        Route = "direct"         // random access: tables first, then only allocated data
	Hashed        Route = "hashed"         // the same, with the whole stored file passing a hash
	Stream        Route = "stream"         // raw, with or without a codec, in one pass
	StreamConvert Route = "stream-convert" // a format inside a one-way stream, placed as its tables arrive
	Spool         Route = "spool"          // a format inside a one-way stream, by way of a sparse copy
	Extract       Route = "extract"        // an archive into a folder: no disk, so Make never says this
)

// Facts are what is known before a byte of content moves.
type Facts struct {
	Format string // "raw", "qcow2", …
	Codec  string // "" for none
	// Tables: the format maps its data by tables, so it wants random access. Without, it is its content in order.
	Tables bool
	// Mapped: the image tells where its bytes lie in the blob (image.Mapper). A backing chain does not.
	Mapped bool
	// Streams: the format has a decoder for one-way streams.
	Streams bool

	RandomAccess bool // the blob can be read out of order
	Local        bool // … and without a round trip
	Checksum     bool // of the stored bytes, to be verified
	Ordered      bool // the target must be written in guest order
	Spool        bool // there is a folder for a spool
	Again        bool // the stream can be had again, and be known to be the same
}

// Plan is a decision.
type Plan struct {
	Route  Route  `json:"route"`
	Reason string `json:"reason"`
	// HashFirst: the stored bytes are hashed in a pass of their own before Direct reads them.
	HashFirst bool `json:"hashFirst,omitempty"`
	Passes    int  `json:"passes"`
	// Fallback of StreamConvert, for bytes that waited too long for the table that names them.
	Fallback Fallback `json:"fallback,omitempty"`
}

// Fallback says what becomes of bytes of a stream that no table has named when there is no room for them in memory.
type Fallback string

// The fallbacks, in the order in which they are chosen.
const (
	AnotherPass Fallback = "another pass"   // Passes grows
	SpoolHeld   Fallback = "spool"          // a sparse file with those bytes only
	NeedScratch Fallback = "scratch needed" // errdef.ErrScratchNeeded
)

// Make decides.
func Make(f Facts) (Plan, error) {
	name := f.Format
	if f.Codec != "" {
		name += " in " + f.Codec
	}
	if !f.Tables {
		if f.RandomAccess && f.Local && f.Codec == "" && !f.Checksum {
			return Plan{Route: Direct, Passes: 1, Reason: name + " in a local file: its data is copied in parallel, its holes are skipped"}, nil
		}
		return Plan{Route: Stream, Passes: 1, Reason: name + " is its content in order: one pass"}, nil
	}
	if f.Codec == "" && f.RandomAccess {
		switch {
		case !f.Checksum:
			return Plan{Route: Direct, Passes: 1, Reason: name + " with random access: tables first, then only allocated data"}, nil
		case f.Mapped && !f.Ordered:
			return Plan{Route: Hashed, Passes: 1, Reason: name + " with random access and a checksum: tables first, then the whole stored file once, hashed and placed as it passes"}, nil
		case f.Local:
			why := "a backing chain"
			if f.Ordered {
				why = "a target in guest order"
			}
			return Plan{Route: Direct, Passes: 2, HashFirst: true, Reason: name + " in a local file, a checksum and " + why + ": the file is hashed first, then converted"}, nil
		}
	}
	if f.Streams && !f.Ordered {
		return streamConvert(name, f), nil
	}
	why := "comes as a one-way stream"
	if f.Codec == "" && f.RandomAccess {
		why = "is to be verified before it is written in guest order"
	}
	if f.Spool {
		return Plan{Route: Spool, Passes: 1, Reason: name + " " + why + ": a sparse copy is made first, hidden, and dropped at the end"}, nil
	}
	return Plan{}, errdef.WithHint(fmt.Errorf("%s %s and needs random access: %w", name, why, errdef.ErrScratchNeeded),
		"name a folder with room for the image: --scratch DIR")
}

// streamConvert is the plan for a stream whose tables may come late, which only the stream itself will tell.
func streamConvert(name string, f Facts) Plan {
	p := Plan{Route: StreamConvert, Passes: 1, Reason: name + " in a one-way stream: placed as its tables arrive; what comes long before its table "}
	switch {
	case f.Again:
		p.Fallback = AnotherPass
		p.Reason += "is placed in another pass over the source"
	case f.Spool:
		p.Fallback = SpoolHeld
		p.Reason += "waits in a sparse file, hidden, and dropped at the end"
	default:
		p.Fallback = NeedScratch
		p.Reason += "would need scratch space"
	}
	return p
}
