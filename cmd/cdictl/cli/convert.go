package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cdictl/cdictl/cmd/cdictl/cli/meter"
	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/progress"
)

// writeFlags say what image convert makes.
type writeFlags struct {
	format      string
	compress    choice
	clusterSize size
}

func (a *app) convertCommand() *cobra.Command {
	t, w := transferFlags{http: &httpFlags{}}, writeFlags{}
	c := &cobra.Command{
		Use:   "convert IN OUT [flags]",
		Short: "Make a raw disk or a qcow2 image out of an image",
		Long: `Makes a raw disk out of an image, as import does, or with -O qcow2 a qcow2 image. IN is what import takes, OUT a new file
or - for stdout.

A qcow2 has its tables before its data, so that it can be read as it streams. The same disk makes the same bytes, whatever
the number of --workers. To stdout IN is read twice. An IN that only comes in order is copied to a hidden sparse file
first, beside OUT or in --scratch.

IN can be blank:, an empty disk of --size bytes.`,
		Example: `%[1]s convert server.qcow2 disk.img
%[1]s convert --snapshot before-upgrade server.qcow2 old.img
%[1]s convert --allow-backing . overlay.qcow2 flat.img
%[1]s convert -O qcow2 --compress zstd disk.img server.qcow2
%[1]s convert -O qcow2 blank: empty.qcow2 --size 10Gi`,
		Args: arguments("IN", "OUT"),
	}
	t.register(c, timeoutUsage)
	t.http.register(c.Flags())
	c.Flags().StringVarP(&w.format, "output-format", "O", "raw", "`format` of OUT: raw or qcow2")
	choose(c.Flags(), &w.compress, "compress", "", "compress the clusters of a qcow2", "none", "zlib", "zstd")
	c.Flags().Var(&w.clusterSize, "cluster-size", "cluster size of a qcow2, a power of two from 512 to 2Mi (default 64Ki)")
	return a.command(c, func(c *cobra.Command, args []string) error {
		f, err := w.check(&t, args[0])
		if err != nil {
			return usage(c, err)
		}
		if w.format == "raw" {
			return t.pace.within(c.Context(), func(ctx context.Context) error { return a.transfer(ctx, &t, args[0], args[1]) })
		}
		x := importer.ExportRequest{Format: f, Compression: w.compress.value, ClusterSize: int64(w.clusterSize)}
		return t.pace.within(c.Context(), func(ctx context.Context) error { return a.export(ctx, &t, x, args[0], args[1]) })
	})
}

// emptyDisk is the source that has its size from --size.
const emptyDisk = "blank:"

// check finds the format, and refuses flags that mean nothing for it.
func (w *writeFlags) check(t *transferFlags, src string) (format.Format, error) {
	f, err := format.ByName(w.format)
	if err != nil || !f.Writable() && w.format != "raw" {
		return f, errdef.WithHint(usagef("output format %q cannot be written, only raw and qcow2", clean(w.format)), "qemu-img convert -f raw -O FORMAT makes others out of a raw disk")
	}
	switch {
	case w.format == "raw" && (w.compress.value != "none" || w.clusterSize != 0):
		return f, usagef("--compress and --cluster-size are for -O qcow2")
	case w.format != "raw" && (t.disk.size != 0 && src != emptyDisk || t.disk.preallocate || t.disk.explain || t.disk.discard):
		return f, errdef.WithHint(usagef("--size, --preallocate, --explain and --discard are for raw disks"), "cdictl resize grows a qcow2")
	}
	return f, nil
}

// export makes an image of another format than raw.
func (a *app) export(ctx context.Context, t *transferFlags, x importer.ExportRequest, src, dst string) error {
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
	x.Source, x.Target = req.Source, req.Target
	x.DiskOptions = importer.DiskOptions{Options: req.Options, Checksum: req.Checksum, Spool: req.Spool}
	res, err := importer.Export(ctx, x)
	m.Stop()
	if err != nil {
		return err
	}
	return a.conclude(t, dst, exported(res))
}

// An exported is an importer.ExportResult that tells itself to people.
type exported importer.ExportResult

func (r exported) String() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, clean(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(&b, "%s: %s image of %s, disk of %s (%d bytes)\n", clean(r.Target), r.OutputFormat, meter.Size(r.OutputSize), meter.Size(r.VirtualSize), r.VirtualSize)
	row("source", "%s", r.Source)
	what := r.Format
	if r.Codec != "" {
		what += " in " + r.Codec
	}
	row("image", "%s", what)
	moved := "fetched " + meter.Size(r.Fetched)
	if r.Spooled > 0 {
		moved += ", spooled " + meter.Size(r.Spooled)
	}
	row("moved", "%s, wrote %s, compression %s", moved, meter.Size(r.OutputSize), r.Compression)
	if r.Digest != "" {
		row("verified", "%s", r.Digest)
	} else {
		row("verified", "no checksum was given")
	}
	row("time", "%.1f s", r.Seconds)
	return b.String()
}
