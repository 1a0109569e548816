//go:build linux

package archive

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// most is how much of this machine's files becomes part of the tree.
const most = 6 << 20

// TestRootfs makes a tree of a system's files and of everything that is odd, packs it with GNU tar in each of its formats
// that keep enough, unpacks it with GNU tar and with cdictl, and wants the same of both.
func TestRootfs(t *testing.T) {
	proc.Need(t, "tar", "xz", "zstd", "bzip2", "gzip")
	if os.Geteuid() != 0 {
		proc.Lacking(t, "only root makes devices and gives files away")
	}
	bin := proc.TestBinary(t)
	top := t.TempDir()
	tree := filepath.Join(top, "tree")
	n := system(t, tree)
	odd(t, tree)
	for _, c := range []struct {
		name  string
		pack  []string // flags of tar
		plain bool     // no attributes, whole seconds
	}{
		{"pax", []string{"--format=posix", "--xattrs", "--xattrs-include=*", "-S", "--sparse-version=1.0"}, false},
		{"pax.xz", []string{"--format=posix", "--xattrs", "--xattrs-include=*", "-S", "--sparse-version=0.1", "-I", "xz -0"}, false},
		{"pax.zst", []string{"--format=posix", "--xattrs", "--xattrs-include=*", "-S", "--sparse-version=0.0", "--zstd"}, false},
		{"gnu.gz", []string{"--format=gnu", "-S", "-z"}, true},
		{"gnu.bz2", []string{"--format=gnu", "--bzip2"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			file, theirs, ours := filepath.Join(top, "tar"), filepath.Join(top, "theirs"), filepath.Join(top, "ours")
			if _, err := proc.Tool(t.Context(), append(append([]string{"tar", "-cf", file, "-C", tree, "--sort=name"}, c.pack...), ".")...); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(theirs, 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := proc.Tool(t.Context(), "tar", "-xpf", file, "-C", theirs, "--numeric-owner", "--xattrs", "--xattrs-include=*"); err != nil {
				t.Fatal(err)
			}
			skipped := dropDevices(t, theirs)
			start := time.Now()
			out, err := proc.Tool(t.Context(), bin, "import", "--content", "archive", "--skip-devices", "-o", "json", "--progress", "none", file, ours)
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(start)
			if !strings.Contains(out, fmt.Sprintf(`"skipped": %d`, skipped)) || !strings.Contains(out, `"attributesLost": 0`) || !strings.Contains(out, `"ownersLost": 0`) {
				t.Errorf("%d devices, and cdictl says %s", skipped, out)
			}
			a, b := snapshot(t, theirs), snapshot(t, ours)
			if d := differ(a, b); d != "" {
				t.Errorf("GNU tar's and ours differ:\n%s", d)
			}
			if len(a) < n {
				t.Errorf("only %d entries, want %d and more", len(a), n)
			}
			fi, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d entries, %d bytes of tar, equal; cdictl took %v", len(a), fi.Size(), took.Round(time.Millisecond))
			for _, p := range []string{theirs, ours, file} {
				if err := os.RemoveAll(p); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// system copies some of this machine's /usr and /etc, and returns how many entries these are.
func system(t *testing.T, tree string) (n int) {
	t.Helper()
	left := int64(most)
	for _, from := range []string{"/etc", "/usr/bin", "/usr/share/zoneinfo", "/usr/share/terminfo", "/usr/lib/x86_64-linux-gnu", "/usr/share/doc"} {
		to := filepath.Join(tree, from)
		err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return fs.SkipDir
			}
			fi, err := d.Info()
			if err != nil || n > 6000 {
				return fs.SkipAll
			}
			rel, _ := filepath.Rel(from, path)
			dst := filepath.Join(to, rel)
			switch {
			case d.IsDir():
				err = os.MkdirAll(dst, 0o755)
			case fi.Mode()&fs.ModeSymlink != 0:
				var l string
				if l, err = os.Readlink(path); err == nil {
					err = os.Symlink(l, dst)
				}
			case fi.Mode().IsRegular() && fi.Size() <= min(left, 2<<20):
				left -= fi.Size()
				var b []byte
				if b, err = os.ReadFile(path); err == nil {
					err = os.WriteFile(dst, b, 0o600)
				}
			default:
				return nil
			}
			if err != nil {
				return err
			}
			n++
			st := fi.Sys().(*syscall.Stat_t)
			if err := os.Lchown(dst, int(st.Uid), int(st.Gid)); err != nil {
				return err
			}
			if fi.Mode()&fs.ModeSymlink == 0 {
				if err := os.Chmod(dst, fi.Mode()); err != nil {
					return err
				}
			}
			return times(dst, fi.ModTime())
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func times(path string, at time.Time) error {
	ts := unix.NsecToTimespec(at.UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// odd adds what is rare: every kind of entry, bit, name, time, attribute and hole.
func odd(t *testing.T, tree string) {
	t.Helper()
	dir := filepath.Join(tree, "odd")
	at := func(name string) string { return filepath.Join(dir, name) }
	do := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	file := func(name, content string, mode os.FileMode) {
		t.Helper()
		do(os.WriteFile(at(name), []byte(content), 0o600), os.Lchown(at(name), 1234, 5_000_000), os.Chmod(at(name), mode))
	}
	do(os.Mkdir(dir, 0o755))
	file("setuid", "#!", 0o755|fs.ModeSetuid)
	file("setgid", "#!", 0o755|fs.ModeSetgid)
	file("nothing", "", 0)
	file("line\nend", "x", 0o644)
	file("not \xff UTF-8", "x", 0o644)
	file(" spaces = and % ", "x", 0o644)
	file(strings.Repeat("n", 255), "x", 0o644)
	file(`back\slash`, "x", 0o644)
	do(os.Link(at("setuid"), at("hard-1")), os.Link(at("setuid"), at("hard-2")))
	do(os.MkdirAll(at(strings.Repeat("folder-with-a-name/", 20)), 0o755))
	file(strings.Repeat("folder-with-a-name/", 20)+"end", "deep", 0o640)
	do(os.Mkdir(at("sticky"), 0o755), os.Chmod(at("sticky"), 0o777|fs.ModeSticky), os.Mkdir(at("closed"), 0o755))
	file("closed/inside", "x", 0o400)
	do(os.Chmod(at("closed"), 0), os.Mkdir(at("setgid-folder"), 0o755), os.Chmod(at("setgid-folder"), 0o775|fs.ModeSetgid))
	for name, to := range map[string]string{"away": "/nowhere/at/all", "above": "../../../..", "loop": "loop", "long": strings.Repeat("x/", 300), "bytes": "\xfe\xff"} {
		do(os.Symlink(to, at("link-"+name)), os.Lchown(at("link-"+name), 7, 8))
	}
	do(os.Link(at("link-away"), at("link-hard")))
	do(unix.Mkfifo(at("fifo"), 0o600), unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), unix.Mknod(at("disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(7, 200))))
	do(unix.Setxattr(at("setgid"), "user.text", []byte("zero \x00 and\nline = %25"), 0),
		unix.Setxattr(at("setgid"), "user.a=b%c", []byte("x"), 0),
		unix.Setxattr(at("setgid"), "user.empty", nil, 0),
		unix.Setxattr(at("nothing"), "trusted.secret", []byte(strings.Repeat("t", 1000)), 0),
		unix.Setxattr(at("sticky"), "user.folder", []byte("f"), 0),
		unix.Lsetxattr(at("link-loop"), "trusted.link", []byte("l"), 0))
	// cap_net_raw+ep, as ping has it
	do(unix.Setxattr(at("setuid"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	sparse(t, at("holes"), 30<<20, 0, 1<<20, 5<<20, 29<<20)
	sparse(t, at("only a hole"), 32<<20)
	many := make([]int64, 60)
	for i := range many {
		many[i] = int64(i) * 64 << 10
	}
	sparse(t, at("many holes"), 8<<20, many...)
	for i, name := range []string{"link-away", "nothing", "sticky", "line\nend", "holes", ""} {
		do(times(at(name), time.Unix([]int64{0, -86400, 2_000_000_000, 4_000_000_000, 1_700_000_000, 1_600_000_000}[i], 123_456_789)))
	}
}

// sparse makes a file of size bytes with some data at each of offs.
func sparse(t *testing.T, path string, size int64, offs ...int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, off := range offs {
		if _, err := f.WriteAt([]byte(strings.Repeat("data", 1024)), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

// dropDevices removes what cdictl is to leave out, without a trace in the folders' times.
func dropDevices(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&(fs.ModeDevice|fs.ModeNamedPipe) == 0 {
			return err
		}
		n++
		fi, err := os.Stat(filepath.Dir(path))
		if err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		return times(filepath.Dir(path), fi.ModTime())
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
