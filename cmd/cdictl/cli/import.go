package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) importCommand() *cobra.Command {
	t, d, f := transferFlags{http: &httpFlags{}}, dvFlags{}, contentFlags{}
	c := &cobra.Command{
		Use:   "import SOURCE {TARGET | --dv NAME} [flags]",
		Short: "Make a raw disk out of an image from a URL, a file or stdin",
		Long: `Makes a raw disk out of a disk image, here or in a cluster.

SOURCE is http://…, https://…, file://…, a path, - for stdin, or a container disk: docker://…, oci:FOLDER,
oci-archive:FILE, docker-archive:FILE, each with :NAME behind it; or blank:, an empty disk of --size bytes. Its format (raw, qcow2, fixed VHD) and compression
(gzip, xz, zstd, bzip2) are found by content, never by name.

TARGET is a new file, a block device (on Linux), or - for stdout. A file is sparse and appears only when it is complete,
on disk, and its checksum was found right. A device is overwritten from its first byte to its last, with zeros behind the
disk, and shows no partition table or filesystem until all is there; one that holds any now wants --force. On stdout the
disk comes in guest order with its zeros, a checksum can be verified only at the end, and nothing is promised before exit
status 0; the result is told on stderr then.

With --content archive SOURCE is a tar, under gzip, xz, zstd, bzip2 or nothing, and TARGET a folder, which is made if it is
not there. Owner (by number), mode, times, links, extended attributes and holes are kept as far as you may. Nothing lands
outside of the folder: absolute names, "..", ways through symbolic links, and devices and FIFOs (unless --skip-devices) are
refused. All is unpacked in a hidden folder of TARGET, .cdictl-archive, and appears when it is complete, on disk, and its
checksum was found right; as long as the hidden folder is there, TARGET is not complete. The next import drops what a killed
one left. What TARGET has under a name at the top of the archive stays, with exit status 19, or is replaced as a whole with
--force.

With --dv NAME the disk is made in a cluster: SOURCE is http://… or https://…, a DataVolume is made that a worker fills,
and the import is followed until it is done. Its size is read from the image's header here, unless --size says it. Flags
about the server (--username, --ca-file, …) are for that look; the worker takes its secrets from the cluster (--secret,
--header-secret, --ca-configmap). Ctrl-C stops following, and the import goes on. A DataVolume of the name that has the
same spec is followed; one that has another is exit status 19. If the import fails, the exit status is that of the
cause.`,
		Example: `# a cloud image, verified by the checksum file beside it
%[1]s import https://cloud.example/images/server.qcow2 disk.img --checksum-file https://cloud.example/images/SHA256SUMS

# a compressed raw image, grown to 40 GiB
%[1]s import https://host.example/appliance.raw.xz disk.img --size 40Gi

# an empty disk, on a filesystem that gives it all of its room now
%[1]s import blank: disk.img --size 10Gi --preallocate

# the disk in a container image
%[1]s import docker://quay.io/containerdisks/fedora:latest disk.img --platform linux/amd64

# how would the bytes travel, and why?
%[1]s import --explain https://host.example/server.qcow2 disk.img

# an archive, unpacked into a folder
%[1]s import --content archive https://host.example/rootfs.tar.xz rootfs --skip-devices

# into a new DataVolume, as large as the image
%[1]s import https://cloud.example/images/server.qcow2 --dv server -n vms

# of 40 GiB, on a class that would wait for a pod, and come back at once
%[1]s import https://cloud.example/images/server.qcow2 --dv server --size 40Gi --storage-class local --immediate --wait=false

# from a server that wants a token, into another program
%[1]s import --token-file token https://host.example/server.qcow2 - | ssh host 'dd of=/dev/vdb bs=1M'`,
		Args: cobra.ArbitraryArgs, // --dv, which decides what is wanted, can come from the environment too
	}
	t.register(c, timeoutUsage+"; with --dv: stop following, the import goes on")
	t.http.register(c.Flags())
	d.register(c.Flags())
	f.register(c.Flags())
	return a.command(c, func(c *cobra.Command, args []string) error {
		if err := sourceOrDV(d.name)(c, args); err != nil {
			return err
		}
		if err := d.check(t.http, given(c)); err != nil {
			return usage(c, err)
		}
		if err := f.check(given(c)); err != nil {
			return usage(c, err)
		}
		if f.archive() && d.name != "" { // which the environment can say, too
			return usage(c, usagef("--dv does not go with --content archive"))
		}
		if f.archive() {
			return t.pace.within(c.Context(), func(ctx context.Context) error { return a.extract(ctx, &t, &f, args[0], args[1]) })
		}
		if d.name != "" {
			return a.importDV(c.Context(), &t, &d, args[0])
		}
		return t.pace.within(c.Context(), func(ctx context.Context) error { return a.transfer(ctx, &t, args[0], args[1]) })
	})
}
