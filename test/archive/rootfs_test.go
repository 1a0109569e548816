//go:build linux

package archive

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// pax are flags of tar for all that it can keep.
var pax = []string{"--format=posix", "--acls", "--xattrs", "--xattrs-include=*", "-S"}

// TestOdd makes a tree of everything that is odd, packs it with GNU tar in each of its formats, unpacks it with GNU tar
// and with cdictl, and wants the same of both.
func TestOdd(t *testing.T) {
	bin, top := rooted(t), t.TempDir()
	tree := filepath.Join(top, "tree")
	odd(t, tree)
	for _, c := range []struct {
		name string
		pack []string // flags of tar
	}{
		{"pax", append(pax, "--sparse-version=1.0")},
		{"pax.xz", append(pax, "--sparse-version=0.1", "-I", "xz -0")},
		{"pax.zst", append(pax, "--sparse-version=0.0", "--zstd")},
		{"gnu.gz", []string{"--format=gnu", "-S", "-z"}},
		{"gnu.bz2", []string{"--format=gnu", "--bzip2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(top, "tar")
			if _, err := proc.Tool(t.Context(), append(append([]string{"tar", "-cf", file, "-C", tree, "--sort=name"}, c.pack...), ".")...); err != nil {
				t.Fatal(err)
			}
			alike(t, bin, top, file, 45)
		})
	}
}

// TestRootfs does it with the files of a Debian system. CDICTL_ROOTFS is a tar to take instead of the one that is made.
func TestRootfs(t *testing.T) {
	bin, top := rooted(t), t.TempDir()
	file, least := os.Getenv("CDICTL_ROOTFS"), 1
	if file == "" {
		start := time.Now()
		tree := filepath.Join(top, "tree")
		debian(t, tree)
		file, least = filepath.Join(top, "tar"), 1500
		if _, err := proc.Tool(t.Context(), append([]string{"tar", "-cf", file, "-C", tree, "--sort=name", "."}, pax...)...); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(tree); err != nil {
			t.Fatal(err)
		}
		t.Logf("made in %.1f s", time.Since(start).Seconds())
	}
	alike(t, bin, top, file, least)
}

// rooted is the binary, for tests that only root can do.
func rooted(t *testing.T) string {
	t.Helper()
	proc.Need(t, "tar", "xz", "zstd", "bzip2", "gzip", "setfacl", "rsync", "dpkg-deb")
	if os.Geteuid() != 0 {
		proc.Lacking(t, "only root makes devices and gives files away")
	}
	return proc.TestBinary(t)
}

// alike unpacks a tar with GNU tar and with cdictl in folders of top, and compares them by rsync, and by what that does not
// look at: holes, and fractions of a second.
func alike(t *testing.T, bin, top, file string, least int) {
	t.Helper()
	theirs, ours := filepath.Join(top, "theirs"), filepath.Join(top, "ours")
	if err := os.Mkdir(theirs, 0o700); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := proc.Tool(t.Context(), "tar", "-xpf", file, "-C", theirs, "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*"); err != nil {
		t.Fatal(err)
	}
	tar := time.Since(start)
	skipped := dropDevices(t, theirs)
	start = time.Now()
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
	if len(a) < least {
		t.Errorf("only %d entries, want %d and more", len(a), least)
	}
	if d, err := proc.Tool(t.Context(), "rsync", "-naHAXc", "--delete", "--itemize-changes", theirs+"/", ours+"/"); err != nil || d != "" {
		t.Errorf("rsync: %v, and would change\n%.2000s", err, d)
	}
	fi, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d entries, %d bytes of tar, equal; tar took %.1f s, cdictl %.1f s", len(a), fi.Size(), tar.Seconds(), took.Seconds())
	for _, p := range []string{theirs, ours} {
		if err := os.RemoveAll(p); err != nil {
			t.Fatal(err)
		}
	}
}

// debs are packages that make up most of a small system.
var debs = []string{"base-files", "base-passwd", "dpkg", "findutils", "libc6", "libc-bin", "login", "mount", "ncurses-base",
	"passwd", "perl-base", "sysvinit-utils", "tzdata", "util-linux"}

// debian unpacks them, and adds what only their scripts would make. They are downloaded once into .cache.
func debian(t *testing.T, tree string) {
	t.Helper()
	root, err := proc.Root()
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(root, ".cache", "debs")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	var missing, files []string
	for _, d := range debs {
		if found, _ := filepath.Glob(filepath.Join(cache, d+"_*.deb")); len(found) == 0 {
			missing = append(missing, d)
		}
	}
	if len(missing) > 0 {
		r, err := proc.Run(t.Context(), proc.Command{Dir: cache, Args: append([]string{"apt-get", "-q", "-o", "APT::Sandbox::User=root", "download"}, missing...)})
		if err != nil || r.Exit != 0 {
			proc.Lacking(t, "Debian's packages cannot be had: "+r.Stderr)
		}
	}
	for _, d := range debs {
		found, _ := filepath.Glob(filepath.Join(cache, d+"_*.deb"))
		if len(found) != 1 {
			t.Fatalf("%s: %q", d, found)
		}
		files = append(files, found...)
	}
	for _, f := range files {
		if _, err := proc.Tool(t.Context(), "dpkg-deb", "-x", f, tree); err != nil {
			t.Fatal(err)
		}
	}
	dev := filepath.Join(tree, "dev")
	for name, number := range map[string]uint64{"null": unix.Mkdev(1, 3), "zero": unix.Mkdev(1, 5), "console": unix.Mkdev(5, 1)} {
		if err := unix.Mknod(filepath.Join(dev, name), unix.S_IFCHR|0o666, int(number)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := proc.Tool(t.Context(), "setfacl", "-m", "u:daemon:rx,g:5555:r", "-m", "d:g:adm:rx", filepath.Join(tree, "var", "log")); err != nil {
		t.Fatal(err)
	}
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
	do(os.MkdirAll(dir, 0o755))
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
	file("acl", "x", 0o640)
	for _, acl := range [][]string{{"-m", "u:daemon:rwx,u:4711:r,g:bin:x,m:rx", "acl"}, {"-m", "u:bin:rwx", "sticky"}, {"-m", "d:u:4711:rwx,d:g:adm:r,d:o:-", "setgid-folder"}, {"-m", "u:daemon:r,d:u:daemon:r", "closed"}} {
		_, err := proc.Tool(t.Context(), "setfacl", acl[0], acl[1], at(acl[2]))
		do(err)
	}
	// cap_net_raw+ep, as ping has it
	do(unix.Setxattr(at("setuid"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	sparse(t, at("holes"), 8<<20, 0, 1<<20, 5<<20, 7<<20)
	sparse(t, at("only a hole"), 9<<20)
	many := make([]int64, 60)
	for i := range many {
		many[i] = int64(i) * 64 << 10
	}
	sparse(t, at("many holes"), 6<<20, many...)
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
