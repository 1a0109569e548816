//go:build linux

package sources

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
)

// TestClone imports a volume on a filesystem that shares storage: nothing is read, and what is written to one end later does
// not show at the other. Where storage cannot be shared, or must not be, it is a copy like any other.
func TestClone(t *testing.T) {
	proc.Need(t, "mkfs.btrfs", "losetup")
	if os.Getuid() != 0 {
		proc.Lacking(t, "a filesystem is mounted by root")
	}
	bin := proc.TestBinary(t)
	dir := t.TempDir()
	file, at := filepath.Join(dir, "btrfs"), filepath.Join(dir, "mounted")
	f, err := os.Create(file)
	must(t, err)
	must(t, f.Truncate(160<<20))
	must(t, f.Close())
	tool(t, "mkfs.btrfs", "-q", file)
	must(t, os.Mkdir(at, 0o700))
	tool(t, "mount", "-o", "loop", file, at)
	defer tool(t, "umount", at)
	volume := filepath.Join(at, "volume")
	must(t, os.Mkdir(volume, 0o700))
	image := filepath.Join(volume, "disk.img")
	must(t, images.Raw(image, diskSize, diskData, 9))
	f, err = os.OpenFile(image, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = f.WriteString(strings.Repeat("a ragged end ", 100)) // no whole page, and no whole sector
	must(t, err)
	must(t, f.Close())
	stored, err := images.SHA256(image)
	must(t, err)
	// The disk is rounded up to whole sectors.
	padded := filepath.Join(dir, "padded")
	tool(t, "cp", image, padded)
	must(t, os.Truncate(padded, (size(image)+511)&^511))
	want, err := images.SHA256(padded)
	must(t, err)
	for _, tt := range []struct {
		name   string
		inside bool
		args   []string
		shared bool
	}{
		{"shared", true, nil, true},
		{"grown", true, []string{"--size", "64Mi"}, true},
		{"checksum", true, []string{"--checksum", "sha256:" + stored}, false},
		{"preallocated", true, []string{"--preallocate"}, false},
		{"another filesystem", false, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t, bin)
			if tt.inside {
				s.target = filepath.Join(at, strings.ReplaceAll(tt.name, " ", "-"))
			}
			r := s.run(s.command(volume, nil, tt.args...))
			grown := tt.name == "grown"
			if grown && r.Exit == 0 {
				must(t, os.Truncate(s.target, size(padded)))
			}
			a, err := s.whole(r, want)
			must(t, err)
			switch {
			case tt.shared && (a.BytesCloned < 3<<20 || a.BytesFetched > 256<<10 || a.BytesWritten > 256<<10):
				t.Errorf("%+v", a)
			case !tt.shared && (a.BytesCloned != 0 || a.BytesFetched < 3<<20):
				t.Errorf("%+v", a)
			}
			if !tt.shared {
				return
			}
			f, err := os.OpenFile(s.target, os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteAt([]byte("changed"), 0)
			must(t, err)
			must(t, f.Close())
			if got, err := images.SHA256(image); err != nil || got != stored {
				t.Errorf("a write to the target has changed the source: %v", err)
			}
			fmt.Printf("%s: %s cloned, %s fetched, %s written\n", tt.name, kib(a.BytesCloned), kib(a.BytesFetched), kib(a.BytesWritten))
		})
	}
}
