// Package byurl maps what a user names a source by (a URL, a path, "-") to a source.
package byurl

import (
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/blanksource"
	"github.com/cdictl/cdictl/lib/source/filesource"
	"github.com/cdictl/cdictl/lib/source/gcssource"
	"github.com/cdictl/cdictl/lib/source/httpsource"
	"github.com/cdictl/cdictl/lib/source/pvcsource"
	"github.com/cdictl/cdictl/lib/source/registrysource"
	"github.com/cdictl/cdictl/lib/source/s3source"
)

// Options for the sources that Parse makes.
type Options struct {
	HTTP httpsource.Options
	// S3 and GCS are for objects; their HTTP is the one above.
	S3  s3source.Options
	GCS gcssource.Options
	// Registry is for container disks; its HTTP is the one above.
	Registry registrysource.Options
	// Size is that of the empty disk that "blank:" names; 0: it is refused.
	Size int64
	// Stdin is what "-" reads; nil: "-" is refused.
	Stdin io.Reader
}

// known is what Parse takes, for hints.
const known = "a source is an http://, https://, s3:// or gs:// URL, a file:// URL, a path, - for standard input, or a container disk: docker://, oci:, oci-archive:, docker-archive:; blank: is an empty disk"

// Parse returns the source that name means. It opens nothing. What it cannot read is errdef.ErrUsage; the error does
// not repeat the name, which may hold a password.
func Parse(name string, o Options) (source.Source, error) {
	scheme, rest, isURL := splitScheme(name)
	switch {
	case name == "":
		return nil, usage("the source is empty")
	case name == "-" && o.Stdin == nil:
		return nil, usage("standard input is not to be had here")
	case name == "-":
		return filesource.FromReader("standard input", o.Stdin), nil
	case !isURL:
		return pvcsource.New(name), nil
	case scheme == "http" || scheme == "https":
		return httpsource.New(name, o.HTTP)
	case scheme == "s3" || scheme == "s3+http" || scheme == "s3+https":
		o.S3.HTTP = o.HTTP
		return hinted(s3source.New(name, o.S3))
	case scheme == "gs":
		o.GCS.HTTP = o.HTTP
		return hinted(gcssource.New(name, o.GCS))
	case slices.Contains(registrysource.Schemes, scheme):
		o.Registry.HTTP = o.HTTP
		return registrysource.New(name, o.Registry)
	case scheme == "blank":
		return blank(rest, o.Size)
	case scheme == "file":
		path, err := filePath(rest)
		if err != nil {
			return nil, err
		}
		return pvcsource.New(path), nil
	}
	return nil, usage(fmt.Sprintf("scheme %.20q of the source is not known", scheme))
}

// splitScheme tells a URL from a path: a scheme of more than one letter (C: is a drive) before the first slash, followed
// by "//", or a well-known word before a colon, so that a mistyped "docker:x" is no file of that name.
func splitScheme(name string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(name, ":")
	if !ok || len(scheme) < 2 || strings.ContainsAny(scheme, `/\. `) {
		return "", name, false
	}
	scheme = strings.ToLower(scheme)
	if strings.HasPrefix(rest, "//") {
		return scheme, rest, true
	}
	switch scheme {
	case "http", "https", "file", "docker", "oci", "oci-archive", "docker-archive", "s3", "gs", "nbd", "ssh", "ftp", "data", "blank":
		return scheme, rest, true
	}
	return "", name, false
}

// filePath is the path in a file URL: file:///path, file://localhost/path, file:/path.
func filePath(rest string) (string, error) {
	u, err := url.Parse("file:" + rest)
	if err != nil {
		return "", usage("the file URL cannot be read")
	}
	switch {
	case u.Host != "" && u.Host != "localhost":
		return "", usage("a file URL names no other host")
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "", usage("a file URL has neither user, query nor fragment")
	case u.Opaque != "" || u.Path == "" || u.Path[0] != '/':
		return "", usage("a file URL holds an absolute path")
	case strings.Contains(u.Path, "\x00"):
		return "", usage("the file URL holds a zero byte")
	}
	if runtime.GOOS == "windows" { // file:///C:/x
		return filepath.FromSlash(strings.TrimPrefix(u.Path, "/")), nil
	}
	return u.Path, nil
}

// blank is an empty disk. Its size is no part of the name, because it is also that of the target.
func blank(rest string, size int64) (source.Source, error) {
	const how = "an empty disk of 10 GiB: blank: with --size 10Gi"
	switch {
	case rest != "":
		return nil, errdef.WithHint(fmt.Errorf("nothing follows blank: in the name of an empty disk: %w", errdef.ErrUsage), how)
	case size <= 0:
		return nil, errdef.WithHint(fmt.Errorf("an empty disk has no size of its own: %w", errdef.ErrUsage), how)
	}
	return blanksource.New(size), nil
}

// hinted says how an object is named, unless err knows better.
func hinted[S source.Source](s S, err error) (source.Source, error) {
	if err != nil {
		return nil, errdef.WithHint(err, "an object is named s3://bucket/key or gs://bucket/object")
	}
	return s, nil
}

func usage(why string) error {
	return errdef.WithHint(fmt.Errorf("%s: %w", why, errdef.ErrUsage), known)
}
