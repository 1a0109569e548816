package pvcsource

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/sourcetest"
)

// volume is a folder whose disk.img has content, with holes for its zero blocks.
func volume(t *testing.T, content []byte) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, Disk))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(content))); err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(content); off += 4096 {
		block := content[off:min(off+4096, len(content))]
		if len(bytes.Trim(block, "\x00")) == 0 {
			continue
		}
		if _, err := f.WriteAt(block, int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFolder(t *testing.T) {
	for name, end := range map[string]string{"plain": "", "slash": string(filepath.Separator)} {
		t.Run(name, func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Case{
				New:      func(t *testing.T, content []byte) source.Source { return New(volume(t, content) + end) },
				ReaderAt: true, Extents: true, Sizes: []int{0, 513, 1_000_000},
				Broken: func(t *testing.T) source.Source { return New(t.TempDir()) },
			})
		})
	}
}

func TestFile(t *testing.T) {
	sourcetest.Run(t, sourcetest.Case{
		New:      func(t *testing.T, content []byte) source.Source { return New(filepath.Join(volume(t, content), Disk)) },
		ReaderAt: true, Extents: true, Sizes: []int{1_000_000},
		Broken: func(t *testing.T) source.Source { return New(filepath.Join(t.TempDir(), "none")) },
	})
}

func TestRefused(t *testing.T) {
	outside := filepath.Join(volume(t, []byte("secret")), Disk)
	for _, tt := range []struct {
		name string
		make func(dir string) error
		want error
		exit int
		says string
	}{
		{"empty", func(string) error { return nil }, errdef.ErrNotFound, 10, "no disk.img"},
		{"link out", func(d string) error { return os.Symlink(outside, filepath.Join(d, Disk)) }, errdef.ErrRefused, 20, "symbolic link"},
		{"link up", func(d string) error {
			return os.Symlink("../"+filepath.Base(filepath.Dir(outside))+"/"+Disk, filepath.Join(d, Disk))
		}, errdef.ErrRefused, 20, ""},
		{"link to nothing", func(d string) error { return os.Symlink("none", filepath.Join(d, Disk)) }, errdef.ErrNotFound, 10, "no disk.img"},
		{"folder", func(d string) error { return os.Mkdir(filepath.Join(d, Disk), 0o700) }, errdef.ErrRefused, 20, "regular"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := tt.make(dir); err != nil {
				t.Skip(err) // Windows without the privilege for links
			}
			_, err := New(dir).Open(t.Context(), source.Env{})
			if !errors.Is(err, tt.want) || errdef.ExitCode(err) != tt.exit || !strings.Contains(err.Error(), tt.says) || errdef.Hint(err) == "" && tt.name != "folder" {
				t.Errorf("Open: %v (exit %d, hint %q)", err, errdef.ExitCode(err), errdef.Hint(err))
			}
			if _, err := New(dir).Stat(t.Context(), source.Env{}); !errors.Is(err, tt.want) {
				t.Errorf("Stat: %v", err)
			}
		})
	}
}

// A link that stays in the folder is one of its files.
func TestLinkInside(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "real"), []byte("disk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, Disk)); err != nil {
		t.Skip(err)
	}
	b, err := New(dir).Open(t.Context(), source.Env{OnNotice: func(text string) { t.Error(text) }})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got, err := io.ReadAll(b); err != nil || string(got) != "disk" {
		t.Errorf("%q, %v", got, err)
	}
	sib, err := New(dir).Sibling("real")
	if err != nil {
		t.Fatal(err)
	}
	c, err := sib.Open(t.Context(), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
}

func TestChange(t *testing.T) {
	dir := volume(t, sourcetest.Content(200_000))
	s := New(dir)
	b, err := s.Open(t.Context(), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := os.Truncate(filepath.Join(dir, Disk), 50_000); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, b); !errors.Is(err, errdef.ErrChanged) {
		t.Errorf("Read: %v", err)
	}
	now, err := s.Stat(t.Context(), source.Env{})
	if err != nil || now.Identity == b.Info().Identity {
		t.Errorf("identity is %q, %v", now.Identity, err)
	}
}
