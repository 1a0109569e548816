package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cdictl/cdictl/cmd/cdictl/cli/meter"
	"github.com/cdictl/cdictl/lib/importer"
)

// readFlags are the flags of commands that only read disks.
type readFlags struct {
	output  outputFlags
	image   imageFlags
	http    httpFlags
	limits  limitFlags
	scratch string
	diskB   string // of the second disk, in compare
}

func (f *readFlags) register(c *cobra.Command) {
	f.output.register(c.Flags())
	f.image.register(c.Flags())
	f.http.register(c.Flags())
	f.limits.register(c.Flags())
	c.Flags().StringVar(&f.scratch, "scratch", "", "`folder` for a sparse copy of what only comes in order (default: refuse it)")
}

// open opens the disks that args name, two at most.
func (f *readFlags) open(ctx context.Context, a *app, args ...string) (disks []*importer.Disk, err error) {
	m := meter.Start(meter.Options{Mode: meter.None, Out: a.talk, Quiet: f.output.quiet, Clean: clean}) // for retries
	defer m.Stop()
	defer func() {
		if err != nil {
			for _, d := range disks {
				d.Close()
			}
		}
	}()
	o := importer.DiskOptions{Spool: f.scratch, Options: importer.Options{Snapshot: f.image.snapshot, AllowBacking: f.image.allowBacking, OnRetry: a.retried(m)}}
	if o.Limits, err = f.limits.limits(); err != nil {
		return nil, err
	}
	by, err := f.http.sources(a.in)
	if err != nil {
		return nil, err
	}
	for i, arg := range args {
		o.Disk = []string{f.image.disk, f.diskB}[i]
		src, err := a.source(arg, by)
		if err != nil {
			return disks, err
		}
		d, err := importer.OpenDisk(ctx, src, o)
		if err != nil {
			return disks, err
		}
		disks = append(disks, d)
	}
	return disks, nil
}

func (a *app) mapCommand() *cobra.Command {
	var f readFlags
	c := &cobra.Command{
		Use:   "map SOURCE [flags]",
		Short: "Tell where a disk has data, zeros and holes",
		Long: `Tells what a disk has where, and where that lies in the stored file. With -o json it is what "qemu-img map --output=json"
prints. Data is not read, only tables. Of a backing chain the whole is told, with depth 0.`,
		Example: `%[1]s map server.qcow2
%[1]s map -o json https://cloud.example/images/server.qcow2`,
		Args: arguments("SOURCE"),
	}
	f.register(c)
	return a.command(c, func(c *cobra.Command, args []string) error {
		disks, err := f.open(c.Context(), a, args[0])
		if err != nil {
			return err
		}
		defer disks[0].Close()
		return a.printMap(disks[0], f.output.json())
	})
}

// printMap prints entries as they come: a disk may have millions.
func (a *app) printMap(d *importer.Disk, asJSON bool) error {
	w := bufio.NewWriter(a.out) // keeps its first error for Flush
	var err error
	if asJSON {
		sep := "["
		err = d.Map(func(e importer.MapEntry) error {
			b, err := json.Marshal(e)
			if err == nil {
				_, err = fmt.Fprintf(w, "%s%s", sep, b)
			}
			sep = ",\n"
			return err
		})
		if sep == "[" {
			_, _ = w.WriteString(sep)
		}
		_, _ = w.WriteString("]\n")
	} else {
		_, _ = fmt.Fprintf(w, "%-16s %-16s %-6s %s\n", "START", "LENGTH", "KIND", "STORED AT")
		err = d.Map(func(e importer.MapEntry) error {
			_, err := fmt.Fprintf(w, "%#-16x %#-16x %-6s %s\n", e.Start, e.Length, mapKind(e), mapPlace(e))
			return err
		})
	}
	if err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

func mapKind(e importer.MapEntry) string {
	switch {
	case e.Data:
		return "data"
	case e.Present:
		return "zero"
	}
	return "hole"
}

func mapPlace(e importer.MapEntry) string {
	switch {
	case e.Compressed:
		return "compressed"
	case e.Offset != nil && e.Data:
		return fmt.Sprintf("%#x", *e.Offset)
	}
	return "-"
}
