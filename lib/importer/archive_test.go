package importer_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/limits"
	"github.com/cdictl/cdictl/lib/plan"
	"github.com/cdictl/cdictl/lib/sink/filesink"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/filesource"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// tarOf makes a tar of names and contents.
func tarOf(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for ; len(files) > 0; files = files[2:] {
		if err := w.WriteHeader(&tar.Header{Name: files[0], Mode: 0o644, Size: int64(len(files[1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// convertTo makes an image of raw by qemu-img, at dir/name.
func convertTo(t *testing.T, dir, name, format, options string) string {
	t.Helper()
	testimage.Require(t, "qemu-img")
	in, path := filepath.Join(t.TempDir(), "raw"), filepath.Join(dir, name)
	if err := os.WriteFile(in, padded(raw()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := testimage.Run(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", format, "-o", options, in, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestArchives(t *testing.T) {
	disk := string(read(t, convertTo(t, t.TempDir(), "disk.vmdk", "vmdk", "subformat=streamOptimized")))
	packed := string(gz(t, []byte(disk)))
	ovf := func(name, more string) string {
		return `<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References><File ovf:href="` + name + `" ovf:id="f" ` + more + `/></References>` +
			`<DiskSection><Disk ovf:diskId="d" ovf:fileRef="f"/></DiskSection></Envelope>`
	}
	mf := func(files ...string) (s string) {
		for ; len(files) > 0; files = files[2:] {
			s += fmt.Sprintf("SHA256(%s)= %s\n", files[0], strings.TrimPrefix(sum(t, []byte(files[1])).String(), "sha256:"))
		}
		return s
	}
	good := ovf("disk.vmdk", "")
	goodMF := mf("vm.ovf", good, "disk.vmdk", disk)
	for _, c := range []struct {
		name    string
		content []byte
		disk    string
		want    error
	}{
		{"ova", tarOf(t, "vm.ovf", good, "disk.vmdk", disk), "", nil},
		{"manifest before", tarOf(t, "vm.ovf", good, "vm.mf", goodMF, "disk.vmdk", disk), "", nil},
		{"manifest behind", tarOf(t, "vm.ovf", good, "disk.vmdk", disk, "vm.mf", goodMF), "", nil},
		{"gzip inside", tarOf(t, "vm.ovf", ovf("disk.vmdk.gz", `ovf:compression="gzip"`), "disk.vmdk.gz", packed), "", nil},
		{"gzip inside, manifest", tarOf(t, "vm.ovf", ovf("disk.vmdk.gz", ""), "disk.vmdk.gz", packed, "vm.mf", mf("vm.ovf", ovf("disk.vmdk.gz", ""), "disk.vmdk.gz", packed)), "", nil},
		{"tar of raw", tarOf(t, "disk.raw", string(raw())), "", nil},
		{"tar of two", tarOf(t, "readme", "hello", "disk.vmdk", disk), "", errdef.ErrUsage},
		{"tar of two, one chosen", tarOf(t, "readme", "hello", "disk.vmdk", disk), "disk.vmdk", nil},
		{"wrong manifest before", tarOf(t, "vm.ovf", good, "vm.mf", mf("vm.ovf", good, "disk.vmdk", "x"), "disk.vmdk", disk), "", errdef.ErrDigestMismatch},
		{"wrong manifest behind", tarOf(t, "vm.ovf", good, "disk.vmdk", disk, "vm.mf", mf("vm.ovf", good, "disk.vmdk", "x")), "", errdef.ErrDigestMismatch},
		{"tar in a tar", tarOf(t, "a.tar", string(tarOf(t, "disk.raw", string(raw())))), "", errdef.ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, src := range map[string]func() (source.Source, []byte){
				"file": func() (source.Source, []byte) { return onDisk(t, c.content), c.content },
				"ranges": func() (source.Source, []byte) {
					s, _ := onServer(t, c.content, testserver.Options{})
					return s, c.content
				},
				"plain": func() (source.Source, []byte) {
					s, _ := onServer(t, c.content, testserver.Options{NoRanges: true})
					return s, c.content
				},
				"pipe": func() (source.Source, []byte) {
					return filesource.FromReader("-", bytes.NewReader(c.content)), c.content
				},
				"gz": func() (source.Source, []byte) { z := gz(t, c.content); return onDisk(t, z), z },
			} {
				for _, checksum := range []bool{false, true} {
					s, stored := src()
					out := t.TempDir()
					r := importer.Request{Source: s, Target: filesink.New(filepath.Join(out, "disk"), filesink.Options{}), Spool: out}
					r.Disk = c.disk
					if checksum {
						r.Checksum = sum(t, stored)
					}
					res, err := importer.Import(t.Context(), r)
					if !errors.Is(err, c.want) {
						t.Errorf("%s, checksum %v: %v, want %v", name, checksum, err, c.want)
					}
					if err != nil || c.want != nil {
						onlyFiles(t, out)
						continue
					}
					onlyFiles(t, out, "disk")
					if got := read(t, filepath.Join(out, "disk")); !bytes.Equal(got, padded(raw())) {
						t.Errorf("%s, checksum %v: another disk, of %d bytes", name, checksum, len(got))
					}
					if checksum && res.Digest != r.Checksum.String() {
						t.Errorf("%s: digest %s", name, res.Digest)
					}
				}
			}
		})
	}
	// The routes: a window is read like any file.
	for name, want := range map[string]plan.Route{"ova": plan.Direct, "manifest behind": plan.Hashed} {
		content := tarOf(t, "vm.ovf", good, "disk.vmdk", disk)
		if name != "ova" {
			content = tarOf(t, "vm.ovf", good, "disk.vmdk", disk, "vm.mf", goodMF)
		}
		s, _ := onServer(t, content, testserver.Options{})
		x, err := importer.Explain(t.Context(), importer.Request{Source: s, Target: filesink.New(filepath.Join(t.TempDir(), "disk"), filesink.Options{})})
		if err != nil || x.Route != want || x.Format != "vmdk" {
			t.Errorf("%s: %+v, %v", name, x, err)
		}
	}
	info, err := importer.Probe(t.Context(), onDisk(t, tarOf(t, "vm.ovf", good, "disk.vmdk", disk)), importer.Options{})
	if err != nil || info.Format != "vmdk" || !strings.HasSuffix(info.Source, `("disk.vmdk")`) || info.StoredSize != int64(len(disk)) {
		t.Errorf("info %+v, %v", info, err)
	}
	// Who reads the disk in place has the manifest checked, too.
	for sumOf, want := range map[string]error{disk: nil, "x": errdef.ErrDigestMismatch} {
		content := tarOf(t, "vm.ovf", good, "vm.mf", mf("vm.ovf", good, "disk.vmdk", sumOf), "disk.vmdk", disk)
		d, err := importer.OpenDisk(t.Context(), onDisk(t, content), importer.DiskOptions{})
		if !errors.Is(err, want) {
			t.Errorf("open disk: %v, want %v", err, want)
		}
		if err == nil {
			d.Close()
		}
	}
	if _, err := importer.Probe(t.Context(), onDisk(t, raw()), importer.Options{Disk: "1"}); !errors.Is(err, errdef.ErrUsage) {
		t.Errorf("a disk of no archive: %v", err)
	}
}

// TestArchiveBombs has members, and whole archives, that become too long.
func TestArchiveBombs(t *testing.T) {
	if testing.Short() {
		t.Skip("90 MiB through one goroutine, six times")
	}
	data, zeros := gz(t, bytes.Repeat([]byte{0x55}, 90<<20)), gz(t, make([]byte, 20<<20))
	ovf := `<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References><File ovf:href="d.gz" ovf:id="f" ovf:compression="gzip"/></References>` +
		`<DiskSection><Disk ovf:diskId="d" ovf:fileRef="f"/></DiskSection></Envelope>`
	lim := limits.Limits{Expansion: 100, VirtualSize: 16 << 20}
	more := lim
	more.VirtualSize = 1 << 30
	for _, c := range []struct {
		name    string
		content []byte
		lim     limits.Limits
		says    string
	}{
		{"member of data", tarOf(t, "d.gz", string(data)), more, "that are not zero"},
		{"member of zeros", tarOf(t, "d.gz", string(zeros)), lim, "virtual size"},
		{"disk of data", tarOf(t, "vm.ovf", ovf, "d.gz", string(data)), more, "that are not zero"},
		{"disk of zeros", tarOf(t, "vm.ovf", ovf, "d.gz", string(zeros)), lim, "virtual size"},
		{"archive of data", gz(t, tarOf(t, "d", strings.Repeat("U", 90<<20))), more, "that are not zero"},
		{"archive of zeros", gz(t, tarOf(t, "d", string(make([]byte, 20<<20)))), lim, "virtual size"},
	} {
		for name, src := range map[string]source.Source{"file": onDisk(t, c.content), "pipe": filesource.FromReader("-", bytes.NewReader(c.content))} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				out := t.TempDir()
				r := importer.Request{Source: src, Target: filesink.New(filepath.Join(out, "disk"), filesink.Options{})}
				r.Limits = c.lim
				_, err := importer.Import(t.Context(), r)
				if !errors.Is(err, errdef.ErrLimit) || !strings.Contains(err.Error(), c.says) || errdef.Hint(err) == "" {
					t.Errorf("%v (hint %q), want that it says %q", err, errdef.Hint(err), c.says)
				}
				onlyFiles(t, out)
			})
		}
	}
}

// TestSeveralFiles imports disks that lie in several files.
func TestSeveralFiles(t *testing.T) {
	for _, subformat := range []string{"monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"} {
		dir := t.TempDir()
		path := convertTo(t, dir, "disk.vmdk", "vmdk", "subformat="+subformat)
		var mu sync.Mutex
		var asked []string
		server := testserver.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, _, ok := r.BasicAuth(); !ok || user != "me" {
				http.Error(w, "who?", http.StatusUnauthorized)
				return
			}
			mu.Lock()
			asked = append(asked, r.URL.Path)
			mu.Unlock()
			name := filepath.Join(dir, filepath.Base(r.URL.Path))
			if st, err := os.Stat(name); err == nil {
				w.Header().Set("ETag", fmt.Sprintf("\"%d\"", st.ModTime().UnixNano()))
			}
			http.ServeFile(w, r, name)
		}))
		remote, err := httpsource.New(server+"/a/b/disk.vmdk", httpsource.Options{Retries: 1, Username: "me", Password: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		for name, src := range map[string]source.Source{"file": filesource.New(path), "ranges": remote} {
			out := t.TempDir()
			r := importer.Request{Source: src, Target: filesink.New(filepath.Join(out, "disk"), filesink.Options{})}
			if _, err := importer.Import(t.Context(), r); err != nil {
				t.Errorf("%s, %s: %v", subformat, name, err)
				continue
			}
			if got := read(t, filepath.Join(out, "disk")); !bytes.Equal(got, padded(raw())) {
				t.Errorf("%s, %s: another disk, of %d bytes", subformat, name, len(got))
			}
			r.Checksum, r.Target = sum(t, read(t, path)), filesink.New(filepath.Join(out, "again"), filesink.Options{})
			if _, err := importer.Import(t.Context(), r); !errors.Is(err, errdef.ErrUsage) || errdef.Hint(err) == "" {
				t.Errorf("%s, %s, with a checksum: %v", subformat, name, err)
			}
			onlyFiles(t, out, "disk")
		}
		for _, p := range asked {
			if !strings.HasPrefix(p, "/a/b/disk") {
				t.Errorf("the server was asked for %s", p)
			}
		}
		// A stream has no files beside it.
		pipe := filesource.FromReader("-", bytes.NewReader(read(t, path)))
		_, err = importer.Import(t.Context(), importer.Request{Source: pipe, Target: filesink.New(filepath.Join(t.TempDir(), "disk"), filesink.Options{})})
		if !errors.Is(err, errdef.ErrUnsupported) || !strings.Contains(err.Error(), "other files") {
			t.Errorf("%s, pipe: %v", subformat, err)
		}
	}
}

// TestExtentRefused has descriptors that lead elsewhere, and files that change.
func TestExtentRefused(t *testing.T) {
	descriptor := func(line string) []byte {
		return []byte("# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n" + line + "\n")
	}
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file string
		want       error
	}{
		{"absolute", outside, errdef.ErrRefused}, {"above", "../secret", errdef.ErrRefused}, {"url", "http://127.0.0.1:1/x", errdef.ErrRefused},
		{"below", "sub/x", errdef.ErrRefused}, {"backslash", `..\x`, errdef.ErrRefused}, {"drive", "C:x", errdef.ErrRefused},
		{"link out", "link", errdef.ErrRefused}, {"folder", "sub", errdef.ErrRefused}, {"nothing", "nothing", errdef.ErrNotFound},
		{"short", "short", errdef.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, out := t.TempDir(), t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
				t.Skip(err)
			}
			for name, b := range map[string][]byte{"disk.vmdk": descriptor(`RW 8 FLAT "` + c.file + `" 0`), "short": make([]byte, 4095), "sub/x": make([]byte, 4096)} {
				if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := importer.Import(t.Context(), importer.Request{Source: filesource.New(filepath.Join(dir, "disk.vmdk")), Target: filesink.New(filepath.Join(out, "disk"), filesink.Options{})})
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			onlyFiles(t, out)
		})
	}
	t.Run("changed", func(t *testing.T) {
		dir, out := t.TempDir(), t.TempDir()
		extent := filepath.Join(dir, "x")
		for name, b := range map[string][]byte{"disk.vmdk": descriptor(`RW 8 FLAT "x" 0`), "x": make([]byte, 4096)} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r := importer.Request{Source: filesource.New(filepath.Join(dir, "disk.vmdk")), Target: filesink.New(filepath.Join(out, "disk"), filesink.Options{})}
		r.OnPlan = func(importer.Explanation) {
			if err := os.WriteFile(extent, bytes.Repeat([]byte{1}, 8192), 0o600); err != nil {
				t.Error(err)
			}
		}
		if _, err := importer.Import(t.Context(), r); !errors.Is(err, errdef.ErrChanged) {
			t.Error(err)
		}
		onlyFiles(t, out)
	})
}
