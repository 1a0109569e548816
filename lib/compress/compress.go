// Package compress reads the codecs that disk images are stored in: gzip, xz, zstd and bzip2.
//
// A codec is told by the first bytes of the content, never by a name. Its reader is bounded in memory (Options.Window)
// and in what it may blow up (Options.Expansion), and strict: every checksum of the container is verified, content
// that ends early is an error and never a short disk, and so is anything behind the last stream. Members, streams and
// frames that follow each other are one content, as with the original tools.
package compress

import (
	"fmt"
	"io"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/limits"
)

// PeekSize is how many bytes of the content Detect needs; less only where the content is shorter.
const PeekSize = 16

// Options bound a reader. The zero value of a field means its default in package limits.
type Options struct {
	// Window is the largest dictionary (xz) or window (zstd); content that needs more is errdef.ErrLimit, before
	// anything is allocated. gzip and bzip2 have small fixed ones. A reader takes the window the content asks for,
	// and at most 16 MiB more. Content whose later frames or blocks ask for a larger window than those before holds
	// the old one until the garbage collector has taken it: the decoders allocate anew.
	Window int64
	// Expansion is how many bytes other than zeros may come out for one stored byte; beyond it is errdef.ErrLimit.
	// The first 64 MiB are free.
	Expansion int64
	// Workers is how many goroutines may decode. Every codec decodes on one today, beside the caller's.
	Workers int
	// OnPoint, if set, is told of each place where decoding can begin anew (Codec.Resume), from the reader's goroutine. That
	// what lies before it is sound is only known when the reader has handed out a byte from behind it.
	OnPoint func(Point)
}

// A Point is a place in compressed content where decoding can begin: a block of xz, a member of
// gzip or a block in one, a frame of zstd.
type Point struct {
	Stored, Out int64  // bytes before it, compressed and not
	State       []byte // what else the codec has to know
}

func (o Options) withDefaults() (Options, error) {
	if o.Window < 0 || o.Expansion < 0 || o.Workers < 0 {
		return o, fmt.Errorf("compress: window %d, expansion %d, workers %d: none may be negative: %w",
			o.Window, o.Expansion, o.Workers, errdef.ErrUsage)
	}
	l := limits.Limits{Window: o.Window, Expansion: o.Expansion, Workers: o.Workers}.WithDefaults()
	return Options{Window: l.Window, Expansion: l.Expansion, Workers: l.Workers, OnPoint: o.OnPoint}, nil
}

// A Codec is one way of compression. Codecs are comparable; the zero Codec is none and has no reader.
type Codec struct{ *spec }

type spec struct {
	name  string
	match func(head []byte) bool
	// open starts to decode; src ends in io.EOF. What it returns is used by one goroutine; release may be nil.
	open func(src *input, o Options) (r io.Reader, release func(), err error)
	// explain turns an error of the decoder into one that says what is wrong, with a sentinel of errdef;
	// nil leaves it to the caller.
	explain func(err error, o Options) error
	// scan, if set, lies between source and decoder and finds the points; at is where r begins, zero for the start.
	scan func(r io.Reader, at Point, tell func(Point)) (io.Reader, error)
	// points: there are any.
	points bool
}

// The codecs there are.
var (
	Gzip  = Codec{gzipSpec}
	XZ    = Codec{xzSpec}
	Zstd  = Codec{zstdSpec}
	Bzip2 = Codec{bzip2Spec}
)

var all = []Codec{Gzip, XZ, Zstd, Bzip2}

// All returns the codecs in the order in which they are tried.
func All() []Codec { return slices.Clone(all) }

// Detect tells the codec of content that begins with head, which is PeekSize bytes or all there is.
func Detect(head []byte) (Codec, bool) {
	for _, c := range all {
		if c.match(head) {
			return c, true
		}
	}
	return Codec{}, false
}

// Name is "gzip", "xz", "zstd" or "bzip2"; "" for the zero Codec.
func (c Codec) Name() string {
	if c.spec == nil {
		return ""
	}
	return c.name
}

// NewReader decodes r, which begins where the compressed content does. Nothing is read before the first Read.
//
// Decoding runs ahead on a goroutine of its own, by at most 512 KiB of output, and r is read from there, up to
// 256 KiB ahead. Close ends it and waits for a Read of r that is under way: whoever wants Close at once cancels or
// closes r first. Close may be called from another goroutine than Read, and does not close r.
//
// The reader ends in io.EOF only when r has ended, all of it was valid and all checksums agreed. An error of r comes
// through as it is and wins over what the decoder makes of it. Content that is damaged, ends early or has something
// behind it is errdef.ErrCorrupt; a feature this package does not have is errdef.ErrUnsupported.
func (c Codec) NewReader(r io.Reader, o Options) (io.ReadCloser, error) {
	if c.spec == nil {
		return nil, fmt.Errorf("compress: no codec: %w", errdef.ErrUsage)
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return newReader(c.spec, r, Point{}, o)
}

// Resume decodes r, which begins where p lies in the content: what comes out is what lies behind the first p.Out bytes. The
// bounds of Options count from there. All checks are those of NewReader, also of what the container tells at its end of
// what lies before p.
func (c Codec) Resume(r io.Reader, p Point, o Options) (io.ReadCloser, error) {
	if c.spec == nil || !c.points || p.Stored < 0 || p.Out < 0 {
		return nil, fmt.Errorf("compress: decoding cannot begin at stored byte %d: %w", p.Stored, errdef.ErrUsage)
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return newReader(c.spec, r, p, o)
}

// Points reports whether the codec has places to begin at. Whether a content has any is another thing.
func (c Codec) Points() bool { return c.spec != nil && c.points }

// ByName returns the codec of this name.
func ByName(name string) (Codec, bool) {
	for _, c := range all {
		if c.name == name {
			return c, true
		}
	}
	return Codec{}, false
}
