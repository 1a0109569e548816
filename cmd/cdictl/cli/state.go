package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cdictl/cdictl/lib/errdef"
)

const stateUsage = "keep what is needed to go on with an interrupted import to a block device in `folder` (default: $XDG_STATE_HOME/cdictl, ~/.local/state/cdictl)"

// stateDir is the folder for what outlives a run and has no place beside its target: the one that was given, else that of the
// user. It is "" where there is none, or none can be made: then nothing is kept.
func stateDir(given string) (string, error) {
	dir, home := given, os.Getenv("HOME")
	switch state := os.Getenv("XDG_STATE_HOME"); {
	case given != "":
	case filepath.IsAbs(state): // another one is to be ignored, says the XDG base directory specification
		dir = filepath.Join(state, "cdictl")
	case filepath.IsAbs(home):
		dir = filepath.Join(home, ".local", "state", "cdictl")
	case os.Geteuid() == 0: // a service has no home
		dir = "/var/lib/cdictl"
	default:
		return "", nil
	}
	err := os.MkdirAll(dir, 0o700)
	switch {
	case err != nil && given != "":
		return "", errdef.WithHint(fmt.Errorf("--state-dir: %w: %w", err, errdef.ErrUsage), "name a folder that this user can make or write to")
	case err != nil:
		return "", nil //nolint:nilerr // nobody asked for the folder: without one, imports to devices start again
	}
	return dir, nil
}
