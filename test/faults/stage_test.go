//go:build linux

package faults

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// stage is where one case plays: a folder for the target, a folder for whatever a program takes for temporary, and
// the listing that both must have again at the end.
type stage struct {
	t        *testing.T
	in       *inputs
	out, tmp string
	target   string
	before   []string // what must be there when all is over; set by the first start, or by the case
	summary  string   // shown in the table instead of the exit code
}

func newStage(t *testing.T, in *inputs) *stage {
	s := &stage{t: t, in: in, out: t.TempDir(), tmp: t.TempDir()}
	s.target = filepath.Join(s.out, "disk.img")
	return s
}

// command is `cdictl import source target args…` in the stage's surroundings; quiet, so that retries are not told.
func (s *stage) command(source string, args ...string) proc.Command {
	if s.before == nil {
		s.before = s.listing()
	}
	return proc.Command{
		Args: append([]string{s.in.bin, "import", source, s.target, "--progress", "none", "--quiet"}, args...),
		Env:  []string{"TMPDIR=" + s.tmp, "HOME=" + s.tmp, "XDG_CONFIG_HOME=" + s.tmp, "XDG_CACHE_HOME=" + s.tmp},
	}
}

// importing runs command to its end.
func (s *stage) importing(source string, args ...string) proc.Result {
	return s.run(s.command(source, args...))
}

func (s *stage) run(c proc.Command) proc.Result {
	s.t.Helper()
	r, err := proc.Run(s.t.Context(), c)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *stage) start(ctx context.Context, c proc.Command) *proc.Process {
	s.t.Helper()
	p, err := proc.Start(ctx, c)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// listing tells every file of both folders with its size and, for files, its time: a file that was replaced by its
// equal shows too.
func (s *stage) listing() []string {
	s.t.Helper()
	list := []string{}
	for _, top := range []string{s.out, s.tmp} {
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err != nil || path == top {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			line := strings.TrimPrefix(path, top)
			if !d.IsDir() {
				line = fmt.Sprintf("%s (%d bytes, %s)", line, info.Size(), info.ModTime().Format("15:04:05.000000"))
			}
			list = append(list, line)
			return nil
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
	return list
}

// noLeftovers compares the folders with what was there before.
func (s *stage) noLeftovers() error {
	after := s.listing()
	if slices.Equal(s.before, after) {
		return nil
	}
	return fmt.Errorf("files left or changed: before %q, after %q", s.before, after)
}

// wholeTarget says whether the target is there, alone and right, and makes it what is expected from now on.
func (s *stage) wholeTarget(want string) error {
	if got := digest(s.t, s.target); got != want {
		return fmt.Errorf("target has digest %s, want %s", got, want)
	}
	after := s.listing()
	if len(after) != 1 {
		return fmt.Errorf("target is not alone: %q", after)
	}
	s.before = after
	return nil
}

// checkTalk holds stderr to one line of error and at most one hint, which must be there when it is due.
func checkTalk(stderr string, hintDue bool) error {
	var problems, hints, others []string
	for line := range strings.Lines(stderr) {
		switch line = strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, "cdictl: "):
			problems = append(problems, line)
		case strings.HasPrefix(line, "hint: "):
			hints = append(hints, line)
		default:
			others = append(others, line)
		}
	}
	switch {
	case len(problems) != 1:
		return fmt.Errorf("%d error lines, want 1: %q", len(problems), stderr)
	case len(others) > 0:
		return fmt.Errorf("lines on stderr beside the error: %q", others)
	case len(hints) > 1, hintDue && len(hints) == 0:
		return fmt.Errorf("%d hints, want 1: %q", len(hints), stderr)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
