//go:build unix && !linux

package importer

import "os"

func openSpool(dir string) (*os.File, error) { return openUnlinked(dir) }
