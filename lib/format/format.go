// Package format tells disk formats apart and opens them.
//
// A format is told by its magic, never by a name or a Content-Type. What no magic matches is raw. An image whose header
// starts right and goes wrong is an error when it is opened; it never becomes raw, because then a damaged or hostile
// qcow2 would reach the guest as its disk. Formats that are recognised and not read are refused by name.
//
//	f, err := format.Detect(head, tail)
//	if err != nil {
//		return err // recognised, and refused with a hint
//	}
//	img, err := f.Open(ctx, blob, size, format.Options{})
package format

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/limits"
)

const (
	// PeekSize is how much of the head Detect wants to see. The farthest magic lies at 257 (tar); a VMDK's text
	// descriptor may begin with comments.
	PeekSize = 64 << 10
	// TailSize is how much of the end Detect wants to see: a VHD's footer and a DMG's trailer are the last sector.
	TailSize = 512
)

// Format is one format: a value of the ordered list that Detect goes through.
type Format struct {
	// Name is qemu-img's name of the format where it has one: "qcow2", "raw", "vpc", "vmdk", …
	Name string
	// Title is what people call it.
	Title string
	// Readable formats can be opened; the others are recognised to be refused.
	Readable bool
	// Random formats need random access. The others are the disk's bytes in order: a stream of them can be written as
	// it comes, and StreamSize tells the virtual size when the end has been seen.
	Random bool
	// Archive formats are no disk and hold disks among other files: package archive finds them.
	Archive bool

	match    func(head, tail []byte) bool
	open     func(context.Context, io.ReaderAt, int64, Options) (image.Image, error)
	describe func(context.Context, io.ReaderAt, int64, Options) (Details, error)
	size     func(tail []byte, stored int64) (int64, error)
	learn    func(Options) image.Learner
	grow     func(context.Context, GrowFile, int64, int64, limits.Limits) error
	write    func(context.Context, io.WriterAt, image.Image, WriteOptions) (int64, error)
	why      string // we do not read it, if there is more to say
	hint     string // what to do instead
}

// Options of Open and Describe. The zero value is useful.
type Options struct {
	Limits limits.Limits
	// Snapshot names an internal snapshot (its name or ID) to read instead of the active disk.
	Snapshot string
	// AllowBacking is a folder: a backing chain of local files inside it is read. Empty: a backing file is refused.
	AllowBacking string
	// Dir is the folder of the image, against which relative names of backing files are resolved; empty if the image is
	// not a local file.
	Dir string
	// Sibling opens a file in the folder of the image, by its name there, for a disk that lies in several files. The name
	// comes from the image and must not be trusted. It may be asked for the same name again, also by the open image and
	// by several goroutines, and must then give the same content. Nil: such a disk is refused.
	Sibling func(name string) (File, error)
	// Holes tells the holes of the stored file, where it is known; used by formats that are the disk's bytes in order.
	Holes image.Extenter
	// Gap is the number of stored bytes that are rather read than skipped between two tables: what arrives in the time
	// of a round trip. 0 suits a local file.
	Gap int64
}

// A File is a stored file that belongs to an image beside the one that was opened. It may be an image.Extenter, if it
// knows its holes.
type File interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// String returns the format's name.
func (f Format) String() string { return f.Name }

// Formats returns the list that Detect goes through, in its order. Raw, which matches everything, is the last.
func Formats() []Format { return list() }

// ByName returns the format that a name means where a format is named (an overlay's header, a flag), readable ones first.
func ByName(name string) (Format, error) {
	var found *Format
	for _, f := range list() {
		if f.Name == name && (found == nil || f.Readable && !found.Readable) {
			found = &f
		}
	}
	if found == nil {
		return Format{}, fmt.Errorf("format %q is not known: %w", name, errdef.ErrUnsupported)
	}
	return *found, found.Refusal()
}

// Detect returns the first format of the list whose magic matches. head is the beginning of the stored bytes, PeekSize
// of them or all if there are fewer; tail the last TailSize bytes where they are known, else nil: then a format that is
// told by its end comes out as raw, and a caller that reaches the end asks again.
//
// For a format that we recognise and do not read the error is errdef.ErrUnsupported with a hint, and the Format is valid
// beside it.
func Detect(head, tail []byte) (Format, error) {
	formats := list()
	i := slices.IndexFunc(formats, func(f Format) bool { return f.match(head, tail) }) // raw matches everything
	return formats[i], formats[i].Refusal()
}

// Refusal is the error of a format that is not Readable, nil for others.
func (f Format) Refusal() error {
	if f.Readable {
		return nil
	}
	err := fmt.Errorf("%s (%s) is recognised but not read: %w", f.Name, f.Title, errdef.ErrUnsupported)
	if f.why != "" {
		err = fmt.Errorf("%s (%s): %s: %w", f.Name, f.Title, f.why, errdef.ErrUnsupported)
	}
	return errdef.WithHint(err, f.hint)
}

// Open opens an image of size stored bytes. The image does not own ra. ctx bounds the opening only; later reads are
// bounded by the context that ra was opened with.
func (f Format) Open(ctx context.Context, ra io.ReaderAt, size int64, o Options) (image.Image, error) {
	if err := f.check(size, &o); err != nil {
		return nil, err
	}
	return f.open(ctx, ra, size, o)
}

// Describe tells what the metadata says, and reads nothing else. It works on images that Open refuses for a backing
// file, an external data file or encryption: those are named and never opened. For a Random format size may be -1: ra is
// only the start of a file.
func (f Format) Describe(ctx context.Context, ra io.ReaderAt, size int64, o Options) (Details, error) {
	if err := f.check(size, &o); err != nil {
		return Details{}, err
	}
	return f.describe(ctx, ra, size, o)
}

// Learner returns what reads the format from a one-way stream, if the format has it. It knows of no files beside: AllowBacking
// and Dir have no meaning.
func (f Format) Learner(o Options) (image.Learner, bool) {
	if f.learn == nil {
		return nil, false
	}
	o.Limits = o.Limits.WithDefaults()
	return f.learn(o), true
}

// StreamSize is the virtual size of a format that is not Random, of which stored bytes came as a stream: tail is the
// last TailSize of them, or all if there are fewer. The disk is the first bytes of the stream, padded with zeros if the
// virtual size is larger. A VHD's footer that does not fit the stream is errdef.ErrCorrupt.
func (f Format) StreamSize(tail []byte, stored int64) (int64, error) {
	if f.size == nil {
		return 0, fmt.Errorf("%s has no size as a stream: %w", f.Name, errdef.ErrUsage)
	}
	return f.size(tail, stored)
}

func (f Format) check(size int64, o *Options) error {
	if err := f.Refusal(); err != nil {
		return err
	}
	if size < 0 && f.size != nil {
		return fmt.Errorf("%s: stored size %d is not known: %w", f.Name, size, errdef.ErrUsage)
	}
	if o.Snapshot != "" && f.Name != "qcow2" { // no other has them inside
		return errdef.WithHint(fmt.Errorf("%s has no snapshots, %q was asked for: %w", f.Name, o.Snapshot, errdef.ErrUsage),
			"leave out --snapshot")
	}
	o.Limits = o.Limits.WithDefaults()
	return nil
}
