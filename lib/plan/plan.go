// Package plan decides which route the bytes of an import take, and says why in words. It is data in, data out.
package plan

// Route names a way from the stored bytes to the disk.
type Route string

// The routes.
const (
	Direct        Route = "direct"         // random access: tables first, then only allocated data
	Hashed        Route = "hashed"         // the same, with the whole stored file passing a hash
	Stream        Route = "stream"         // raw, with or without a codec, in one pass
	StreamConvert Route = "stream-convert" // a format inside a one-way stream, placed as its tables arrive
	Spool         Route = "spool"          // a format inside a one-way stream, by way of a sparse copy
)
