package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/cdictl/cdictl/cmd/cdictl/cli/meter"
	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/source"
)

// logFlags say whether stderr is a log, for machines, in place of lines for people.
type logFlags struct{ level, format choice }

func (l *logFlags) register(fs *pflag.FlagSet) {
	choose(fs, &l.level, "log-level", "", "make stderr a log, from this level on, with a line for each retry and its cause", "off", "debug", "info", "warn", "error")
	choose(fs, &l.format, "log-format", "", "how a line of the log is written; given alone it means --log-level info", "text", "json")
}

// begin starts the log if the flags want one.
func (l *logFlags) begin(a *app, given func(string) bool) error {
	level := l.level.value
	if level == "off" {
		if !given("log-format") || given("log-level") {
			return nil
		}
		level = "info"
	}
	var o slog.HandlerOptions
	var lv slog.Level
	if err := lv.UnmarshalText([]byte(level)); err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	o.Level = lv
	var h slog.Handler = slog.NewTextHandler(a.talk, &o)
	if l.format.value == "json" {
		h = slog.NewJSONHandler(a.talk, &o)
	}
	a.log.Store(slog.New(h))
	return nil
}

// logs says whether stderr is a log.
func (a *app) logs() bool { return a.log.Load() != nil }

// logged writes a line to the log, if there is one.
func (a *app) logged(level slog.Level, msg string, args ...any) {
	if l := a.log.Load(); l != nil {
		l.Log(context.Background(), level, msg, args...) // a handler of ours asks no context for anything
	}
}

// retried is told of what fails and will be tried again: into the log, or to who watches m.
func (a *app) retried(m *meter.Meter) func(source.Retry) {
	if !a.logs() {
		return m.Retry
	}
	return func(r source.Retry) {
		cause := "unknown"
		if r.Err != nil {
			cause = clean(r.Err.Error())
		}
		a.logged(slog.LevelWarn, "retry", "source", r.Source, "offset", r.Offset, "attempt", r.Attempt, "delay", r.Delay.String(), "cause", cause)
	}
}

// noticed is told what an interrupted import left, and what became of that: into the log, or to who watches m.
func (a *app) noticed(m *meter.Meter) func(string) {
	if !a.logs() {
		return func(text string) { m.Say("note: " + clean(text)) }
	}
	return func(text string) { a.logged(slog.LevelInfo, "note", "text", clean(text)) }
}

// planned logs how the bytes will travel.
func (a *app) planned(x importer.Explanation) {
	a.logged(slog.LevelInfo, "plan", "source", x.Source, "format", x.Format, "codec", x.Codec, "route", x.Route, "reason", x.Reason,
		"virtualSize", x.VirtualSize, "storedSize", x.StoredSize)
}

// logEnd logs how the command ended, if that is an error.
func (a *app) logEnd(err error) {
	if err == nil {
		return
	}
	c := errdef.Classify(err)
	level := slog.LevelError
	if errors.Is(err, context.Canceled) {
		level = slog.LevelWarn
	}
	a.logged(level, "failed", "error", clean(err.Error()), "hint", clean(errdef.Hint(err)), "exit", c.ExitCode, "reason", c.Reason)
}
