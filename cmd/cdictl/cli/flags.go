package cli

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/cdictl/cdictl/lib/limits"
)

// httpFlags say how to talk to a server.
type httpFlags struct {
	headers      []string
	headerFile   string
	username     string
	passwordFile string
	tokenFile    string
	caFile       string
	cert, key    string
	insecure     bool
	proxy        string
	retries      int
	stallTimeout time.Duration
	connections  int
	linkLocal    bool
	objects      objectFlags
	registry     registryFlags
}

func (h *httpFlags) register(to *pflag.FlagSet) {
	h.registry.register(to)
	grouped(to, groupHTTP, func(fs *pflag.FlagSet) {
		fs.StringArrayVar(&h.headers, "header", nil, "add the header `'K: V'` to every request (may be repeated)")
		fs.StringVar(&h.headerFile, "header-file", "", "add the headers in `file`, one a line; for secret ones")
		fs.StringVar(&h.username, "username", "", "user `name` for basic authentication")
		fs.StringVar(&h.passwordFile, "password-file", "", "`file` with the password")
		fs.StringVar(&h.tokenFile, "token-file", "", "`file` with a bearer token")
		fs.StringVar(&h.caFile, "ca-file", "", "`path` of a PEM bundle, or of a folder of certificates, to trust beside the system's")
		fs.StringVar(&h.cert, "cert", "", "client certificate, a PEM `file`")
		fs.StringVar(&h.key, "key", "", "key of the client certificate, a PEM `file` (default: the one of --cert)")
		fs.BoolVar(&h.insecure, "insecure", false, "do not check the server's certificate")
		fs.StringVar(&h.proxy, "proxy", "", "`URL` of the proxy (default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY)")
		fs.IntVar(&h.retries, "retries", 5, "try again after up to `n` failures in a row without a byte of progress")
		fs.DurationVar(&h.stallTimeout, "stall-timeout", time.Minute, "try again when nothing came for this `duration`")
		fs.IntVar(&h.connections, "connections", 4, "fetch up to `n` ranges at the same time, at most 16")
		fs.BoolVar(&h.linkLocal, "allow-link-local", false, "follow a redirect to a link-local address, where clouds keep credentials for their machines")
	})
	h.objects.register(to)
}

// limitFlags bound what an image or a server may make us do.
type limitFlags struct {
	virtualSize, metadata, window size
	expansion                     int64
	workers                       int
}

func (l *limitFlags) register(to *pflag.FlagSet) {
	grouped(to, groupLimits, func(fs *pflag.FlagSet) {
		fs.Var(&l.virtualSize, "max-virtual-size", "largest disk, or all files of an archive (default 64Ti)")
		fs.Var(&l.metadata, "max-metadata", "memory for tables of an image, or for folders of an archive (default 48Mi)")
		fs.Var(&l.window, "max-window", "memory for the window of a codec (default 128Mi)")
		fs.Int64Var(&l.expansion, "max-expansion", 0, "largest `ratio` of data (zeros do not count) to stored bytes (default 2000)")
		fs.IntVar(&l.workers, "workers", 0, "let `n` goroutines decode and write (default: one for each CPU, at least 2)")
	})
}

func (l *limitFlags) limits() (limits.Limits, error) {
	for name, n := range map[string]int64{"max-expansion": l.expansion, "workers": int64(l.workers)} {
		if n < 0 {
			return limits.Limits{}, usagef("--%s %d is negative", name, n)
		}
	}
	return limits.Limits{VirtualSize: int64(l.virtualSize), Metadata: int64(l.metadata), Window: int64(l.window),
		Expansion: l.expansion, Workers: l.workers}, nil
}

// imageFlags say what of an image to read.
type imageFlags struct {
	snapshot     string
	allowBacking string
	disk         string
}

func (i *imageFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&i.snapshot, "snapshot", "", "read the internal snapshot with this `name` or ID instead of the active disk")
	fs.StringVar(&i.allowBacking, "allow-backing", "", "read a chain of local backing files inside `folder` (default: refuse them)")
	fs.StringVar(&i.disk, "disk", "", diskUsage)
}

const diskUsage = "the disk to take out of an archive (OVA, tar), by its `name or number` (default: the only one)"

// outputFlags say how the answer is told.
type outputFlags struct {
	format choice
	quiet  bool
}

func (o *outputFlags) register(fs *pflag.FlagSet) {
	choose(fs, &o.format, "output", "o", "how to tell the result", "text", "json")
	fs.BoolVarP(&o.quiet, "quiet", "q", false, "say nothing but errors, and what -o json asks for")
}

func (o *outputFlags) json() bool { return o.format.value == "json" }

// progressFlags say how a transfer is shown.
type progressFlags struct{ mode choice }

func (p *progressFlags) register(fs *pflag.FlagSet) {
	choose(fs, &p.mode, "progress", "", "how to show progress on stderr; auto: a bar on a terminal", "auto", "bar", "json", "none")
}

// diskFlags say what disk to make.
type diskFlags struct {
	size         diskSize
	preallocate  bool
	force        bool
	checksum     string
	checksumFile string
	scratch      string
	explain      bool
	discard      bool
	state        string
}

func (d *diskFlags) register(fs *pflag.FlagSet) {
	fs.Var(&d.size, "size", "grow the disk to this size (10Gi, 512M, bytes); never shrinks; auto, the default, is the virtual size")
	fs.BoolVar(&d.preallocate, "preallocate", false, "allocate every byte instead of leaving holes")
	fs.BoolVarP(&d.force, "force", "f", false, "replace an existing file, or what a device holds")
	fs.StringVar(&d.checksum, "checksum", "", "expected digest of the stored bytes, `alg:hex` (md5, sha1, sha256, sha512)")
	fs.StringVar(&d.checksumFile, "checksum-file", "", "take the expected digest from this `file or URL` (like SHA256SUMS), by the source's file name")
	fs.StringVar(&d.scratch, "scratch", "", "`folder` for a sparse copy, if one is needed (default: the target file's)")
	fs.BoolVar(&d.discard, "discard", false, "drop what an interrupted import left at the target, and do nothing else")
	fs.StringVar(&d.state, "state-dir", "", stateUsage)
	fs.BoolVar(&d.explain, "explain", false, "print the plan and its reason, and move nothing")
}
