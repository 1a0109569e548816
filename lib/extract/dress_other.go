//go:build !linux

package extract

import (
	"errors"
	"os"
)

// The names of attributes are Linux's; elsewhere they would mean something else.
func dropACLs(*os.File)                          {}
func setXattr(*os.File, xattr) error             { return errors.ErrUnsupported }
func setLinkXattr(*place, string, xattr) error   { return errors.ErrUnsupported }
func setLinkTimes(*place, string, *header) error { return nil } // there is no call that does not follow it, beneath a folder

func setTimes(at *place, base string, h *header) error {
	a, _ := h.accessed() // zero leaves it
	return at.root.Chtimes(base, a, h.mtime)
}
