//go:build linux

package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// TestKill ends extractions with SIGKILL and wants one of two things: all of the new content without the hidden folder, or the
// hidden folder, which the next run drops.
func TestKill(t *testing.T) {
	bin := proc.TestBinary(t)
	top := t.TempDir()
	file, target := filepath.Join(top, "a.tar"), filepath.Join(top, "target")
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range 200 {
		content := strings.Repeat(fmt.Sprint(i), 100)
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%d/f", i), Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(target, "d100"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(target, "d100", "old"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{bin, "import", "--content", "archive", "--force", "--progress", "none", file, target}
	whole, err := proc.Run(t.Context(), proc.Command{Args: args})
	if err != nil || whole.Exit != 0 {
		t.Fatal(err, whole.Stderr)
	}
	if err := reset(target); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, target)
	killed, old, renewed := 0, 0, 0
	const runs = 20
	for i := range runs {
		p, err := proc.Start(t.Context(), proc.Command{Args: args})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.Done():
		case <-time.After(whole.Wall * time.Duration(i+1) / runs):
		}
		if err := p.Signal(os.Kill); err != nil {
			t.Fatal(err)
		}
		r, err := p.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if !r.Signal {
			if r.Exit != 0 {
				t.Fatalf("exit %d: %s", r.Exit, r.Stderr)
			}
		} else {
			killed++
		}
		if _, err := os.Lstat(filepath.Join(target, ".cdictl-archive")); err == nil {
			if _, err := proc.Tool(t.Context(), bin, "import", "--content", "archive", "--discard", file, target); err != nil {
				t.Fatal(err)
			}
		}
		now := snapshot(t, target)
		if _, err := os.Lstat(filepath.Join(target, "d0")); err == nil {
			if n := len(now); n != 401 {
				t.Fatalf("run %d: %d entries of 401", i, n)
			}
			renewed++
			// As it was before, for the next.
			if err := reset(target); err != nil {
				t.Fatal(err)
			}
			before = snapshot(t, target)
			continue
		}
		if d := differ(before, now); d != "" {
			t.Fatalf("run %d: neither old nor new: %s", i, d)
		}
		old++
	}
	if killed < runs/4 {
		t.Errorf("only %d of %d runs were killed", killed, runs)
	}
	t.Logf("%d of %d runs were killed; %d left the old content, %d the new", killed, runs, old, renewed)
}

func reset(target string) error {
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(target, "d100"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(target, "d100", "old"), []byte("old"), 0o600)
}
