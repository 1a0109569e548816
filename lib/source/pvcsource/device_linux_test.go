package pvcsource

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/sourcetest"
)

func tool(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// attach makes a loop device of a file.
func attach(t *testing.T, path string) string {
	t.Helper()
	lacking := t.Skip
	if os.Getenv("CDICTL_REQUIRE_TOOLS") == "1" {
		lacking = t.Fatal
	}
	if os.Getuid() != 0 {
		lacking("a loop device is root's")
	}
	out, err := exec.Command("losetup", "-f", "--show", path).Output()
	if err != nil {
		lacking("no loop devices: ", err)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() { tool(t, "losetup", "-d", dev) })
	return dev
}

func TestDevice(t *testing.T) {
	content := sourcetest.Content(1 << 20)
	dev := attach(t, filepath.Join(volume(t, content), Disk))
	sourcetest.Run(t, sourcetest.Case{
		New: func(t *testing.T, c []byte) source.Source {
			if len(c) != len(content) {
				return New(volume(t, c)) // the cancel checks bring their own sizes
			}
			return New(dev)
		},
		ReaderAt: true, Extents: true, Sizes: []int{1 << 20},
	})
}

// A device whose filesystem is mounted is read, and somebody is told if it can be written to.
func TestMounted(t *testing.T) {
	dir := volume(t, make([]byte, 8<<20))
	dev := attach(t, filepath.Join(dir, Disk))
	tool(t, "mkfs.ext4", "-q", "-F", dev)
	at := t.TempDir()
	for _, tt := range []struct{ options, want string }{{"rw", at}, {"ro", ""}} {
		t.Run(tt.options, func(t *testing.T) {
			tool(t, "mount", "-o", tt.options, dev, at)
			defer tool(t, "umount", at)
			said := ""
			b, err := New(dev).Open(t.Context(), source.Env{OnNotice: func(text string) { said += text }})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if !strings.Contains(said, tt.want) || tt.want == "" && said != "" {
				t.Errorf("%q, want it to tell of %q", said, tt.want)
			}
		})
	}
}
