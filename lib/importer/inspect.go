package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/cdictl/cdictl/lib/content"
	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format"
	"github.com/cdictl/cdictl/lib/image"
)

const (
	// remoteLook is what a look into the disk fetches at most.
	remoteLook = 1 << 20
	// localLook is what it reads of the disk at most where that costs next to nothing: all partitions that are listed.
	localLook = 8 << 20
)

// inspect looks into the disk; nil where it cannot.
func (c *opened) inspect(ctx context.Context, info *Info) (*content.Summary, error) {
	var ra io.ReaderAt
	size, o := info.VirtualSize, content.Options{Budget: localLook}
	switch {
	case c.random != nil:
		img, err := c.openLook(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, errdef.ErrUnsupported):
			return nil, nil // a backing file, encryption: told already
		case err != nil:
			return unreadable(err), nil
		}
		defer img.Close()
		ra, size = img, img.Size()
	case c.format.Random:
		return nil, nil // the start of the file is not the start of the disk
	default:
		ra = prefix(c.head)
		switch {
		case len(c.head) < format.PeekSize:
			size = int64(len(c.head)) // all of it
		case info.VirtualSizeUnknown:
			size = -1
		}
	}
	s, err := content.Inspect(ctx, ra, size, o)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return unreadable(err), nil
	}
	return &s, nil
}

func unreadable(err error) *content.Summary {
	return &content.Summary{Problems: []string{"unreadable: " + err.Error()}}
}

// openLook opens the disk for a look.
func (c *opened) openLook(ctx context.Context) (image.Image, error) {
	o := c.formatOptions()
	ra := c.random
	if !c.info.Local {
		o.Gap = 0         // it would read ahead
		o.Sibling = nil   // each a request, and there may be hundreds
		ra = fewReads(ra) // also of tables, which some formats read when they are opened
	}
	return c.format.Open(ctx, ra, c.info.Size, o)
}

// A frugal reader reads no more than it has left.
type frugal struct {
	ra   io.ReaderAt
	left atomic.Int64
}

func fewReads(ra io.ReaderAt) io.ReaderAt {
	f := &frugal{ra: ra}
	f.left.Store(remoteLook)
	return f
}

func (f *frugal) ReadAt(p []byte, off int64) (int, error) {
	if f.left.Add(-int64(len(p))) < 0 {
		return 0, fmt.Errorf("a look into the disk would fetch more than %d bytes: %w", remoteLook, errdef.ErrLimit)
	}
	return f.ra.ReadAt(p, off)
}

// contentLines tell people what is on a disk.
func contentLines(s *content.Summary, line func(name, value string)) {
	var parts []string
	if s.Filesystem != nil {
		parts = append(parts, filesystemText(s.Filesystem))
	}
	if t := s.Table; t != nil {
		text := fmt.Sprintf("%s partition table", t.Type)
		if t.Hybrid {
			text += " and partitions in the MBR"
		}
		parts = append(parts, text)
	}
	if s.Blank {
		parts = append(parts, "zeros at the start")
	}
	if len(parts) == 0 && len(s.Problems) == 0 {
		parts = append(parts, "nothing that is recognised")
	}
	line("content", strings.Join(parts, ", "))
	if s.Table != nil {
		partitionLines(s.Table, line)
	}
	if s.Partial {
		line("content", "not all of it could be seen")
	}
	for _, p := range s.Problems {
		line("content problem", p)
	}
}

func partitionLines(t *content.Table, line func(name, value string)) {
	for k, p := range t.Partitions {
		if k == maxLines {
			line("partitions", fmt.Sprintf("%d more", len(t.Partitions)-k+t.More))
			return
		}
		kind := p.TypeName
		if kind == "" {
			kind = "type " + p.Type
		}
		if p.Name != "" {
			kind += fmt.Sprintf(" %q", p.Name)
		}
		if p.Bootable {
			kind += ", bootable"
		}
		text := fmt.Sprintf("%s at byte %d, %s", kind, p.Start, sizeText(p.Size))
		if p.Filesystem != nil {
			text += ": " + filesystemText(p.Filesystem)
		}
		line(fmt.Sprintf("partition %d", p.Number), text)
	}
}

func filesystemText(f *content.Filesystem) string {
	s := f.Type
	if f.Label != "" {
		s += fmt.Sprintf(" %q", f.Label)
	}
	if f.UUID != "" {
		s += " " + f.UUID
	}
	return s
}
