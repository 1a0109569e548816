//go:build linux

package archive

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// A somebody is a user who is not root, and has a folder.
type somebody struct {
	id  uint32
	dir string
	bin string // a copy, which everybody may run
}

// newSomebody is another user if we are root, else we ourselves.
func newSomebody(t *testing.T) somebody {
	t.Helper()
	dir, err := os.MkdirTemp("", "somebody")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := somebody{id: uint32(os.Geteuid()), dir: dir, bin: proc.TestBinary(t)}
	if s.id != 0 {
		return s
	}
	s.id = 61234
	from, err := os.Open(s.bin)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	s.bin = filepath.Join(dir, "cdictl")
	to, err := os.OpenFile(s.bin, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(s.id), int(s.id)); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs a program as s, and returns its exit status and what it says on stderr.
func (s somebody) run(ctx context.Context, t *testing.T, args ...string) (int, string) {
	t.Helper()
	var says strings.Builder
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Dir, c.Env, c.Stderr = s.dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}, &says
	if os.Geteuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: s.id, Gid: s.id}}
	}
	err := c.Run()
	if c.ProcessState == nil {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), says.String()
}

func (s somebody) unpack(t *testing.T, exit int, args ...string) string {
	t.Helper()
	got, says := s.run(t.Context(), t, append([]string{s.bin, "import", "--content", "archive", "--progress", "none"}, args...)...)
	if got != exit {
		t.Fatalf("%v: exit %d, want %d: %s", args, got, exit, says)
	}
	return says
}

// TestUser unpacks and replaces what a user may not write, whose owner he may not set: as GNU tar does it for him.
func TestUser(t *testing.T) {
	proc.Need(t, "tar")
	s := newSomebody(t)
	tree, theirs, ours := filepath.Join(s.dir, "tree"), filepath.Join(s.dir, "theirs"), filepath.Join(s.dir, "ours")
	file := filepath.Join(s.dir, "a.tar")
	for _, d := range []string{"top/in/side", "shut", "other", "top/void"} {
		if err := os.MkdirAll(filepath.Join(tree, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"top/in/side/f": 0o444, "shut/f": 0, "other/f": 0o640, "f": 0o400} {
		p := filepath.Join(tree, name)
		if err := os.WriteFile(p, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"top/in/side", "top/in", "top/void", "top", "shut"} {
		mode := os.FileMode(0o555)
		if strings.HasSuffix(d, "void") {
			mode = 0
		}
		if err := os.Chmod(filepath.Join(tree, d), mode); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := proc.Tool(t.Context(), "tar", "-cf", file, "-C", tree, "--owner=12", "--group=34", "top", "shut", "other", "f"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if exit, says := s.run(t.Context(), t, "mkdir", theirs); exit != 0 {
		t.Fatal(says)
	}
	if exit, says := s.run(t.Context(), t, "tar", "-xpf", file, "-C", theirs); exit != 0 {
		t.Fatal(says)
	}
	same := func() {
		t.Helper()
		if d := differ(snapshot(t, theirs), snapshot(t, ours)); d != "" {
			t.Fatalf("GNU tar's and ours differ:\n%s", d)
		}
	}
	if says := s.unpack(t, 0, file, ours); !strings.Contains(says, "the owner of 10 members") {
		t.Errorf("it does not say that owners were not kept: %s", says)
	}
	same()
	s.unpack(t, 19, file, ours)
	same()
	s.unpack(t, 0, "--force", file, ours)
	same()
	if os.Geteuid() != 0 {
		return
	}
	// Of four that are to be replaced the user may not move one: all come back as they were, those that were writable for a
	// moment too.
	other := filepath.Join(ours, "other")
	if err := os.Chown(other, 0, 0); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, ours)
	if says := s.unpack(t, 1, "--force", file, ours); !strings.Contains(says, `"other" cannot be replaced: permission denied`) {
		t.Errorf("it says %s", says)
	}
	if d := differ(before, snapshot(t, ours)); d != "" {
		t.Errorf("a replacement that failed has changed something:\n%s", d)
	}
}
