//go:build linux

package archive

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// TestDurable wants everything flushed before anything becomes visible, the names before the list of them goes, and no more
// than that: of few members each by itself, for the filesystem may be somebody else's too, of many all at once, and once.
func TestDurable(t *testing.T) {
	t.Parallel()
	proc.Need(t, "strace")
	bin := proc.TestBinary(t)
	for name, c := range map[string]struct{ folders, files, syncfs int }{
		"few":               {3, 2, 0},
		"many files":        {2, 30, 1},
		"many folders":      {40, 1, 2}, // at the top, where they change once more when they are there
		"many files in one": {1, 100, 1},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			file, target, trace := numbered(t, filepath.Join(top, "a.tar"), c.folders, c.files), filepath.Join(top, "target"), filepath.Join(top, "trace")
			_, err := proc.Tool(t.Context(), "strace", "-f", "-y", "-qq", "-o", trace, "-e", "trace=fsync,fdatasync,syncfs,renameat,renameat2,unlinkat",
				bin, "import", "--content", "archive", "--progress", "none", file, target)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			renamed, removed, all := 0, false, 0
			early, late := map[string]bool{}, map[string]bool{}
			flushed := regexp.MustCompile(`(fsync|syncfs)\(\d+<([^>]*)>`)
			for line := range strings.Lines(string(b)) {
				switch m := flushed.FindStringSubmatch(line); {
				case strings.Contains(line, " resumed>"): // of a call that was counted when it began
				case strings.Contains(line, "rename"):
					renamed++
				case strings.Contains(line, `"list"`) && strings.Contains(line, "unlinkat"):
					removed = true
				case m == nil:
				case m[1] == "syncfs":
					all++
				case renamed == 0:
					early[m[2]] = true
				case !removed:
					late[m[2]] = true
				}
			}
			hidden := filepath.Join(target, ".cdictl-archive")
			want := map[string]bool{filepath.Join(hidden, "list"): true, hidden: true}
			if c.syncfs == 0 {
				want[filepath.Join(hidden, "tree")] = true
				for i := range c.folders {
					d := filepath.Join(hidden, "tree", fmt.Sprintf("d%d", i))
					want[d] = true
					for j := range c.files {
						want[filepath.Join(d, fmt.Sprintf("f%d", j))] = true
					}
				}
			}
			for path := range want {
				if !early[path] {
					t.Errorf("%s was not flushed before the first of %d entries appeared", path, renamed)
				}
			}
			if !late[target] || c.folders < 32 && !late[filepath.Join(target, "d0")] {
				t.Errorf("the names that appeared were not flushed before their list went: %v", late)
			}
			if all != c.syncfs || renamed != c.folders || !removed {
				t.Errorf("%d syncfs, %d renames, list removed: %v", all, renamed, removed)
			}
		})
	}
}
