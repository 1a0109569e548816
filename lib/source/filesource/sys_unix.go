//go:build unix

package filesource

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// identity changes when another file takes the name or this one is written.
func identity(fi fs.FileInfo) string {
	var dev, ino uint64
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		dev, ino = uint64(st.Dev), st.Ino //nolint:unconvert // Dev is an int32 on darwin
	}
	return fmt.Sprintf("file-%x-%x-%x-%d", dev, ino, fi.Size(), fi.ModTime().UnixNano())
}

// allocated is what the file takes: st_blocks counts 512 bytes whatever the filesystem's block.
func allocated(fi fs.FileInfo) int64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return 0
}

func deviceIdentity(fi fs.FileInfo) string {
	var rdev uint64
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		rdev = uint64(st.Rdev) //nolint:unconvert // an int32 on darwin
	}
	return fmt.Sprintf("device-%x", rdev)
}

func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// openPipe opens a named pipe for reading, which blocks until it has a writer. When ctx ends first, it becomes the
// writer itself for a moment, so that the blocked call returns and nothing is left behind.
func openPipe(ctx context.Context, path string) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result, 1)
	go func() {
		f, err := os.Open(path)
		done <- result{f, err}
	}()
	select {
	case r := <-done:
		return r.f, r.err
	case <-ctx.Done():
	}
	w, werr := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	go func() {
		if r := <-done; r.err == nil {
			_ = r.f.Close()
		}
		if werr == nil {
			_ = w.Close()
		}
	}()
	return nil, ctx.Err()
}
