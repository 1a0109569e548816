package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cdictl/cdictl/cmd/cdictl/cli/meter"
	"github.com/cdictl/cdictl/lib/extract"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/source"
)

// contentFlags say what a source holds, and how an archive is unpacked.
type contentFlags struct {
	content     choice
	skipDevices bool
	entries     int64
}

func (f *contentFlags) register(fs *pflag.FlagSet) {
	choose(fs, &f.content, "content", "", "what the source holds: a disk, or an archive (tar) to unpack into a folder", "disk", "archive")
	fs.BoolVar(&f.skipDevices, "skip-devices", false, "leave out devices and FIFOs of an archive (default: refuse it)")
	grouped(fs, groupLimits, func(fs *pflag.FlagSet) {
		fs.Int64Var(&f.entries, "max-entries", 0, "largest `number` of members of an archive that is unpacked (default 10000000)")
	})
}

func (f *contentFlags) archive() bool { return f.content.value == "archive" }

// notArchive are flags about disks.
var notArchive = []string{"size", "preallocate", "scratch", "state-dir", "snapshot", "allow-backing", "disk", "dv"}

// check refuses flags that have no meaning for the content.
func (f *contentFlags) check(given func(string) bool) error {
	if f.entries < 0 {
		return usagef("--max-entries %d is negative", f.entries)
	}
	if !f.archive() {
		for _, name := range []string{"skip-devices", "max-entries"} {
			if given(name) {
				return usagef("--%s is about an archive that is unpacked: it needs --content archive", name)
			}
		}
		return nil
	}
	for _, name := range notArchive {
		if given(name) {
			return usagef("--%s does not go with --content archive: there is no disk", name)
		}
	}
	return nil
}

// extract unpacks an archive into a folder, or explains how it would.
func (a *app) extract(ctx context.Context, t *transferFlags, f *contentFlags, src, dst string) error {
	switch {
	case dst == "-" || strings.Contains(dst, "://"):
		return usagef("target %q is no folder: an archive is unpacked into one", clean(dst))
	case t.disk.discard && t.disk.explain:
		return usagef("--discard moves nothing, so there is nothing to --explain")
	case t.disk.discard:
		found, err := extract.Discard(dst)
		if err != nil {
			return err
		}
		return a.conclude(t, dst, discarded{dst, found})
	}
	track := &progress.Tracker{}
	m := a.meter(t, track)
	defer m.Stop()
	line, stop, err := a.timeline(t.trace)
	if err != nil {
		return err
	}
	defer stop()
	req := importer.ExtractRequest{Folder: dst, SkipDevices: f.skipDevices, Force: t.disk.force, OnPlan: a.planned, OnNotice: a.noticed(m),
		Options: importer.Options{Tracker: track, Trace: line, OnRetry: a.retried(m), Limiter: t.pace.limiter()}}
	if req.Limits, err = t.limits.limits(); err != nil {
		return err
	}
	req.Limits.Entries = f.entries
	by, err := t.http.byURL(a.in)
	if err != nil {
		return err
	}
	by.Registry.Limits = req.Limits
	if req.Source, err = a.source(src, by); err != nil {
		return err
	}
	if req.Checksum, err = t.disk.digest(ctx, src, by, source.Env{OnRetry: req.OnRetry}); err != nil {
		return err
	}
	if t.disk.explain {
		x, err := importer.ExplainExtract(ctx, req)
		m.Stop()
		if err != nil {
			return err
		}
		return answer(a.out, t.output.json(), x)
	}
	res, err := importer.Extract(ctx, req)
	m.Stop()
	if err != nil {
		return err
	}
	a.logged(slog.LevelInfo, "done", "target", res.Target, "files", res.Files, "folders", res.Folders, "digest", res.Digest,
		"bytesFetched", res.Fetched, "bytesWritten", res.Written, "seconds", res.Seconds)
	return a.conclude(t, dst, extracted(res))
}

// An extracted is an importer.ExtractResult, as JSON the same, that tells itself to people.
type extracted importer.ExtractResult

// String is a line that says what was made, and one for each thing worth knowing of how.
func (r extracted) String() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, clean(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(&b, "%s: %d files, %d folders, %d symbolic links, %d hard links\n", clean(r.Target), r.Files, r.Folders, r.Symlinks, r.HardLinks)
	row("source", "%s", r.Source)
	what := r.Format
	if r.Codec != "" {
		what += " in " + r.Codec
	}
	row("archive", "%s, files of %s", what, meter.Size(r.Bytes))
	row("route", "%s (%s)", r.Route, r.Reason)
	row("moved", "fetched %s, wrote %s", meter.Size(r.Fetched), meter.Size(r.Written))
	if r.Skipped > 0 {
		row("skipped", "%d devices, FIFOs and links to them", r.Skipped)
	}
	if r.OwnersLost > 0 || r.AttributesLost > 0 {
		row("not kept", "the owner of %d members, attributes of %d", r.OwnersLost, r.AttributesLost)
	}
	if r.Digest != "" {
		row("verified", "%s", r.Digest)
	} else {
		row("verified", "no checksum was given")
	}
	row("time", "%.1f s", r.Seconds)
	return b.String()
}
