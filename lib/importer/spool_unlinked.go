//go:build unix

package importer

import (
	"errors"
	"os"
)

// openUnlinked makes a file and takes its name away.
func openUnlinked(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, spoolPrefix+"*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
