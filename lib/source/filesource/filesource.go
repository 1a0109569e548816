// Package filesource reads images from local files, block devices, pipes and open readers.
package filesource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
)

// A Source is one local file or one open reader. It implements source.Source and source.Statter.
type Source struct {
	name string
	dir  string    // name is a file in it, and must not lead out of it; "": name is what the user said
	r    io.Reader // nil: name is a path
	used atomic.Bool
}

// New names the file at path; symbolic links are followed. A regular file or a block device becomes a Blob that can be
// read out of order and knows its holes, a named pipe or a character device becomes a one-way stream.
func New(path string) *Source { return &Source{name: path} }

// FromReader names what r has to give, once: a second Open is an error. name is for people, "-" for standard input.
// The reader stays the caller's: closing the Blob does not close it. When a Blob is closed or cancelled while r.Read
// blocks, that one call stays behind until it returns, and what it read is lost.
func FromReader(name string, r io.Reader) *Source { return &Source{name: name, r: r} }

// String returns the path, or the name of the reader.
func (s *Source) String() string { return s.name }

func (s *Source) fail(op string, err error) error {
	return &errdef.Error{Op: op, Side: errdef.Source, Name: s.name, Err: err}
}

// Open opens the file. Opening a named pipe waits for its writer, or for the end of ctx.
func (s *Source) Open(ctx context.Context, env source.Env) (source.Blob, error) {
	if err := ctx.Err(); err != nil {
		return nil, s.fail("open", err)
	}
	if s.r != nil {
		if s.used.Swap(true) {
			return nil, s.fail("open", fmt.Errorf("this stream was opened before and cannot begin again: %w", errdef.ErrUsage))
		}
		return newStream(ctx, env, s, s.r, nil, streamInfo()), nil
	}
	if s.dir != "" {
		f, err := s.openInside()
		if err != nil {
			return nil, err
		}
		return s.opened(ctx, env, f)
	}
	fi, err := s.stat()
	if err != nil {
		return nil, err
	}
	var f *os.File
	if fi.Mode()&fs.ModeNamedPipe != 0 {
		f, err = openPipe(ctx, s.name)
	} else {
		f, err = os.Open(s.name)
	}
	if err != nil {
		return nil, s.explain("open", err)
	}
	return s.opened(ctx, env, f)
}

func (s *Source) opened(ctx context.Context, env source.Env, f *os.File) (source.Blob, error) {
	b, err := s.blob(ctx, env, f)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return b, nil
}

// blob looks at what was really opened: the name may mean something else than a moment ago.
func (s *Source) blob(ctx context.Context, env source.Env, f *os.File) (source.Blob, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, s.explain("stat", err)
	}
	if err := s.checkMode(fi.Mode()); err != nil {
		return nil, err
	}
	info, err := s.info(fi, f)
	if err != nil {
		return nil, err
	}
	if info.Size < 0 {
		return newStream(ctx, env, s, f, f, info), nil
	}
	return &file{ctx: ctx, env: env, src: s, f: f, info: info}, nil
}

// Stat tells size and identity as they are now, without opening a file. A block device is opened for its size.
func (s *Source) Stat(ctx context.Context, _ source.Env) (source.Info, error) {
	if err := ctx.Err(); err != nil {
		return source.Info{}, s.fail("stat", err)
	}
	if s.r != nil {
		return streamInfo(), nil
	}
	if s.dir != "" {
		f, err := s.openInside()
		if err != nil {
			return source.Info{}, err
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return source.Info{}, s.explain("stat", err)
		}
		return s.info(fi, f)
	}
	fi, err := s.stat()
	if err != nil {
		return source.Info{}, err
	}
	if !isBlock(fi.Mode()) {
		return s.info(fi, nil)
	}
	f, err := os.Open(s.name)
	if err != nil {
		return source.Info{}, s.explain("open", err)
	}
	defer f.Close()
	return s.info(fi, f)
}

func (s *Source) stat() (fs.FileInfo, error) {
	fi, err := os.Stat(s.name)
	if err != nil {
		return nil, s.explain("open", err)
	}
	return fi, s.checkMode(fi.Mode())
}

func (s *Source) checkMode(m fs.FileMode) error {
	switch {
	case m.IsDir():
		return s.fail("open", errdef.WithHint(fmt.Errorf("it is a folder, not a disk image: %w", errdef.ErrUsage),
			"name one image file inside it"))
	case m&fs.ModeSocket != 0:
		return s.fail("open", fmt.Errorf("it is a socket: %w", errdef.ErrUnsupported))
	}
	return nil
}

func isBlock(m fs.FileMode) bool { return m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0 }

// info describes what fi and, for the size of a block device, f show.
func (s *Source) info(fi fs.FileInfo, f *os.File) (source.Info, error) {
	base := filepath.Base(s.name)
	switch {
	case fi.Mode().IsRegular():
		return source.Info{Size: fi.Size(), Name: base, Identity: identity(fi), Strong: true, Reopenable: true, Local: true,
			Dir: filepath.Dir(s.name), Allocated: allocated(fi)}, nil
	case isBlock(fi.Mode()):
		size, err := f.Seek(0, io.SeekEnd) // every read is a pread: the offset does not matter
		if err != nil {
			return source.Info{}, s.explain("find the size of", err)
		}
		// A device has no time of change, so equal identities promise nothing about its bytes.
		return source.Info{Size: size, Name: base, Identity: fmt.Sprintf("%s-%d", deviceIdentity(fi), size), Reopenable: true, Local: true,
			Dir: filepath.Dir(s.name)}, nil
	}
	i := streamInfo()
	i.Name = base
	return i, nil
}

func streamInfo() source.Info { return source.Info{Size: -1} }

// explain gives an operating system's error the class and the hint it deserves, and drops the path that it repeats.
func (s *Source) explain(op string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), isNotDir(err):
		err = errdef.WithHint(fmt.Errorf("%w: %w", errdef.ErrNotFound, err), "check the path; a relative one is seen from the current folder")
	case errors.Is(err, fs.ErrPermission):
		err = errdef.WithHint(fmt.Errorf("%w: %w", errdef.ErrUnauthorized, err), "check that this user may read the file and enter its folders")
	}
	return s.fail(op, err)
}
