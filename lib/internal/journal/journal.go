// Package journal keeps what has to outlive a process that may be killed at any moment.
package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/fsop"
)

// A Store keeps one record. It is whole at any moment: the old one or the new one.
type Store interface {
	// Load returns the record, nil if there is none.
	Load() ([]byte, error)
	// Save replaces it, and returns when the new one is durable.
	Save(record []byte) error
	// Drop forgets it. Without one it does nothing.
	Drop() error
}

// MaxRecord bounds what Load reads and Save takes.
const MaxRecord = 16 << 20

// Dir keeps a record in the file name of a folder.
type Dir struct {
	path string
	tap  fsop.Tap
}

// In is the record of this name in dir.
func In(dir, name string) Dir { return Dir{path: filepath.Join(dir, name)} }

// Tapped is d with a tap on its operations.
func (d Dir) Tapped(t fsop.Tap) Dir { return Dir{d.path, t} }

// Load returns the record, nil if there is none.
func (d Dir) Load() ([]byte, error) {
	f, err := os.Open(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxRecord+1))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if len(b) > MaxRecord {
		return nil, fmt.Errorf("journal: %s is longer than %d bytes: %w", d.path, MaxRecord, errdef.ErrLimit)
	}
	return b, nil
}

// Save writes a new file and gives it the old one's name.
func (d Dir) Save(record []byte) error {
	if len(record) > MaxRecord {
		return fmt.Errorf("journal: a record of %d bytes: %w", len(record), errdef.ErrLimit)
	}
	next := d.path + ".new" // one writer, so one name: nothing piles up when it is killed
	_ = d.remove(next)      // and never opened: in a folder of many users it may lead elsewhere
	var f *os.File
	err := d.tap.Do(fsop.Op{Kind: fsop.Create, Path: next}, func() (err error) {
		f, err = os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	err = d.tap.Do(fsop.Op{Kind: fsop.Write, Path: next, Data: record}, func() error {
		_, err := f.Write(record)
		return err
	})
	if err == nil {
		err = d.tap.Do(fsop.Op{Kind: fsop.Sync, Path: next}, f.Sync)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.tap.Do(fsop.Op{Kind: fsop.Rename, Path: next, To: d.path}, func() error { return os.Rename(next, d.path) })
	}
	if err != nil {
		return fmt.Errorf("journal: %w", errors.Join(err, d.remove(next)))
	}
	if dir, err := os.Open(filepath.Dir(d.path)); err == nil { // where folders can be flushed
		_ = d.tap.Do(fsop.Op{Kind: fsop.SyncFolder, Path: d.path}, dir.Sync)
		_ = dir.Close()
	}
	return nil
}

func (d Dir) remove(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return d.tap.Do(fsop.Op{Kind: fsop.Remove, Path: path}, func() error { return os.Remove(path) })
}

// Drop removes the file, and what a writer that was killed left of the next one.
func (d Dir) Drop() error {
	for _, path := range []string{d.path + ".new", d.path} {
		if err := d.remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("journal: %w", err)
		}
	}
	return nil
}

// Path is the file.
func (d Dir) Path() string { return d.path }
