//go:build !linux

package resize

import "os"

// Lock does nothing: QEMU takes no locks on images here.
func Lock(*os.File) error { return nil }
