package filesource

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
)

// Sibling names the regular file with that name in the folder of the file. Symbolic links are followed as long as they
// stay in the folder.
func (s *Source) Sibling(name string) (source.Source, error) {
	if s.r != nil {
		return nil, s.fail("open", fmt.Errorf("a stream has no files beside it, %q was asked for: %w", name, errdef.ErrUnsupported))
	}
	if name == "" || name == "." || strings.ContainsAny(name, "/\\\x00") || !filepath.IsLocal(name) {
		return nil, s.fail("open", fmt.Errorf("%q is not a file beside it: %w", name, errdef.ErrRefused))
	}
	return Inside(filepath.Dir(s.name), name), nil
}

// Inside names the regular file name, one element of a path, in the folder dir. Symbolic links are followed as long as they
// stay in the folder.
func Inside(dir, name string) *Source {
	// Not filepath.Join: it would take "a/.." away before a symlink at a is followed.
	return &Source{name: strings.TrimSuffix(dir, string(filepath.Separator)) + string(filepath.Separator) + name, dir: dir}
}

// openInside opens the file if it is a regular one inside of s.dir, after all symbolic links.
func (s *Source) openInside() (*os.File, error) {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, s.explain("open", err)
	}
	defer root.Close() //nolint:errcheck // only read; an open file outlives it
	name := s.name[len(strings.TrimSuffix(s.dir, string(filepath.Separator)))+1:]
	// Before opening: opening a named pipe would wait for a writer.
	fi, err := root.Stat(name)
	if err == nil && !fi.Mode().IsRegular() {
		return nil, s.fail("open", fmt.Errorf("it is not a regular file: %w", errdef.ErrRefused))
	}
	var f *os.File
	if err == nil {
		f, err = root.Open(name)
	}
	if err != nil {
		if l, e := root.Lstat(name); e == nil && l.Mode()&fs.ModeSymlink != 0 && !errors.Is(err, fs.ErrNotExist) {
			err = errdef.WithHint(fmt.Errorf("it is a symbolic link out of its folder: %w", errdef.ErrRefused), "put the file itself there")
		}
		return nil, s.explain("open", err)
	}
	return f, nil
}
