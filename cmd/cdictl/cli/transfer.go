package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cdictl/cdictl/cmd/cdictl/cli/meter"
	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/sink/blocksink"
	"github.com/cdictl/cdictl/lib/sink/filesink"
	"github.com/cdictl/cdictl/lib/sink/pipesink"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/byurl"
)

// transferFlags are what import and convert have in common.
type transferFlags struct {
	disk     diskFlags
	image    imageFlags
	output   outputFlags
	progress progressFlags
	limits   limitFlags
	pace     paceFlags
	trace    string
	http     *httpFlags // nil: the defaults
}

// register adds them; timeout is the usage of that flag.
func (t *transferFlags) register(c *cobra.Command, timeout string) {
	t.disk.register(c.Flags())
	t.image.register(c.Flags())
	t.output.register(c.Flags())
	t.progress.register(c.Flags())
	t.registerRun(c, timeout)
}

// registerRun adds those of them that a job takes too.
func (t *transferFlags) registerRun(c *cobra.Command, timeout string) {
	t.limits.register(c.Flags())
	t.pace.register(c.Flags(), timeout)
	c.Flags().StringVar(&t.trace, "trace", "", "write a timeline of what was fetched, decoded and written when into `file`, for chrome://tracing or Perfetto")
	notFromConfig(c.Flags(), "trace")
}

// transfer makes the disk, or explains how it would.
func (a *app) transfer(ctx context.Context, t *transferFlags, src, dst string) error {
	if t.disk.discard {
		return a.discard(t, dst)
	}
	track := &progress.Tracker{}
	m := a.meter(t, track)
	defer m.Stop()
	line, stop, err := a.timeline(t.trace)
	if err != nil {
		return err
	}
	defer stop()
	req, err := a.request(ctx, t, src, dst, importer.Options{Tracker: track, Trace: line, OnRetry: a.retried(m)})
	if err != nil {
		return err
	}
	req.OnPlan = a.planned
	req.Resume, req.OnNotice = true, a.noticed(m)
	if t.disk.explain {
		x, err := importer.Explain(ctx, req)
		m.Stop()
		if err != nil {
			return err
		}
		return answer(a.out, t.output.json(), x)
	}
	res, err := importer.Import(ctx, req)
	m.Stop()
	if err != nil {
		return again(err)
	}
	a.logged(slog.LevelInfo, "done", "target", res.Target, "virtualSize", res.VirtualSize, "digest", res.Digest,
		"bytesFetched", res.Fetched, "bytesSpooled", res.Spooled, "bytesWritten", res.Written, "passes", res.Passes, "seconds", res.Seconds)
	return a.conclude(t, dst, result(res))
}

// goOn is what to do about an import whose part was kept.
const goOn = "run again to continue, --discard to drop"

// again adds that to what the error itself says is to be done.
func again(err error) error {
	if in := (*importer.Interrupted)(nil); errors.As(err, &in) {
		hint := goOn
		if own := errdef.Hint(err); own != "" && own != errdef.Classify(err).Hint {
			hint = own + "; then " + goOn
		}
		return errdef.WithHint(err, hint)
	}
	return err
}

// discard drops what an interrupted import left at dst.
func (a *app) discard(t *transferFlags, dst string) error {
	if t.disk.explain {
		return usagef("--discard moves nothing, so there is nothing to --explain")
	}
	target, _, err := a.target(dst, &t.disk)
	if err != nil {
		return err
	}
	found, err := importer.Discard(target)
	if err != nil {
		return err
	}
	return a.conclude(t, dst, discarded{dst, found})
}

// A discarded tells what --discard did.
type discarded struct {
	Target    string `json:"target"`
	Discarded bool   `json:"discarded"`
}

func (d discarded) String() string {
	if !d.Discarded {
		return clean(d.Target) + ": nothing was left by an interrupted import"
	}
	return clean(d.Target) + ": dropped what an interrupted import left"
}

// conclude answers with the result of a transfer to dst.
func (a *app) conclude(t *transferFlags, dst string, res fmt.Stringer) error {
	if t.output.quiet && !t.output.json() {
		return nil
	}
	to := a.out
	if dst == "-" {
		to = a.talk // stdout is the disk
	}
	return answer(to, t.output.json(), res)
}

// request turns flags and arguments into what the importer takes.
func (a *app) request(ctx context.Context, t *transferFlags, src, dst string, o importer.Options) (importer.Request, error) {
	var err error
	r := importer.Request{Size: int64(t.disk.size), Preallocate: t.disk.preallocate, Options: o}
	r.Snapshot, r.AllowBacking, r.Disk = t.image.snapshot, t.image.allowBacking, t.image.disk
	if r.Limits, err = t.limits.limits(); err != nil {
		return r, err
	}
	r.Limiter = t.pace.limiter()
	l := r.Limits.WithDefaults()
	a.logged(slog.LevelDebug, "settings", "version", a.build.describe().Version, "workers", l.Workers, "maxVirtualSize", l.VirtualSize, "maxMetadata", l.Metadata,
		"maxWindow", l.Window, "maxExpansion", l.Expansion, "limitRate", int64(t.pace.rate), "timeout", t.pace.timeout.String())
	by := byurl.Options{Stdin: a.in}
	if t.http != nil {
		if by, err = t.http.byURL(a.in); err != nil {
			return r, err
		}
	}
	by.Registry.Limits, by.Size = r.Limits, r.Size
	if r.Source, err = a.source(src, by); err != nil {
		return r, err
	}
	if r.Target, r.Spool, err = a.target(dst, &t.disk); err != nil {
		return r, err
	}
	r.Checksum, err = t.disk.digest(ctx, src, by, source.Env{OnRetry: o.OnRetry})
	return r, err
}

// source is what an argument names.
func (a *app) source(arg string, o byurl.Options) (source.Source, error) {
	if arg == "-" && o.Stdin != nil && terminal(a.in) {
		return nil, errdef.WithHint(usagef("stdin is a terminal, not an image"), "pipe an image in: … | cdictl import - disk.img")
	}
	return byurl.Parse(arg, o)
}

// target is what an argument names, and the folder for a spool.
func (a *app) target(arg string, d *diskFlags) (t sink.Target, spool string, err error) {
	switch {
	case arg == "-" && terminal(a.out) && !d.explain:
		return nil, "", errdef.WithHint(usagef("stdout is a terminal: a disk is not written there"), "name a file, or pipe it on: cdictl import … - | …")
	case arg == "-":
		return pipesink.New(a.out, "stdout"), d.scratch, nil
	case strings.Contains(arg, "://"):
		return nil, "", usagef("target %q is a URL: only a new file, a block device or - (stdout) can be written", clean(arg))
	}
	switch fi, err := os.Stat(arg); {
	case err != nil:
	case fi.IsDir():
		return nil, "", errdef.WithHint(usagef("target %s is a folder", arg), "name a file in it: "+filepath.Join(arg, "disk.img"))
	case fi.Mode()&(os.ModeDevice|os.ModeCharDevice) == os.ModeDevice:
		// Beside a device there is no room for a spool: /dev is memory.
		t, err := device(arg, d)
		return t, d.scratch, err
	}
	spool = d.scratch
	if spool == "" {
		spool = filepath.Dir(arg)
	}
	return filesink.New(arg, filesink.Options{Force: d.force}), spool, nil
}

// device is the block device that an argument names. An import to it can be gone on with where there is a folder for its
// record.
func device(arg string, d *diskFlags) (sink.Target, error) {
	t := blocksink.New(arg, blocksink.Options{Force: d.force})
	folder, err := stateDir(d.state)
	if err != nil || folder == "" {
		return t, err
	}
	return t.In(folder), nil
}

// meter shows the progress that the flags ask for.
func (a *app) meter(t *transferFlags, track *progress.Tracker) *meter.Meter {
	mode := meter.Mode(t.progress.mode.value)
	if t.progress.mode.value == "auto" {
		mode = meter.None
		if terminal(a.talk) && !a.logs() && !t.output.quiet && !t.disk.explain {
			mode = meter.Bar
		}
	}
	return meter.Start(meter.Options{Mode: mode, Out: a.talk, Tracker: track, Quiet: t.output.quiet, Clean: clean,
		Columns: func() int { return columns(a.talk) }})
}
