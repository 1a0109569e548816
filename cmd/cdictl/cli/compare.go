package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/limits"
	"github.com/cdictl/cdictl/lib/transfer"
)

// Exit statuses of compare, beside those of the table of errors. As in qemu-img 1 says that the disks differ, so what is 1 in
// the table, any other error, is told from it.
const (
	exitDiffer     = exitStatus(1)
	exitUncompared = exitStatus(4)
)

func (a *app) compareCommand() *cobra.Command {
	var f readFlags
	c := &cobra.Command{
		Use:   "compare A B [flags]",
		Short: "Tell whether two images hold the same disk",
		Long: `Compares what the guests would see of two images, of any formats and from anywhere. What both have no data for is not read.
A disk that is longer by zeros only is the same. The exit status is 0 if they are the same, and 1 if they differ, as with
"qemu-img compare"; any error without a code of its own is 4 here. --snapshot and --allow-backing are for both, --disk is
for A and --disk-b for B.`,
		Example: `%[1]s compare disk.img server.qcow2
%[1]s compare server.qcow2 https://cloud.example/images/server.qcow2
%[1]s compare --disk 2 appliance.ova data.img`,
		Args: arguments("A", "B"),
	}
	c.Annotations = map[string]string{exitNote: "1 the disks differ\n4 any other error"}
	f.register(c)
	c.Flags().Lookup("disk").Usage = "the disk to take out of A, if that is an archive (OVA, tar), by its `name or number` (default: the only one)"
	c.Flags().StringVar(&f.diskB, "disk-b", "", "the same out of B, by its `name or number`")
	return a.command(c, func(c *cobra.Command, args []string) error {
		if args[0] == "-" && args[1] == "-" {
			return usagef("only one of A and B can be stdin")
		}
		x, err := f.compare(c.Context(), a, args)
		if err != nil && !errors.Is(err, context.Canceled) && errdef.ExitCode(err) == int(exitDiffer) {
			a.report(err)
			return exitUncompared
		}
		if err != nil {
			return err
		}
		if !f.output.quiet || f.output.json() {
			if err := answer(a.out, f.output.json(), x); err != nil {
				return err
			}
		}
		if !x.Same {
			return exitDiffer
		}
		return nil
	})
}

// comparison is the answer.
type comparison struct {
	A     string `json:"a"`
	B     string `json:"b"`
	Same  bool   `json:"same"`
	SizeA int64  `json:"virtualSizeA"`
	SizeB int64  `json:"virtualSizeB"`
	// Offset is where the first byte differs.
	Offset *int64 `json:"offset,omitempty"`
}

func (x comparison) String() string {
	s := fmt.Sprintf("%s and %s hold the same disk", clean(x.A), clean(x.B))
	if !x.Same {
		s = fmt.Sprintf("%s and %s differ at byte %d", clean(x.A), clean(x.B), *x.Offset)
	}
	if x.SizeA != x.SizeB {
		s += fmt.Sprintf("; their sizes are %d and %d", x.SizeA, x.SizeB)
	}
	return s
}

func (f *readFlags) compare(ctx context.Context, a *app, args []string) (comparison, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	disks, err := f.open(ctx, a, args...)
	if err != nil {
		return comparison{}, err
	}
	for _, d := range disks {
		defer d.Close()
	}
	workers := limits.Limits{Workers: f.limits.workers}.WithDefaults().Workers
	at, err := transfer.Compare(ctx, disks[0], disks[1], transfer.Options{Workers: workers, Abort: cancel, SourceName: args[0] + " or " + args[1]})
	x := comparison{A: args[0], B: args[1], Same: at < 0, SizeA: disks[0].Size(), SizeB: disks[1].Size()}
	if at >= 0 {
		x.Offset = &at
	}
	return x, err
}
