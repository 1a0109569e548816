//go:build !linux

package filesink

import (
	"errors"
	"os"
)

// cloneRange is Linux's. macOS clones whole files only, under a new name, which is not how a part is made.
func cloneRange(_, _ *os.File, _, _ int64) error { return errors.ErrUnsupported }
