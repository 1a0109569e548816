//go:build linux

// Package archive unpacks archives with the real binary: those that want to get out of their folder, and a system's files,
// which must become what GNU tar makes of them.
package archive

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// snapshot is everything that stat, readlink, getxattr and content tell of the tree at dir, by path. Of the top itself only
// what an entry that was made and dropped again leaves alone.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	first := map[uint64]string{} // the first path of an inode: names that are links to each other must be so in both
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		says := fmt.Sprintf("mode %o owner %d:%d links %d", st.Mode, st.Uid, st.Gid, st.Nlink)
		if rel != "." {
			says += fmt.Sprintf(" mtime %d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			if first[st.Ino] == "" {
				first[st.Ino] = rel
			}
			b, err := os.ReadFile(path)
			if err == nil && st.Blocks*512 < st.Size {
				// The blocks of its map are counted when it is on disk.
				if err = flush(path); err == nil {
					err = unix.Lstat(path, &st)
				}
			}
			if err != nil {
				return err
			}
			says += fmt.Sprintf(" same as %s size %d blocks %d sha256 %x", first[st.Ino], st.Size, st.Blocks, sha256.Sum256(b))
		case unix.S_IFLNK:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			says += " to " + to
		case unix.S_IFCHR, unix.S_IFBLK:
			says += fmt.Sprintf(" device %x", st.Rdev)
		}
		xs, err := xattrs(path)
		all[rel] = says + xs
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func xattrs(path string) (string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		return "", err
	}
	names := strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 })
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		n, err := unix.Lgetxattr(path, name, buf)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, " %s=%x", name, buf[:n])
	}
	return b.String(), nil
}

// differ says what is not equal; "" if nothing is.
func differ(a, b map[string]string) string {
	var out []string
	for path, says := range a {
		if b[path] != says {
			out = append(out, fmt.Sprintf("%q: %s / %s", path, says, b[path]))
		}
	}
	for path, says := range b {
		if _, ok := a[path]; !ok {
			out = append(out, fmt.Sprintf("%q: is new: %s", path, says))
		}
	}
	slices.Sort(out)
	if len(out) > 20 {
		out = append(out[:20], fmt.Sprintf("and %d more", len(out)-20))
	}
	return strings.Join(out, "\n")
}
