// Package blanksource is the source of empty disks: so many bytes, all of them one hole. With it an empty disk goes the
// way of every other, with the same progress, cancellation and durability.
package blanksource

import (
	"context"
	"fmt"
	"io"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/source"
)

// Source is an empty disk.
type Source struct{ size int64 }

var (
	_ source.Source  = Source{}
	_ image.Extenter = (*blob)(nil)
	_ io.ReaderAt    = (*blob)(nil)
)

// New is an empty disk of size bytes.
func New(size int64) Source { return Source{size} }

// String says what it is.
func (s Source) String() string { return fmt.Sprintf("an empty disk of %d bytes", s.size) }

// Open costs nothing.
func (s Source) Open(ctx context.Context, _ source.Env) (source.Blob, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.size < 0 {
		return nil, fmt.Errorf("an empty disk of %d bytes: %w", s.size, errdef.ErrUsage)
	}
	zeros := io.NewSectionReader(zero{}, 0, s.size)
	return &blob{SectionReader: zeros, ctx: ctx}, nil
}

// zero reads as zeros anywhere.
type zero struct{}

func (zero) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

type blob struct {
	*io.SectionReader
	ctx context.Context // reads end with it
}

func (b *blob) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.SectionReader.Read(p)
}

func (b *blob) ReadAt(p []byte, off int64) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	return b.SectionReader.ReadAt(p, off)
}

// NextExtent tells that all is one hole.
func (b *blob) NextExtent(off, most int64) (image.Extent, error) {
	if off < 0 || off >= b.Size() {
		return image.Extent{}, io.EOF
	}
	return image.Extent{Start: off, Length: min(most, b.Size()-off), Kind: image.Hole}, nil
}

// Info: the size is all of its identity.
func (b *blob) Info() source.Info {
	return source.Info{Size: b.Size(), Identity: fmt.Sprintf("blank-%d", b.Size()), Strong: true, Reopenable: true, Local: true}
}

// Close does nothing.
func (b *blob) Close() error { return nil }
