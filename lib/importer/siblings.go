package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/source"
)

// siblings opens the files beside a source for a disk that lies in several, and remembers what they were: what is opened
// again must not have changed. It is safe for concurrent use.
type siblings struct {
	ctx      context.Context // of open: a blob observes it, so these do
	src      source.Siblinger
	env      source.Env
	checksum bool

	mu    sync.Mutex
	seen  map[string]sibling
	total int64 // stored bytes of the source and of those seen
}

type sibling struct {
	source source.Source
	info   source.Info
}

// newSiblings returns nil if src has no files beside it.
func newSiblings(ctx context.Context, src source.Source, env source.Env, size int64, checksum bool) *siblings {
	s, ok := src.(source.Siblinger)
	if !ok {
		return nil
	}
	return &siblings{ctx: ctx, src: s, env: env, checksum: checksum, seen: map[string]sibling{}, total: max(size, 0)}
}

// open is format.Options.Sibling.
func (s *siblings) open(name string) (format.File, error) {
	if s.checksum {
		return nil, errdef.WithHint(fmt.Errorf("the disk lies in several files, and a checksum of the first would not cover file %q: %w", name, errdef.ErrUsage),
			"leave out --checksum, and check the files with sha256sum -c beforehand")
	}
	src, err := s.src.Sibling(name)
	if err != nil {
		return nil, err
	}
	blob, err := src.Open(s.ctx, s.env)
	if err != nil {
		return nil, err
	}
	f, err := s.file(name, src, blob)
	if err != nil {
		return nil, errors.Join(err, blob.Close())
	}
	return f, nil
}

func (s *siblings) file(name string, src source.Source, blob source.Blob) (format.File, error) {
	info := blob.Info()
	ra, ok := blob.(io.ReaderAt)
	if !ok || info.Size < 0 {
		return nil, errdef.WithHint(fmt.Errorf("file %s cannot be read out of order: %w", src, errdef.ErrUnsupported),
			"use a server that answers requests for ranges, or download all files of the disk")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, ok := s.seen[name]; ok && (was.info.Identity != info.Identity || was.info.Size != info.Size) {
		return nil, fmt.Errorf("file %s was %s, is %s: %w", src, was.info.Identity, info.Identity, errdef.ErrChanged)
	} else if !ok {
		s.seen[name] = sibling{src, info}
		s.total += info.Size
		s.env.Tracker.SetStoredTotal(s.total)
	}
	f := storedFile{blob, ra, info.Size}
	if x, ok := blob.(image.Extenter); ok {
		return storedHoles{f, x}, nil
	}
	return f, nil
}

// unchanged asks local files whether they still are what they were.
func (s *siblings) unchanged(ctx context.Context) error {
	if s == nil {
		return nil
	}
	for _, x := range s.seen {
		st, ok := x.source.(source.Statter)
		if !ok || !x.info.Local || x.info.Identity == "" {
			continue
		}
		now, err := st.Stat(ctx, source.Env{})
		if err != nil {
			return err
		}
		if now.Identity != x.info.Identity {
			return fmt.Errorf("file %s was %s, is %s: %w", x.source, x.info.Identity, now.Identity, errdef.ErrChanged)
		}
	}
	return nil
}

// storedFile is a blob as a file of a disk.
type storedFile struct {
	io.Closer
	io.ReaderAt
	size int64
}

func (f storedFile) Size() int64 { return f.size }

type storedHoles struct {
	storedFile
	image.Extenter
}
