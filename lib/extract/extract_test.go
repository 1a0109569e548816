package extract

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

// three is an archive with three entries at the top.
func three() []byte {
	return testimage.Tar{}.Folder("a/").File("a/x", "new a").File("b", "new b").Folder("c").Folder("c/d").File("c/d/x", "new c").End()
}

// tree is what a folder holds: paths of folders end in a slash, files have their content behind a colon.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		rel = filepath.ToSlash(rel)
		switch {
		case d.IsDir():
			rel += "/"
		case d.Type().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel += ":" + string(b)
		}
		all = append(all, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var newTree = []string{"a/", "a/x:new a", "b:new b", "c/", "c/d/", "c/d/x:new c"}

func unpack(ctx context.Context, dir string, b []byte, o Options) (Stats, error) {
	x, err := Open(dir, o)
	if err != nil {
		return Stats{}, err
	}
	err = x.Unpack(ctx, bytes.NewReader(b))
	if err == nil {
		err = x.Commit(ctx)
	}
	return x.Stats(), errors.Join(err, x.Close())
}

func want(t *testing.T, dir string, want []string) {
	t.Helper()
	if got := tree(t, dir); !slices.Equal(got, want) {
		t.Errorf("the folder has %q, want %q", got, want)
	}
}

func TestExtract(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	st, err := unpack(t.Context(), dir, three(), Options{})
	if err != nil || st.Files != 3 || st.Folders != 3 || st.Bytes != 15 {
		t.Errorf("%+v, %v", st, err)
	}
	want(t, dir, newTree)
	if _, err := unpack(t.Context(), dir, three(), Options{}); !errors.Is(err, errdef.ErrExists) {
		t.Errorf("a second time: %v", err)
	}
	want(t, dir, newTree)
}

func TestForceReplacesWhole(t *testing.T) {
	dir := old(t)
	if _, err := unpack(t.Context(), dir, three(), Options{Force: true}); err != nil {
		t.Fatal(err)
	}
	want(t, dir, append(slices.Clone(newTree), "z:old z"))
}

var oldTree = []string{"a/", "a/old:old a", "b/", "b/old:old b", "z:old z"}

// old is a folder that holds oldTree.
func old(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range []string{"a", "b"} {
		if err := errors.Join(os.Mkdir(filepath.Join(dir, n), 0o755), os.WriteFile(filepath.Join(dir, n, "old"), []byte("old "+n), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "z"), []byte("old z"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestKilled ends a run after each of its steps without a chance to tidy up. Whoever comes next finds what there was before,
// also where he is ended in the middle of taking it back.
func TestKilled(t *testing.T) {
	for steps := range 9 {
		dir := old(t)
		x, err := Open(dir, Options{Force: true})
		if err == nil {
			err = x.Unpack(t.Context(), bytes.NewReader(three()))
		}
		if err == nil {
			err = x.finishFolders()
		}
		if err == nil && steps > 0 {
			err = x.state.writeList()
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range []string{"a", "b", "c"} {
			if steps > i+1 {
				if err := x.state.move(entry{name: name}, true); err != nil {
					t.Fatal(err)
				}
			}
		}
		if steps > 4 { // the next one is killed, too: back in the tree, and not yet what it replaced
			if err := x.state.root.Rename("a", treeName+"/a"); err != nil {
				t.Fatal(err)
			}
		}
		if steps > 5 {
			if err := x.state.root.Rename(oldName+"/a", "a"); err != nil {
				t.Fatal(err)
			}
		}
		if steps > 6 { // somebody has made room for his own
			if err := errors.Join(os.Remove(filepath.Join(dir, "z")), os.WriteFile(filepath.Join(dir, "z"), []byte("old z"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		x.leaveAll()
		x.tree.Close()
		x.state.close()
		if steps > 7 {
			st, err := unpack(t.Context(), dir, three(), Options{Force: true})
			if err != nil || st.Files != 3 {
				t.Errorf("the next run: %+v, %v", st, err)
			}
			want(t, dir, append(slices.Clone(newTree), "z:old z"))
			continue
		}
		if found, err := Discard(dir); err != nil || !found {
			t.Errorf("after %d steps: %v, %v", steps, found, err)
		}
		want(t, dir, oldTree)
		if found, err := Discard(dir); err != nil || found {
			t.Errorf("a second time: %v, %v", found, err)
		}
	}
}

// TestKilledThenChanged: what somebody puts in the place of an entry of a killed run is his.
func TestKilledThenChanged(t *testing.T) {
	dir := t.TempDir()
	x, err := Open(dir, Options{})
	if err == nil {
		err = x.Unpack(t.Context(), bytes.NewReader(three()))
	}
	if err == nil {
		err = errors.Join(x.state.writeList(), x.state.move(entry{name: "b"}, false))
	}
	if err != nil {
		t.Fatal(err)
	}
	x.leaveAll()
	x.tree.Close()
	x.state.close()
	b := filepath.Join(dir, "b")
	mine := filepath.Join(dir, "mine") // made while b is there, so that it has another inode
	if err := errors.Join(os.WriteFile(mine, []byte("mine"), 0o600), os.Remove(b), os.Rename(mine, b)); err != nil {
		t.Fatal(err)
	}
	if _, err := Discard(dir); err != nil {
		t.Error(err)
	}
	want(t, dir, []string{"b:mine"})
}

func TestBusy(t *testing.T) {
	dir := t.TempDir()
	x, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, errdef.ErrBusy) {
		t.Errorf("a second one: %v", err)
	}
	if _, err := Discard(dir); !errors.Is(err, errdef.ErrBusy) {
		t.Errorf("discard: %v", err)
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	want(t, dir, nil)
}

// TestEnded: whatever ends it before Commit is done, nothing is left.
func TestEnded(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, end := range map[string]func(x *Extraction) error{
		"close":              func(*Extraction) error { return nil },
		"canceled unpacking": func(x *Extraction) error { return x.Unpack(canceled, bytes.NewReader(three())) },
		"canceled in commit": func(x *Extraction) error {
			return errors.Join(x.Unpack(t.Context(), bytes.NewReader(three())), x.Commit(canceled))
		},
		"broken": func(x *Extraction) error {
			return x.Unpack(t.Context(), io.MultiReader(bytes.NewReader(three()[:1000]), strings.NewReader("x")))
		},
		"taken meanwhile": func(x *Extraction) error {
			return errors.Join(x.Unpack(t.Context(), bytes.NewReader(three())), os.WriteFile(filepath.Join(x.path, "c"), []byte("mine"), 0o600), x.Commit(t.Context()))
		},
	} {
		top := t.TempDir()
		dir := filepath.Join(top, "new")
		x, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := end(x); (err == nil) != (name == "close") {
			t.Errorf("%s: %v", name, err)
		}
		if err := x.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "taken meanwhile" {
			want(t, top, []string{"new/", "new/c:mine"})
			continue
		}
		want(t, top, nil)
	}
}

func TestHostiles(t *testing.T) {
	top := t.TempDir()
	outside := filepath.Join(top, "outside")
	if err := errors.Join(os.Mkdir(outside, 0o755), os.WriteFile(filepath.Join(outside, "canary"), []byte("alive"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, h := range testimage.ArchiveHostiles(outside) {
		o := Options{SkipDevices: slices.Contains(h.Args, "--skip-devices")}
		if !o.SkipDevices && len(h.Args) > 0 {
			o.Limits = limits.Limits{Entries: 10, VirtualSize: 4 << 10, Metadata: 64 << 10}
		}
		dir := filepath.Join(top, "dir")
		_, err := unpack(t.Context(), dir, h.Tar, o)
		if errdef.ExitCode(err) != h.Exit {
			// Detect, which the importer asks first, says so of what is no tar at all.
			if d := Detect(h.Tar[:min(len(h.Tar), 512)]); d == nil || errdef.ExitCode(d) != h.Exit {
				t.Errorf("%s: %v, want exit %d", h.Name, err, h.Exit)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		want(t, top, []string{"outside/", "outside/canary:alive"})
	}
}

// FuzzReader reads what may be a tar. What it takes, archive/tar takes too, and sees the same files in it.
func FuzzReader(f *testing.F) {
	f.Add(three())
	for _, h := range testimage.ArchiveHostiles("/outside") {
		if len(h.Tar) < 64<<10 {
			f.Add(h.Tar)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newReader(bytes.NewReader(b), limits.Limits{Metadata: 1 << 20}.WithDefaults())
		std := tar.NewReader(bytes.NewReader(b))
		for {
			h, err := r.next()
			if err != nil {
				return
			}
			at := int64(0)
			for _, p := range h.pieces {
				if p.off < at || p.n <= 0 || p.off+p.n > h.size {
					t.Fatalf("piece %+v in %d bytes", p, h.size)
				}
				at = p.off + p.n
			}
			content, err := io.ReadAll(r)
			if err != nil {
				return
			}
			if int64(len(content)) != h.stored {
				t.Fatalf("%d bytes of %d", len(content), h.stored)
			}
			if std == nil || h.kind != kindFile || h.holes || len(r.global) > 0 {
				std = nil // what it would see from here on may be something else for good reasons
				continue
			}
			want, err := std.Next()
			if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
				std = nil // it has bounds of its own, and reads numbers in fewer ways
				continue
			}
			theirs, err := io.ReadAll(std)
			if err == nil && (want.Name != h.name || !bytes.Equal(theirs, content)) {
				t.Fatalf("%q (%d bytes), archive/tar has %q (%d bytes)", h.name, len(content), want.Name, len(theirs))
			}
		}
	})
}
