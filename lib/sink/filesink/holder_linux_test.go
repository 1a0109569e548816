package filesink

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
)

// TestHolder is told who writes a disk. Not every filesystem's locks can be found by what stat tells; a tmpfs' can.
func TestHolder(t *testing.T) {
	const shm = "/dev/shm"
	var sfs unix.Statfs_t
	if err := unix.Statfs(shm, &sfs); err != nil || sfs.Type != unix.TMPFS_MAGIC {
		t.Skip("no tmpfs at " + shm)
	}
	dir, err := os.MkdirTemp(shm, "filesink")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	target := New(filepath.Join(dir, "disk"), Options{})
	s, err := target.Open(t.Context(), sink.Options{Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, mode := range []sink.Mode{sink.New, sink.Resume} {
		_, err = target.Open(t.Context(), sink.Options{Size: 1, Mode: mode})
		if want := fmt.Sprintf("another process (process %d, ", os.Getpid()); !errors.Is(err, errdef.ErrBusy) || !strings.Contains(err.Error(), want) {
			t.Errorf("mode %d: %v, want %q", mode, err, want)
		}
	}
	f, err := os.Open(filepath.Join(dir, ".."))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := holder(f); got != "" {
		t.Errorf("holder of what nobody has locked: %q", got)
	}
}
