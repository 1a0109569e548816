package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cdictl/cdictl/cmd/cdictl/cli/meter"
	"github.com/cdictl/cdictl/lib/importer"
)

// infoFlags are the flags of info.
type infoFlags struct {
	output outputFlags
	http   httpFlags
	limits limitFlags
	disk   string
}

func (a *app) infoCommand() *cobra.Command {
	var f infoFlags
	c := &cobra.Command{
		Use:   "info SOURCE [flags]",
		Short: "Tell what an image is, reading only its metadata",
		Long: `Tells format, codec, sizes, snapshots, backing file and features of an image, and what is on the disk: its partitions, its
filesystems, an ISO 9660 image. Over http only metadata is fetched where the server can send ranges, and of the disk no
more than 1 MiB. Of a stream only the start is looked at. A backing file is named, never opened. With -o json, fields have
the names that "qemu-img info --output=json" gives them, where it has them; what is on the disk is in "content".`,
		Example: `%[1]s info https://cloud.example/images/server.qcow2
%[1]s info -o json server.qcow2 | jq '."virtual-size"'
curl -s https://host.example/server.raw.xz | %[1]s info -`,
		Args: arguments("SOURCE"),
	}
	f.output.register(c.Flags())
	f.http.register(c.Flags())
	f.limits.register(c.Flags())
	c.Flags().StringVar(&f.disk, "disk", "", diskUsage)
	return a.command(c, func(c *cobra.Command, args []string) error {
		return a.info(c.Context(), &f, args[0])
	})
}

func (a *app) info(ctx context.Context, f *infoFlags, arg string) error {
	m := meter.Start(meter.Options{Mode: meter.None, Out: a.talk, Quiet: f.output.quiet, Clean: clean}) // for retries
	defer m.Stop()
	limits, err := f.limits.limits()
	if err != nil {
		return err
	}
	by, err := f.http.byURL(a.in)
	if err != nil {
		return err
	}
	by.Registry.Limits = limits
	src, err := a.source(arg, by)
	if err != nil {
		return err
	}
	info, err := importer.Inspect(ctx, src, importer.Options{Limits: limits, Disk: f.disk, OnRetry: a.retried(m)})
	if err != nil {
		return err
	}
	return answer(a.out, f.output.json(), info)
}
