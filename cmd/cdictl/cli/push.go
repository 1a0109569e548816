package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cdictl/cdictl/cmd/cdictl/cli/meter"
	"github.com/cdictl/cdictl/lib/containerdisk"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/byurl"
	"github.com/cdictl/cdictl/lib/source/registrysource"
)

// pushFlags say what container disk push makes.
type pushFlags struct {
	format, compress, layer choice
	name                    string
	labels, env             []string
	created                 string
	index                   bool
}

func (p *pushFlags) register(c *cobra.Command) {
	fs := c.Flags()
	choose(fs, &p.format, "format", "", "format of the disk in the image", "qcow2", "raw")
	choose(fs, &p.compress, "compress", "", "compress the clusters of the qcow2 (default: zlib, which every qemu reads)", "", "zlib", "zstd", "none")
	choose(fs, &p.layer, "layer-compression", "", "compress the layer (default: none over a qcow2, zstd over a raw disk)", "", "none", "zstd", "gzip")
	p.compress.allowed, p.layer.allowed = p.compress.allowed[1:], p.layer.allowed[1:]
	fs.StringVar(&p.name, "name", "", "`name` of the file below /disk/ (default: disk.qcow2 or disk.img)")
	fs.StringArrayVar(&p.labels, "label", nil, "label of the image, `key=value` (may be repeated)")
	fs.StringArrayVar(&p.env, "env", nil, "variable of the image's environment, `key=value` (may be repeated); import reports those of KubeVirt as labels")
	fs.StringVar(&p.created, "created", "", "`time` that image and files tell, RFC 3339 or seconds since 1970 (default: SOURCE_DATE_EPOCH, else none)")
	fs.BoolVar(&p.index, "append-index", false, "make the tag an index of several platforms, or extend the one that it is: the image of the same platform is replaced, the others stay")
}

func (a *app) pushCommand() *cobra.Command {
	t, p := transferFlags{http: &httpFlags{}}, pushFlags{}
	c := &cobra.Command{
		Use:   "push IMAGE {docker://HOST/REPOSITORY:TAG | oci:FOLDER:NAME} [flags]",
		Short: "Make a container disk out of an image, and send it to a registry",
		Long: `Makes a container disk, the container image that KubeVirt boots virtual machines from and import reads: one layer with one
file below /disk/, owned by 107:107 and readable for its group, as OCI image. IMAGE is what import takes.

The file is a qcow2 with compressed clusters in a layer that is not compressed, or with --format raw a raw disk in one that
is. Nothing in the image tells when it was made, unless --created or SOURCE_DATE_EPOCH do: the same image makes the same
digest, whatever the number of --workers, and what the registry has already is not sent again. A broken connection goes on
where the registry says that it stopped. The tag changes last.

The layer is made in a file without a name in --scratch, which needs room for the compressed disk; only a raw disk in a layer
that is not compressed needs none. Credentials, --header, --cert and --insecure are for the registry that is written to;
IMAGE gets them if it lies in the same one, or if the target is a folder.`,
		Example: `# any image, as a container disk
%[1]s push server.qcow2 docker://registry.example/vms/server:v1

# two architectures under one tag
%[1]s push server-amd64.qcow2 docker://registry.example/vms/server:v1 --platform linux/amd64 --append-index
%[1]s push server-arm64.qcow2 docker://registry.example/vms/server:v1 --platform linux/arm64 --append-index

# what KubeVirt shall choose for it
%[1]s push server.qcow2 docker://registry.example/vms/server:v1 --env INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE=fedora

# from a web server into an OCI layout, without a registry
%[1]s push https://cloud.example/images/server.qcow2 oci:layout:v1`,
		Args: arguments("IMAGE", "TARGET"),
	}
	p.register(c)
	t.image.register(c.Flags())
	c.Flags().StringVar(&t.disk.checksum, "checksum", "", "expected digest of IMAGE's stored bytes, `alg:hex` (md5, sha1, sha256, sha512)")
	c.Flags().StringVar(&t.disk.checksumFile, "checksum-file", "", "take the expected digest from this `file or URL` (like SHA256SUMS), by IMAGE's file name")
	c.Flags().StringVar(&t.disk.scratch, "scratch", "", "`folder` for the compressed disk until it is sent, and for a sparse copy if one is needed (default: "+scratchHelp+")")
	t.output.register(c.Flags())
	t.progress.register(c.Flags())
	t.registerRun(c, timeoutUsage)
	t.http.register(c.Flags())
	c.Flags().Lookup("platform").Usage = "what the disk is for, `os/arch[/variant]`, and what to take of several if IMAGE is a container disk (default: linux on this machine's architecture)"
	c.Flags().Lookup("path").Usage = "the disk's `path` in IMAGE, if that is a container disk (default: the one file below /disk/)"
	return a.command(c, func(c *cobra.Command, args []string) error {
		r, err := p.request()
		if err != nil {
			return usage(c, err)
		}
		return t.pace.within(c.Context(), func(ctx context.Context) error { return a.push(ctx, &t, r, args[0], args[1]) })
	})
}

// request is what the flags say of the image to make.
func (p *pushFlags) request() (containerdisk.Request, error) {
	r := containerdisk.Request{Format: p.format.value, Compression: p.compress.value, LayerCompression: p.layer.value, Name: p.name, AppendIndex: p.index}
	var err error
	if r.Labels, err = pairs("--label", p.labels); err != nil {
		return r, err
	}
	if r.Env, err = pairs("--env", p.env); err != nil {
		return r, err
	}
	at, from := p.created, "--created"
	if at == "" {
		at, from = os.Getenv("SOURCE_DATE_EPOCH"), "SOURCE_DATE_EPOCH" // reproducible-builds.org/specs/source-date-epoch
	}
	r.Created, err = moment(from, at)
	return r, err
}

// pairs reads key=value. Of two with one key the last counts.
func pairs(flag string, list []string) (map[string]string, error) {
	var m map[string]string
	for i, kv := range list {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usagef("%s: number %d is not written key=value", flag, i+1)
		}
		if m == nil {
			m = map[string]string{}
		}
		m[k] = v
	}
	return m, nil
}

// moment reads a time; "" is none.
func moment(from, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 && n < 1<<40 {
		return time.Unix(n, 0), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, usagef("%s: %q is no time: write 2026-01-31T12:00:00Z, or seconds since 1970", from, clean(text))
	}
	return at, nil
}

// push makes the image and sends it.
func (a *app) push(ctx context.Context, t *transferFlags, r containerdisk.Request, src, dst string) error {
	track := &progress.Tracker{}
	m := a.meter(t, track)
	defer m.Stop()
	line, stop, err := a.timeline(t.trace)
	if err != nil {
		return err
	}
	defer stop()
	r.Options = importer.Options{Tracker: track, Trace: line, OnRetry: a.retried(m), Limiter: t.pace.limiter(),
		Snapshot: t.image.snapshot, AllowBacking: t.image.allowBacking, Disk: t.image.disk}
	if r.Limits, err = t.limits.limits(); err != nil {
		return err
	}
	by, err := t.http.byURL(a.in)
	if err != nil {
		return err
	}
	by.Registry.Limits = r.Limits
	to := by.Registry
	to.HTTP = by.HTTP
	if r.Target, err = registrysource.NewDestination(dst, to); err != nil {
		return err
	}
	r.Platform = t.http.registry.platform
	by = fromElsewhere(by, src, r.Target)
	if r.Source, err = a.source(src, by); err != nil {
		return err
	}
	if r.Scratch = t.disk.scratch; r.Scratch == "" {
		r.Scratch = scratchFolder()
	}
	r.Spool = r.Scratch
	if r.Checksum, err = t.disk.digest(ctx, src, by, source.Env{OnRetry: r.OnRetry}); err != nil {
		return err
	}
	res, err := containerdisk.Push(ctx, r)
	m.Stop()
	if err != nil {
		return err
	}
	a.logged(slog.LevelInfo, "done", "target", res.Target, "virtualSize", res.VirtualSize, "digest", res.Digest,
		"blobsSent", res.BlobsSent, "blobsSkipped", res.BlobsSkipped, "bytesSent", res.Sent, "seconds", res.Seconds)
	return a.conclude(t, dst, pushed(res))
}

// fromElsewhere takes away what is for the registry that is written to, unless src lies there too.
func fromElsewhere(by byurl.Options, src string, to *registrysource.Destination) byurl.Options {
	if to.Host() == "" {
		return by
	}
	if s, err := registrysource.New(src, registrysource.Options{}); err == nil && s.Host() == to.Host() {
		return by
	}
	h := by.HTTP
	h.Username, h.Password, h.BearerToken, h.Header, h.SecretHeader = "", "", "", nil, nil
	h.CertFile, h.KeyFile, h.Insecure = "", "", false
	by.HTTP = h
	return by
}

const scratchHelp = "/var/tmp, or where this system has temporary files"

// scratchFolder is for what is large: /tmp may be memory.
func scratchFolder() string {
	if runtime.GOOS != "windows" {
		if fi, err := os.Stat("/var/tmp"); err == nil && fi.IsDir() {
			return "/var/tmp"
		}
	}
	return os.TempDir()
}

// A pushed is a containerdisk.Result that tells itself to people.
type pushed containerdisk.Result

func (r pushed) String() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, clean(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(&b, "%s: container disk for %s, disk of %s (%d bytes)\n", clean(r.Target), clean(r.Platform), meter.Size(r.VirtualSize), r.VirtualSize)
	row("source", "%s", r.Source)
	row("file", "%s: %s of %s, compression %s", r.File, r.Format, meter.Size(r.FileSize), r.Compression)
	row("layer", "%s, %s, compression %s", r.Layer, meter.Size(r.LayerSize), r.LayerCompression)
	row("digest", "%s", r.Digest)
	if r.Manifest != r.Digest {
		row("index", "%d images, this one is %s", r.Platforms, r.Manifest)
	}
	there := ""
	if r.BlobsSkipped > 0 {
		there = fmt.Sprintf("; %d there already", r.BlobsSkipped)
	}
	row("sent", "%d blobs, %s%s", r.BlobsSent, meter.Size(r.Sent), there)
	if !r.TagMoved {
		row("tag", "named this already")
	}
	row("time", "%.1f s", r.Seconds)
	return b.String()
}
