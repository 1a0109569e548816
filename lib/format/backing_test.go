package format

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/image"
)

// chainDir makes a folder with what the tests below build on: a raw file of 3,000,000 bytes, which is no whole sector.
func chainDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "base.raw"), random(3_000_000))
	return dir
}

// overlay makes an image with a backing file and writes into it.
func overlay(t *testing.T, dir, name, back, format, size string, writes ...string) {
	t.Helper()
	args := []string{"create", "-q", "-f", "qcow2", "-b", back}
	if format != "" {
		args = append(args, "-F", format)
	}
	args = append(args, name)
	if size != "" {
		args = append(args, size)
	}
	run(t, dir, "qemu-img", args...)
	for _, w := range writes {
		run(t, dir, "qemu-io", "-c", w, name)
	}
}

func TestBackingIsQemus(t *testing.T) {
	need(t, "qemu-img", "qemu-io")
	tests := []struct {
		name  string
		build func(t *testing.T, dir string) // leaves top.qcow2
	}{
		{"raw base", func(t *testing.T, dir string) {
			overlay(t, dir, "top.qcow2", "base.raw", "raw", "", "write -P 7 100k 30k")
		}},
		{"longer than its base", func(t *testing.T, dir string) {
			overlay(t, dir, "top.qcow2", "base.raw", "raw", "8M", "write -P 7 2900k 300k")
		}},
		{"shorter than its base", func(t *testing.T, dir string) {
			overlay(t, dir, "top.qcow2", "base.raw", "raw", "1M", "write -P 7 1000k 24k")
		}},
		{"zeros over a base", func(t *testing.T, dir string) {
			overlay(t, dir, "top.qcow2", "base.raw", "raw", "", "write -z 64k 640k", "discard 1M 64k")
		}},
		{"three deep, mixed clusters", func(t *testing.T, dir string) {
			overlay(t, dir, "a.qcow2", "base.raw", "raw", "5M", "write -P 1 0 64k")
			run(t, dir, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "-b", "a.qcow2", "-F", "qcow2", "b.qcow2")
			run(t, dir, "qemu-io", "-c", "write -P 2 32k 1k", "-c", "write -P 3 4M 5k", "b.qcow2")
			overlay(t, dir, "top.qcow2", "b.qcow2", "qcow2", "6M", "write -P 4 5M 100k")
		}},
		{"compressed over compressed", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "base.raw", "a.qcow2")
			overlay(t, dir, "top.qcow2", "a.qcow2", "qcow2", "", "write -c -P 9 128k 64k")
		}},
		{"fixed vhd as base", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed", "base.raw", "base.vhd")
			overlay(t, dir, "top.qcow2", "base.vhd", "vpc", "", "write -P 7 100k 30k")
		}},
		{"dynamic vhd as base", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "convert", "-f", "raw", "-O", "vpc", "base.raw", "base.vhd")
			overlay(t, dir, "top.qcow2", "base.vhd", "vpc", "", "write -P 7 100k 30k")
		}},
		{"vdi as base", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "convert", "-f", "raw", "-O", "vdi", "base.raw", "base.vdi")
			overlay(t, dir, "top.qcow2", "base.vdi", "vdi", "", "write -P 7 100k 30k")
		}},
		{"vhdx as base, format told by magic", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "convert", "-f", "raw", "-O", "vhdx", "base.raw", "base.vhdx")
			rebase(t, dir, "top.qcow2", "base.vhdx", "")
		}},
		{"format told by magic", func(t *testing.T, dir string) {
			run(t, dir, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "base.raw", "a.qcow2")
			rebase(t, dir, "top.qcow2", "a.qcow2", "")
		}},
		{"in a folder below, by ..", func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
				t.Fatal(err)
			}
			overlay(t, filepath.Join(dir, "sub"), "a.qcow2", "../base.raw", "raw", "", "write -P 1 0 64k")
			overlay(t, dir, "top.qcow2", "sub/a.qcow2", "qcow2", "")
		}},
		{"absolute name inside", func(t *testing.T, dir string) {
			overlay(t, dir, "top.qcow2", filepath.Join(dir, "base.raw"), "raw", "")
		}},
		{"symlink inside", func(t *testing.T, dir string) {
			symlink(t, "base.raw", filepath.Join(dir, "link"))
			overlay(t, dir, "top.qcow2", "link", "raw", "")
		}},
		{"absolute symlink inside", func(t *testing.T, dir string) {
			symlink(t, filepath.Join(dir, "base.raw"), filepath.Join(dir, "link"))
			overlay(t, dir, "top.qcow2", "link", "raw", "")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := chainDir(t)
			tt.build(t, dir)
			path := filepath.Join(dir, "top.qcow2")
			if _, _, err := open(t, path, Options{}); !errors.Is(err, errdef.ErrUnsupported) || errdef.Hint(err) == "" {
				t.Errorf("without leave: %v, hint %q", err, errdef.Hint(err))
			}
			img, _, err := open(t, path, Options{AllowBacking: dir})
			if err != nil {
				t.Fatal(err)
			}
			sameAsQemu(t, img, path, "-f", "qcow2")
		})
	}
}

// A chain is an image like any other, but for runs: its bytes lie in several blobs.
func TestChainConformance(t *testing.T) {
	need(t, "qemu-img", "qemu-io")
	dir := chainDir(t)
	overlay(t, dir, "a.qcow2", "base.raw", "raw", "5M", "write -P 1 0 64k", "write -z 1M 128k")
	overlay(t, dir, "top.qcow2", "a.qcow2", "qcow2", "6M", "write -P 4 5M 100k", "write -c -P 5 2M 64k")
	run(t, dir, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", "top.qcow2", "want.raw")
	want, err := os.ReadFile(filepath.Join(dir, "want.raw"))
	if err != nil {
		t.Fatal(err)
	}
	top, err := os.Open(filepath.Join(dir, "top.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	size, f, err := detect(t, top)
	if err != nil {
		t.Fatal(err)
	}
	formattest.Run(t, formattest.Suite{
		Open: func() (image.Image, error) {
			return f.Open(t.Context(), top, size, Options{AllowBacking: dir, Dir: dir})
		},
		Want: bytes.NewReader(want), Size: int64(len(want)),
	})
}

func symlink(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Skip(err) // Windows without the privilege
	}
}

// rebase writes a name into a header without looking at it. qemu-img no longer leaves the format out, older ones did:
// then the header extension that names it is made one that nobody knows.
func rebase(t *testing.T, dir, name, back, format string) {
	t.Helper()
	named := format
	if named == "" {
		named = "raw"
	}
	run(t, dir, "qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", back, "-F", named, name, "4M")
	if format != "" {
		return
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("\xe2\x79\x2a\xca"))
	if at < 0 {
		t.Fatal("the header has no extension for the backing format")
	}
	copy(b[at:], "none")
	writeFile(t, filepath.Join(dir, name), b)
}

func TestBackingRefused(t *testing.T) {
	need(t, "qemu-img")
	outside := t.TempDir()
	writeFile(t, filepath.Join(outside, "secret"), random(4096))
	tests := []struct {
		name, back, format string
		prepare            func(t *testing.T, dir string)
		want               error
		exit               int
	}{
		{"nbd", "nbd://127.0.0.1:1/x", "raw", nil, errdef.ErrRefused, 20},
		{"nbd unix", "nbd:unix:/x", "raw", nil, errdef.ErrRefused, 20},
		{"http", "http://127.0.0.1:1/x", "raw", nil, errdef.ErrRefused, 20},
		{"json", `json:{"driver":"raw","file":{"driver":"file","filename":"base.raw"}}`, "", nil, errdef.ErrRefused, 20},
		{"file:", "file:base.raw", "raw", nil, errdef.ErrRefused, 20},
		{"colon", "a:b", "raw", func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "a:b"), random(512)) }, errdef.ErrRefused, 20},
		{"absolute outside", filepath.Join(outside, "secret"), "raw", nil, errdef.ErrRefused, 20},
		{"relative outside", strings.Repeat("../", 20) + outside + "/secret", "raw", nil, errdef.ErrRefused, 20},
		{"symlink outside", "link", "raw", func(t *testing.T, dir string) {
			symlink(t, filepath.Join(outside, "secret"), filepath.Join(dir, "link"))
		}, errdef.ErrRefused, 20},
		{"folder symlinked outside", "sub/secret", "raw", func(t *testing.T, dir string) {
			symlink(t, outside, filepath.Join(dir, "sub"))
		}, errdef.ErrRefused, 20},
		{".. behind a symlink", "sub/../base.raw", "raw", func(t *testing.T, dir string) {
			symlink(t, outside, filepath.Join(dir, "sub")) // the kernel's .. is that of outside
		}, nil, 10},
		{"folder", "sub", "raw", func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, errdef.ErrRefused, 20},
		{"fifo", "fifo", "raw", mkfifo, errdef.ErrRefused, 20},
		{"missing", "nothing", "raw", nil, os.ErrNotExist, 10},
		{"format not known", "base.raw", "host_device", nil, errdef.ErrUnsupported, 12},
		{"format not read", "base.qed", "qed", func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "base.qed"), []byte("QED\x00")) }, errdef.ErrUnsupported, 12},
		{"qcow2 by header, raw in truth", "base.raw", "qcow2", nil, errdef.ErrUnsupported, 12},
		{"no format, starts like qcow2", "half", "", func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, "half"), append([]byte("QFI\xfb\x00\x00\x00\x03"), make([]byte, 500)...))
		}, errdef.ErrCorrupt, 12},
		{"no format, qed", "base.qed", "", func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "base.qed"), []byte("QED\x00")) }, errdef.ErrUnsupported, 12},
		{"itself", "./top.qcow2", "qcow2", nil, errdef.ErrCorrupt, 12},
		{"loop of two", "other.qcow2", "qcow2", func(t *testing.T, dir string) { rebase(t, dir, "other.qcow2", "top.qcow2", "qcow2") }, errdef.ErrCorrupt, 12},
		{"loop through a hard link", "other.qcow2", "qcow2", func(t *testing.T, dir string) {
			rebase(t, dir, "other.qcow2", "hard.qcow2", "qcow2")
			if err := os.Link(filepath.Join(dir, "other.qcow2"), filepath.Join(dir, "hard.qcow2")); err != nil {
				t.Fatal(err)
			}
		}, errdef.ErrCorrupt, 12},
		{"chain too deep", "c0.qcow2", "qcow2", func(t *testing.T, dir string) {
			for i := range 64 {
				rebase(t, dir, fmt.Sprintf("c%d.qcow2", i), fmt.Sprintf("c%d.qcow2", i+1), "qcow2")
			}
			rebase(t, dir, "c64.qcow2", "base.raw", "raw")
		}, errdef.ErrCorrupt, 12},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := chainDir(t)
			if tt.prepare != nil {
				tt.prepare(t, dir)
			}
			rebase(t, dir, "top.qcow2", tt.back, tt.format)
			_, _, err := open(t, filepath.Join(dir, "top.qcow2"), Options{AllowBacking: dir})
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || errdef.ExitCode(err) != tt.exit {
				t.Errorf("error %v (exit %d), want %v (exit %d)", err, errdef.ExitCode(err), tt.want, tt.exit)
			}
		})
	}
}

func TestBackingOfNoLocalFile(t *testing.T) {
	need(t, "qemu-img")
	dir := chainDir(t)
	rebase(t, dir, "rel.qcow2", "base.raw", "raw")
	rebase(t, dir, "abs.qcow2", filepath.Join(dir, "base.raw"), "raw")
	f, err := ByName("qcow2")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"rel.qcow2": errdef.ErrRefused, "abs.qcow2": nil} {
		file, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		st, err := file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		img, err := f.Open(t.Context(), file, st.Size(), Options{AllowBacking: dir})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if err := img.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// Closing the top closes every file of the chain.
func TestCloseClosesTheChain(t *testing.T) {
	need(t, "qemu-img", "qemu-io")
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip(err)
	}
	dir := chainDir(t)
	overlay(t, dir, "a.qcow2", "base.raw", "raw", "")
	overlay(t, dir, "top.qcow2", "a.qcow2", "qcow2", "")
	rebase(t, dir, "bad.qcow2", "worse.qcow2", "qcow2")
	rebase(t, dir, "worse.qcow2", "nothing", "raw")
	openFiles := func() (n int) {
		l, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range l {
			if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, dir) {
				n++
			}
		}
		return n
	}
	for _, name := range []string{"top.qcow2", "bad.qcow2"} {
		file, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		st, err := file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		f, _ := ByName("qcow2")
		img, err := f.Open(t.Context(), file, st.Size(), Options{AllowBacking: dir, Dir: dir})
		if (err == nil) != (name == "top.qcow2") {
			t.Fatal(err)
		}
		if err == nil {
			if n := openFiles(); n != 3 {
				t.Errorf("%d files open, want 3", n)
			}
			if err := img.Close(); err != nil {
				t.Error(err)
			}
		}
		if n := openFiles(); n != 1 {
			t.Errorf("%s: %d files open, want only the caller's own", name, n)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}
}
