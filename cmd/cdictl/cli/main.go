package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
)

// patience is how long a cancelled command may take to put things away. The promise is two seconds.
const patience = 1800 * time.Millisecond

// Main runs the command line of the process and returns its exit code.
func Main(b Build) int {
	a := &app{build: b, in: os.Stdin, out: os.Stdout, talk: os.Stderr, memory: govern(), defaultConfigDir: configDir}
	defer a.memory.stop()
	return a.main(os.Args[1:])
}

func (a *app) main(args []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer a.watchSignals(cancel)()
	// A reader that goes away (| head) shall be an error of the write, not the death of the process: the spool is
	// put away then.
	signal.Ignore(syscall.SIGPIPE)

	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	var left detached
	if err != nil && ctx.Err() != nil && !errors.As(err, &left) {
		// Whatever else broke, broke because of it.
		if in := (*importer.Interrupted)(nil); errors.As(err, &in) {
			err = errdef.WithHint(context.Canceled, goOn)
		} else {
			err = context.Canceled
		}
	}
	a.report(err)
	return errdef.ExitCode(err)
}

// watchSignals cancels on the first signal that asks to end, and exits on the second, or when putting things away
// takes too long. The result ends the watch; a signal after that does nothing: what there was to do is done, and the exit
// status has to say so.
func (a *app) watchSignals(cancel func()) (stop func()) {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signals = append(signals, syscall.SIGHUP)
	}
	c := make(chan os.Signal, 2)
	signal.Notify(c, signals...)
	done := make(chan struct{})
	go func() {
		select {
		case <-c:
		case <-done:
			return
		}
		cancel()
		select {
		case <-c:
		case <-time.After(patience):
		case <-done:
			return
		}
		if a.logs() {
			a.logged(slog.LevelWarn, "failed", "error", "canceled", "exit", errdef.ExitCode(context.Canceled))
		} else {
			a.say(canceled) // without the hint: what is left behind is not known
		}
		os.Exit(errdef.ExitCode(context.Canceled))
	}()
	return func() { close(done) } // without signal.Stop, which would let a late signal kill the process
}

// report says on stderr what went wrong, in one line, and in a second one what to do.
func (a *app) report(err error) {
	var left detached
	switch {
	case err == nil:
		return
	case a.logs():
		a.logEnd(err)
		return
	case errors.Is(err, context.Canceled) && !errors.As(err, &left):
		a.say(canceled)
	default:
		a.say("cdictl: " + clean(err.Error()))
	}
	if h := errdef.Hint(err); h != "" {
		a.say("hint: " + clean(h))
	}
}

// canceled is all that there is to say of it, whatever broke on the way.
const canceled = "cdictl: canceled"

// say writes a line to stderr; if nobody listens there is nobody to tell.
func (a *app) say(line string) { _, _ = fmt.Fprintln(a.talk, line) }

// clean makes a text that may come from a server or an image fit for one line of a terminal.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}
