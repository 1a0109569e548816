//go:build linux

package proc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Usage is what a process and the children it waited for took.
type Usage struct {
	Exit     int
	Wall     time.Duration
	CPU      time.Duration // user and system
	PeakRSS  int64         // bytes, of the largest process: VmHWM as wait4 tells it
	Messages string        // stdout and stderr, the first 64 KiB
}

const trampoline = "CDICTL_TEST_MEASURE"

// The kernel starts a child's peak at its parent's, because until exec they share memory (exec folds the old peak into
// the account). So a small copy of this very program, which has done nothing yet, is the parent of what is measured:
// the floor is that copy's own 10 MB or less, not what a test has grown to.
func init() {
	if os.Getenv(trampoline) == "" {
		return
	}
	if err := os.Unsetenv(trampoline); err != nil {
		panic(err)
	}
	if err := json.NewEncoder(os.NewFile(3, "usage")).Encode(account(os.Args[1:])); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

func account(args []string) Usage {
	cmd := exec.Command(args[0], args[1:]...)
	var out capped
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	u := Usage{Wall: time.Since(start)}
	u.Messages = string(out)
	if cmd.ProcessState == nil {
		return Usage{Exit: 127, Messages: err.Error()}
	}
	u.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.PeakRSS = ru.Maxrss << 10 // Linux counts KiB
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		u.Exit = 128 + int(ws.Signal())
	} else {
		u.Exit = cmd.ProcessState.ExitCode()
	}
	return u
}

// capped keeps the first 64 KiB written to it.
type capped []byte

func (c *capped) Write(p []byte) (int, error) {
	*c = append(*c, p[:min(len(p), 64<<10-len(*c))]...)
	return len(p), nil
}

// Measure runs args to the end and accounts for them. A non-zero exit is an error that says what was printed.
func Measure(ctx context.Context, args ...string) (Usage, error) {
	self, err := os.Executable()
	if err != nil {
		return Usage{}, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return Usage{}, err
	}
	defer r.Close()
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(cleanEnv(), trampoline+"=1")
	cmd.ExtraFiles = []*os.File{w}
	// The measured process belongs to the copy's group, so that ctx ends both.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Start()
	w.Close()
	if err != nil {
		return Usage{}, err
	}
	var u Usage
	decodeErr := json.NewDecoder(r).Decode(&u)
	if err := errors.Join(decodeErr, cmd.Wait()); err != nil {
		return u, fmt.Errorf("measure %s: %w", args[0], err)
	}
	if u.Exit != 0 {
		return u, fmt.Errorf("%s: exit %d: %s", strings.Join(args, " "), u.Exit, strings.TrimSpace(u.Messages))
	}
	return u, nil
}
