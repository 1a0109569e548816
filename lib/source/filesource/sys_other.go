//go:build !unix

package filesource

import (
	"context"
	"fmt"
	"io/fs"
	"os"
)

// identity changes when the file is written. There is no file number in what Stat tells here.
func identity(fi fs.FileInfo) string {
	return fmt.Sprintf("file-%x-%d", fi.Size(), fi.ModTime().UnixNano())
}

func deviceIdentity(fi fs.FileInfo) string { return "device-" + fi.Name() }

func isNotDir(error) bool { return false }

func openPipe(_ context.Context, path string) (*os.File, error) { return os.Open(path) }

// allocated is not known here.
func allocated(fs.FileInfo) int64 { return 0 }
