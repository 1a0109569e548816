//go:build unix && !linux

package filesink

import "os"

// publish gives the part its name, at once. Without force an existing file is fs.ErrExist.
func publish(part, path string, force bool) error {
	if force {
		return os.Rename(part, path)
	}
	return publishByLink(part, path)
}
