//go:build linux

package archive

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// changes are the system calls that change something that has a name; ? is for those that an old strace does not know.
const changes = "mkdirat,symlinkat,linkat,unlinkat,renameat,renameat2,mknodat,fchmodat,?fchmodat2,fchownat,utimensat,truncate,setxattr,lsetxattr," +
	"removexattr,lremovexattr,chdir,fchdir,chroot,mount,?open,?creat,?mkdir,?symlink,?link,?unlink,?rmdir,?rename,?mknod,?chmod,?chown,?lchown"

// traced is a command whose calls with names are written to file.
func traced(c proc.Command, file string) proc.Command {
	c.Args = append([]string{"strace", "-f", "-y", "-qq", "--seccomp-bpf", "-s", "9999", "-e", "trace=openat,openat2," + changes, "-o", file}, c.Args...)
	return c
}

var (
	callLine = regexp.MustCompile(`^(\w+)\((.*)\) += (.*)$`)
	folderIn = regexp.MustCompile(`(?:\d+|AT_FDCWD)<([^>]*)>`)
	quoted   = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
	writing  = regexp.MustCompile(`O_(WRONLY|RDWR|CREAT|TRUNC)`)
)

// strays are the calls in a trace that changed, or wanted to change, something that is not directly in an open folder at or
// beneath target, or that opened anything outside. Calls without success count too: nobody should have tried.
func strays(file, target, outside string) (all []string, calls int, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	begun := map[string]string{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		pid, line, _ := strings.Cut(lines.Text(), " ")
		line = strings.TrimSpace(line)
		if start, ok := strings.CutSuffix(line, " <unfinished ...>"); ok {
			begun[pid] = start
			continue
		}
		if _, rest, ok := strings.Cut(line, " resumed>"); ok && strings.HasPrefix(line, "<... ") {
			line = begun[pid] + rest
		}
		m := callLine.FindStringSubmatch(line)
		if m == nil {
			continue // a signal, an exit
		}
		calls++
		if !proper(m[1], m[2], m[3], target, outside) {
			all = append(all, line)
		}
	}
	return all, calls, lines.Err()
}

func proper(call, args, result, target, outside string) bool {
	inside := func(dir string) bool { return dir == target || strings.HasPrefix(dir, target+"/") }
	if strings.HasPrefix(call, "openat") && !writing.MatchString(args) {
		m := folderIn.FindStringSubmatch(result)
		return m == nil || m[1] != outside && !strings.HasPrefix(m[1], outside+"/")
	}
	if strings.Contains(args, `"/dev/null"`) {
		return true // of Go's runtime
	}
	names := quoted.FindAllStringSubmatch(args, -1)
	if call == "symlinkat" { // what a link says is not looked at
		names = names[1:]
	}
	single := func(m []string) bool { return !strings.Contains(m[1], "/") && m[1] != ".." }
	folder := func(m []string) bool { return inside(m[1]) }
	dirs := folderIn.FindAllStringSubmatch(args, -1)
	return len(dirs) > 0 && !slices.ContainsFunc(names, not(single)) && !slices.ContainsFunc(dirs, not(folder)) && !strings.Contains(args, "AT_FDCWD")
}

func not[T any](f func(T) bool) func(T) bool { return func(x T) bool { return !f(x) } }

// TestStrays: what reads traces finds what is wrong in them.
func TestStrays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace")
	for line, want := range map[string]bool{
		`1 mkdirat(7</t/target>, "x", 0700) = 0`:                                           true,
		`1 mkdirat(7</t/target/.cdictl-archive/tree>, "x", 0700) = -1 EEXIST`:              true,
		`1 mkdirat(7</t/targets>, "x", 0700) = 0`:                                          false,
		`1 mkdirat(7</t/target>, "x/y", 0700) = 0`:                                         false,
		`1 mkdirat(7</t/target>, "..", 0700) = -1 EEXIST (File exists)`:                    false,
		`1 mkdirat(AT_FDCWD</t/target>, "x", 0700) = 0`:                                    false,
		`1 symlinkat("../../outside", 7</t/target/a>, "x") = 0`:                            true,
		`1 symlinkat("a", 7</t>, "x") = 0`:                                                 false,
		`1 openat(7</t/target>, "x", O_RDONLY|O_NOFOLLOW) = 8</t/target/x>`:                true,
		`1 openat(7</t/target>, "x", O_RDONLY) = 8</t/outside/canary>`:                     false,
		`1 openat(7</t/target>, "x", O_WRONLY|O_CREAT|O_EXCL, 0600) = 8</t/target/x>`:      true,
		`1 openat(AT_FDCWD</>, "/t/outside/x", O_WRONLY|O_CREAT, 0600) = 8</t/outside/x>`:  false,
		`1 renameat2(7</t/target/a>, "x", 8</t/outside>, "x", RENAME_NOREPLACE) = 0`:       false,
		`1 unlink("/t/outside/canary") = 0`:                                                false,
		"1 mkdirat(7</t>, \"x\" <unfinished ...>\n1 <... mkdirat resumed>, 0700) = 0":      false,
		"1 mkdirat(7</t/target>, \"x\" <unfinished ...>\n1 <... mkdirat resumed>, 07) = 0": true,
	} {
		if err := os.WriteFile(file, []byte(line+"\n1 +++ exited with 0 +++\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		bad, calls, err := strays(file, "/t/target", "/t/outside")
		if err != nil || calls != 1 || (len(bad) == 0) != want {
			t.Errorf("%s: %q, %d calls, %v", line, bad, calls, err)
		}
	}
}

// noStrays wants that a traced run kept to the target.
func noStrays(file, target, outside string) error {
	bad, calls, err := strays(file, target, outside)
	switch {
	case err != nil:
		return err
	case calls == 0:
		return errors.New("the trace is empty")
	case len(bad) > 0:
		return fmt.Errorf("%d calls, first %s", len(bad), bad[0])
	}
	return nil
}
