//go:build unix && !linux

package filesink

import "github.com/cdictl/cdictl/lib/internal/fsop"

// publish gives the part its name, at once. Without force an existing file is fs.ErrExist.
func publish(part, path string, force bool, tap fsop.Tap) error {
	if force {
		return rename(part, path, tap)
	}
	return publishByLink(part, path, tap)
}
