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
type Dir struct{ path string }

// In is the record of this name in dir.
func In(dir, name string) Dir { return Dir{filepath.Join(dir, name)} }

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
	_ = os.Remove(next)     // and never opened: in a folder of many users it may lead elsewhere
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	_, err = f.Write(record)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(next, d.path)
	}
	if err != nil {
		return fmt.Errorf("journal: %w", errors.Join(err, os.Remove(next)))
	}
	if dir, err := os.Open(filepath.Dir(d.path)); err == nil { // where folders can be flushed
		_ = dir.Sync()
		_ = dir.Close()
	}
	return nil
}

// Drop removes the file, and what a writer that was killed left of the next one.
func (d Dir) Drop() error {
	for _, path := range []string{d.path + ".new", d.path} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("journal: %w", err)
		}
	}
	return nil
}

// Path is the file.
func (d Dir) Path() string { return d.path }
