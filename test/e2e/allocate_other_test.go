//go:build !linux

package e2e

import (
	"errors"
	"os"
)

// allocate is only called on a test/cluster, which is Linux.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }
