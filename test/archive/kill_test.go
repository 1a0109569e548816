//go:build linux

package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// TestKill ends extractions with SIGKILL and wants one of two things: all of the new content without the hidden folder, or the
// hidden folder. Then it drops what was left, and wants what was there before; or it unpacks another archive, and wants that
// alone.
func TestKill(t *testing.T) {
	bin := proc.TestBinary(t)
	top := t.TempDir()
	target := filepath.Join(top, "target")
	one, other := numbered(t, filepath.Join(top, "one.tar"), 20, 10), numbered(t, filepath.Join(top, "other.tar"), 40, 1)
	command := func(args ...string) proc.Command {
		return proc.Command{Args: append([]string{bin, "import", "--content", "archive", "--progress", "none"}, args...)}
	}
	done := func(args ...string) time.Duration {
		t.Helper()
		r, err := proc.Run(t.Context(), command(args...))
		if err != nil || r.Exit != 0 {
			t.Fatal(args, err, r.Stderr)
		}
		return r.Wall
	}
	// What the second archive makes of the same names, and of those that the first one leaves alone.
	reset(t, target)
	done("--force", other, target)
	second := contents(t, target)
	reset(t, target)
	wall := done("--force", one, target)
	first := contents(t, target)
	reset(t, target)
	before := snapshot(t, target)
	killed, old, renewed, mixed := 0, 0, 0, 0
	const runs = 20
	for i := range runs {
		p, err := proc.Start(t.Context(), command("--force", one, target))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.Done():
		case <-time.After(wall * time.Duration(i+1) / runs):
		}
		if err := p.Signal(os.Kill); err != nil {
			t.Fatal(err)
		}
		r, err := p.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if !r.Signal && r.Exit != 0 {
			t.Fatalf("exit %d: %s", r.Exit, r.Stderr)
		}
		if r.Signal {
			killed++
		}
		_, err = os.Lstat(filepath.Join(target, ".cdictl-archive"))
		hidden := err == nil
		if hidden && i%2 == 1 {
			done("--force", other, target)
			if d := differ(second, contents(t, target)); d != "" {
				t.Fatalf("run %d: another archive behind a killed one: %s", i, d)
			}
			mixed++
			reset(t, target)
			before = snapshot(t, target)
			continue
		}
		if hidden {
			done("--discard", one, target)
		}
		if d := differ(first, contents(t, target)); d == "" {
			renewed++
			reset(t, target)
			before = snapshot(t, target)
			continue
		}
		if d := differ(before, snapshot(t, target)); d != "" {
			t.Fatalf("run %d: neither old nor new: %s", i, d)
		}
		old++
	}
	if killed < runs/4 {
		t.Errorf("only %d of %d runs were killed", killed, runs)
	}
	t.Logf("%d of %d runs were killed; %d left the old content, %d the new, %d were followed by another archive", killed, runs, old, renewed, mixed)
}

// numbered makes an archive of folders with files in them, and returns its path.
func numbered(t *testing.T, path string, folders, files int) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range folders * files {
		content := strings.Repeat(fmt.Sprint(i), 100)
		h := &tar.Header{Name: fmt.Sprintf("d%d/f%d", i/files, i%files), Mode: 0o644, Size: int64(len(content))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// contents are the files in dir by path.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			all[path] = "a folder"
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// reset makes target anew, with something that archives replace and something that they do not.
func reset(t *testing.T, target string) {
	t.Helper()
	err := os.RemoveAll(target)
	for _, name := range []string{"d10/old", "kept/old"} {
		path := filepath.Join(target, name)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("old"), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}
