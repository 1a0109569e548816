package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Command is a process to be.
type Command struct {
	Args  []string // Args[0] is the program
	Env   []string // added to the environment, which loses its CDICTL_* and proxy settings
	Dir   string
	Stdin io.Reader
	// Stdout gets the output instead of Result.Stdout.
	Stdout io.Writer
}

// Result is how a process ended.
type Result struct {
	Exit   int // as a shell tells it: 128+n for a signal
	Signal bool
	Stdout string
	Stderr string
	Wall   time.Duration
}

// Process is a running Command.
type Process struct {
	cmd         *exec.Cmd
	out, errout bytes.Buffer
	start       time.Time
	done        chan struct{}
	result      Result
	err         error
}

// Start starts c; ctx kills it.
func Start(ctx context.Context, c Command) (*Process, error) {
	p := &Process{cmd: exec.CommandContext(ctx, c.Args[0], c.Args[1:]...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdin, p.cmd.Env = c.Dir, c.Stdin, append(cleanEnv(), c.Env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.errout
	if c.Stdout != nil {
		p.cmd.Stdout = c.Stdout
	}
	p.start = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
		p.result = Result{Stdout: p.out.String(), Stderr: p.errout.String(), Wall: time.Since(p.start)}
		if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
			p.result.Exit = ws.ExitStatus()
			if ws.Signaled() {
				p.result.Exit, p.result.Signal = 128+int(ws.Signal()), true
			}
		}
	}()
	return p, nil
}

// Signal sends sig; a process that has ended already is no error.
func (p *Process) Signal(sig os.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end. The error is about running the process, not about its exit status.
func (p *Process) Wait() (Result, error) {
	<-p.done
	if exit := (*exec.ExitError)(nil); p.err != nil && !errors.As(p.err, &exit) {
		return p.result, p.err
	}
	return p.result, nil
}

// Run runs c to its end.
func Run(ctx context.Context, c Command) (Result, error) {
	p, err := Start(ctx, c)
	if err != nil {
		return Result{}, err
	}
	return p.Wait()
}

// Tool runs a tool that has to succeed, and returns its output.
func Tool(ctx context.Context, args ...string) (string, error) {
	r, err := Run(ctx, Command{Args: args})
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("%s: exit %d: %s", strings.Join(args, " "), r.Exit, strings.TrimSpace(r.Stderr))
	}
	return r.Stdout, err
}

// cleanEnv is the environment without what would change what cdictl does.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch up := strings.ToUpper(name); {
		case strings.HasPrefix(up, "CDICTL_"), up == "HTTP_PROXY", up == "HTTPS_PROXY", up == "ALL_PROXY":
		default:
			env = append(env, kv)
		}
	}
	return env
}
