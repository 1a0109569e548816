// Package pvcsource reads the disk of a volume that is mounted or attached here: the file disk.img in a folder, as KubeVirt
// lays it out, or a block device. It is what a clone's worker reads, and what a path on the command line means: any other
// file is read as package filesource does.
//
// The bytes, their holes, and the signs of a change while they are read are filesource's.
package pvcsource

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/filesource"
)

// Disk is the file of a volume that holds the disk.
const Disk = "disk.img"

// Source is one volume. It implements source.Source, source.Statter and source.Siblinger.
type Source struct{ path string }

var (
	_ source.Source    = (*Source)(nil)
	_ source.Statter   = (*Source)(nil)
	_ source.Siblinger = (*Source)(nil)
)

// New names the volume at path. A folder is looked at when it is opened: its disk.img must be a regular file, and no
// symbolic link that leads out of the folder.
func New(path string) *Source { return &Source{path} }

// String returns the path.
func (s *Source) String() string { return s.path }

// file is where the disk lies.
func (s *Source) file() *filesource.Source {
	if fi, err := os.Stat(s.path); err == nil && fi.IsDir() {
		return filesource.Inside(s.path, Disk)
	}
	return filesource.New(s.path)
}

// Open opens the disk. Of a device that somebody may write to Env.OnNotice is told.
func (s *Source) Open(ctx context.Context, env source.Env) (source.Blob, error) {
	f := s.file()
	b, err := f.Open(ctx, env)
	if err != nil {
		return nil, s.explain(f, err)
	}
	if env.OnNotice != nil {
		if by := writers(s.path); by != "" {
			env.OnNotice(fmt.Sprintf("%s is in use (%s): what is written to it meanwhile may be in the disk or not", s.path, by))
		}
	}
	return b, nil
}

// Stat tells size and identity as they are now.
func (s *Source) Stat(ctx context.Context, env source.Env) (source.Info, error) {
	f := s.file()
	i, err := f.Stat(ctx, env)
	return i, s.explain(f, err)
}

// Sibling names the regular file with that name beside the disk.
func (s *Source) Sibling(name string) (source.Source, error) { return s.file().Sibling(name) }

// explain says of a folder without a disk what is missing.
func (s *Source) explain(f *filesource.Source, err error) error {
	if f.String() == s.path || !errors.Is(err, errdef.ErrNotFound) {
		return err
	}
	return errdef.WithHint(&errdef.Error{Op: "open", Side: errdef.Source, Name: s.path,
		Err: fmt.Errorf("the folder has no %s, so it is no volume with a disk: %w", Disk, errdef.ErrNotFound)},
		"name the image file inside it")
}
