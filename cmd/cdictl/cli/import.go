package cli

import "github.com/spf13/cobra"

func (a *app) importCommand() *cobra.Command {
	t := transferFlags{http: &httpFlags{}}
	c := &cobra.Command{
		Use:   "import SOURCE TARGET [flags]",
		Short: "Make a raw disk out of an image from a URL, a file or stdin",
		Long: `Makes a raw disk out of a disk image.

SOURCE is http://…, https://…, file://…, a path, or - for stdin. Its format (raw, qcow2, fixed VHD) and compression
(gzip, xz, zstd, bzip2) are found by content, never by name.

TARGET is a new file, a block device (on Linux), or - for stdout. A file is sparse and appears only when it is complete,
on disk, and its checksum was found right. A device is overwritten from its first byte to its last, with zeros behind the
disk, and shows no partition table or filesystem until all is there; one that holds any now wants --force. On stdout the
disk comes in guest order with its zeros, a checksum can be verified only at the end, and nothing is promised before exit
status 0; the result is told on stderr then.`,
		Example: `# a cloud image, verified by the checksum file beside it
%[1]s import https://cloud.example/images/server.qcow2 disk.img --checksum-file https://cloud.example/images/SHA256SUMS

# a compressed raw image, grown to 40 GiB
%[1]s import https://host.example/appliance.raw.xz disk.img --size 40Gi

# how would the bytes travel, and why?
%[1]s import --explain https://host.example/server.qcow2 disk.img

# from a server that wants a token, into another program
%[1]s import --token-file token https://host.example/server.qcow2 - | ssh host 'dd of=/dev/vdb bs=1M'`,
		Args: arguments("SOURCE", "TARGET"),
	}
	t.register(c)
	t.http.register(c.Flags())
	return a.command(c, func(c *cobra.Command, args []string) error {
		return a.transfer(c.Context(), &t, args[0], args[1])
	})
}
