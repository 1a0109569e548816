//go:build unix

package format

import (
	"path/filepath"
	"syscall"
	"testing"
)

// mkfifo makes a pipe that nobody writes to: opening it would hang.
func mkfifo(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
}
