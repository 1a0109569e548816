// Package worker is what runs in a worker pod: it reads a job, does it, tells how far it is, and leaves the end in the
// termination message. It has no API token and asks nobody anything but the source.
//
// The process ends with 0 when the job succeeded and when it failed for good, so that the kubelet does not start it again,
// and with 1 when another try may help.
package worker

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/job"
	"github.com/cdictl/cdictl/lib/job/runner"
	"github.com/cdictl/cdictl/lib/limits"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/source"
)

const (
	// patience is how long putting things away may take once the pod is told to end; then it goes as it is, and the next
	// worker goes on or puts away. A pod has 30 seconds.
	patience = 20 * time.Second
	// grace of it is for what was written last: a slow volume takes seconds to flush it.
	grace = 10 * time.Second
	// logEvery is the time between two lines about progress: a day of them is a page that can be read.
	logEvery = 30 * time.Second
)

// Exit codes of the process.
const (
	exitDone  = 0 // succeeded, or failed for good
	exitAgain = 1
)

// Run does what args say, "import" and flags, until ctx ends or the process is asked to, and returns its exit code.
func Run(ctx context.Context, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	return run(ctx, args, os.Stderr)
}

// options are paths that only a test has differently.
type options struct {
	spec, result, tls, listen string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	if len(args) == 0 || args[0] != "import" {
		return o, fmt.Errorf("a worker does one thing: import, not %.60q: %w", args, errdef.ErrUsage)
	}
	fs := flag.NewFlagSet("worker import", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.spec, "spec", job.SpecPath, "`file` with the job")
	fs.StringVar(&o.result, "result", job.ResultPath, "`file` for the result; empty: none")
	fs.StringVar(&o.tls, "tls", job.ServerDir, "`folder` with tls.crt, tls.key and ca.crt; empty: serve nothing")
	fs.StringVar(&o.listen, "listen", fmt.Sprintf(":%d", job.MetricsPort), "`address` for /progress and /metrics")
	if err := fs.Parse(args[1:]); err != nil {
		return o, fmt.Errorf("%w: %w", err, errdef.ErrUsage)
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("argument %.60q is one too many: %w", fs.Arg(0), errdef.ErrUsage)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stderr io.Writer) int {
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	o, err := parse(args, stderr)
	if err != nil {
		log.Error("bad arguments", "error", err.Error())
		return exitAgain // whoever made the pod is to blame; that may be put right
	}
	w := &worker{o: o, log: log, tracker: new(progress.Tracker)}
	res := w.do(ctx)
	w.tell(res)
	if err := w.save(res); err != nil {
		log.Error("the result cannot be told", "error", err.Error())
		return exitAgain // without it nobody knows how this ended
	}
	if res.Outcome == job.Retry {
		return exitAgain
	}
	return exitDone
}

type worker struct {
	o       options
	log     *slog.Logger
	tracker *progress.Tracker
	meter   *job.Meter
}

// do runs the job while it tells about it.
func (w *worker) do(ctx context.Context) job.Result {
	limit := memoryLimit(os.DirFS("/"))
	applyMemory(limit)
	spec, err := job.ReadFile(w.o.spec)
	w.meter = job.NewMeter(w.tracker, spec.UID)
	if err != nil {
		return job.Result{Version: job.Version, Outcome: job.Failed, Reason: errdef.Reason(err), ExitCode: errdef.ExitCode(err),
			Message: err.Error(), Hint: "the worker was given a job that it does not understand: install manager and worker of one release"}
	}
	w.log.Info("start", "uid", spec.UID, "target", target(spec), "size", spec.Target.Size, "checksum", spec.Checksum, "preallocate", spec.Preallocate, "memory", limit)
	if w.o.tls != "" {
		stop, err := w.serve(ctx)
		if err != nil {
			// Nobody will see how far it is; the job is done all the same.
			w.log.Warn("progress is not served", "error", err.Error())
		} else {
			defer stop()
		}
	}
	defer w.watch()()

	done := make(chan job.Result, 1)
	go func() {
		done <- runner.Run(ctx, spec, runner.Options{
			Limits: limits.Limits{Window: window(limit)}, Tracker: w.tracker, OnPlan: w.planned, OnRetry: w.retried, Grace: grace,
			OnNotice: func(text string) { w.log.Warn(text) },
		})
	}()
	select {
	case res := <-done:
		return res
	case <-ctx.Done():
	}
	select {
	case res := <-done:
		return res
	case <-time.After(patience):
		return job.Result{Version: job.Version, Outcome: job.Retry, Reason: errdef.Reason(context.Canceled), ExitCode: errdef.ExitCode(context.Canceled),
			Message: fmt.Sprintf("the worker was told to stop and did not come to an end within %s", patience), Hint: "it goes on by itself if it is still wanted"}
	}
}

func target(s job.Spec) string {
	if s.Target.Device != "" {
		return s.Target.Device
	}
	return s.Target.File
}

// watch keeps the meter going and writes a line about it now and then, until the result is called.
func (w *worker) watch() (stop func()) {
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		last := time.Now()
		for {
			select {
			case <-done:
				return
			case now := <-tick.C:
				w.meter.Tick(now)
				if now.Sub(last) >= logEvery {
					last = now
					p := w.meter.Progress(now)
					w.log.Info("progress", "phase", p.Phase, "percent", p.Percent(), "done", p.Virtual, "total", p.Total,
						"fetched", p.Stored, "rate", int64(p.Rate), "remaining", int64(p.Remaining), "retries", p.Retries)
				}
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func (w *worker) planned(x importer.Explanation) {
	w.log.Info("plan", "source", x.Source, "format", x.Format, "codec", x.Codec, "route", string(x.Route), "why", x.Reason,
		"virtualSize", x.VirtualSize, "storedSize", x.StoredSize)
}

func (w *worker) retried(r source.Retry) {
	cause := "unknown"
	if r.Err != nil {
		cause = r.Err.Error()
	}
	w.meter.Repeat(cause)
	w.log.Warn("retry", "source", r.Source, "attempt", r.Attempt, "offset", r.Offset, "delay", r.Delay.String(), "cause", cause)
}

func (w *worker) tell(r job.Result) {
	attrs := []any{"outcome", string(r.Outcome), "reason", r.Reason, "seconds", r.Seconds, "virtualSize", r.VirtualSize,
		"fetched", r.Fetched, "written", r.Written, "spooled", r.Spooled, "kept", r.Kept, "tries", r.Tries}
	if r.Message != "" {
		attrs = append(attrs, "message", r.Message)
	}
	if r.Hint != "" {
		attrs = append(attrs, "hint", r.Hint)
	}
	level := slog.LevelInfo
	if r.Outcome != job.Succeeded {
		level = slog.LevelError
	}
	w.log.Log(context.Background(), level, "end", attrs...)
}

// save writes the termination message. The kubelet has made the file.
func (w *worker) save(r job.Result) error {
	if w.o.result == "" {
		return nil
	}
	f, err := os.OpenFile(w.o.result, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(r.Encode())
	return errors.Join(err, f.Close())
}
