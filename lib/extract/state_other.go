//go:build !linux

package extract

import "os"

// sync: every file was flushed when it was written.
func (s *state) sync() error { return nil }

func syncEach(f *os.File) error { return f.Sync() }

func renameNew(root *os.Root, from, to string) error { return renameLooking(root, from, to) }
