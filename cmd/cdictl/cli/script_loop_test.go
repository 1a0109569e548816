//go:build unix

package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// loop VAR SIZE: a loop device of this size, full of zeros, in the variable. It takes root, and Linux.
func loop(ts *testscript.TestScript, _ bool, args []string) {
	skip := ts.Value(skipKey{}).(testscript.T).Skip
	if runtime.GOOS != "linux" {
		skip("block devices are written on Linux")
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CDICTL_REQUIRE_TOOLS") == "1" {
			ts.Fatalf("loop devices are root's")
		}
		skip("loop devices are root's")
	}
	need(ts, false, []string{"losetup", "truncate"})
	file := filepath.Join(ts.Getenv("WORK"), "loop-"+args[0])
	ts.Check(exec.Command("truncate", "--size", args[1], file).Run())
	out, err := exec.Command("losetup", "--find", "--show", file).Output()
	ts.Check(err)
	dev := strings.TrimSpace(string(out))
	ts.Defer(func() { _ = exec.Command("losetup", "--detach", dev).Run() })
	ts.Setenv(args[0], dev)
}
