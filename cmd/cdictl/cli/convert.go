package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/cdictl/cdictl/lib/errdef"
)

func (a *app) convertCommand() *cobra.Command {
	var t transferFlags
	var format string
	c := &cobra.Command{
		Use:   "convert IN OUT [flags]",
		Short: "Make a raw disk out of a local image",
		Long: `Makes a raw disk out of a local image: import for files. IN is a path or - for stdin, OUT a new file or - for stdout.
The only output format is raw.`,
		Example: `%[1]s convert server.qcow2 disk.img
%[1]s convert --snapshot before-upgrade server.qcow2 old.img
%[1]s convert --allow-backing . overlay.qcow2 flat.img`,
		Args: arguments("IN", "OUT"),
	}
	t.register(c)
	c.Flags().StringVarP(&format, "output-format", "O", "raw", "`format` of OUT; only raw can be written")
	return a.command(c, func(c *cobra.Command, args []string) error {
		if err := localRaw(format, args[0]); err != nil {
			return err
		}
		return a.transfer(c.Context(), &t, args[0], args[1])
	})
}

// localRaw refuses what convert cannot do.
func localRaw(format, in string) error {
	if format != "raw" {
		return errdef.WithHint(usagef("output format %q cannot be written, only raw", clean(format)), "qemu-img convert -f raw -O FORMAT makes others out of it")
	}
	if s := strings.ToLower(in); strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") {
		return errdef.WithHint(usagef("convert reads local files only"), "use import for URLs")
	}
	return nil
}
