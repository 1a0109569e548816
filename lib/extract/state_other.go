//go:build !linux

package extract

import (
	"math"
	"os"
)

// All files and folders are made durable one by one, there is no other way.
const (
	fewFiles   = math.MaxInt
	fewFolders = math.MaxInt
)

func (s *state) sync() error { return nil }

func renameNew(root *os.Root, from, to string) error { return renameLooking(root, from, to) }
