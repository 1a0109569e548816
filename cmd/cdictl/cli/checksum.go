package cli

import (
	"context"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/byurl"
	"github.com/cdictl/cdictl/lib/verify"
)

// digest is the expected digest of the image at src by the flags, zero if none is given.
func (d *diskFlags) digest(ctx context.Context, src string, o byurl.Options, env source.Env) (verify.Digest, error) {
	switch {
	case d.checksum != "" && d.checksumFile != "":
		return verify.Digest{}, usagef("--checksum and --checksum-file exclude each other")
	case d.checksum != "":
		return verify.ParseDigest(d.checksum)
	case d.checksumFile == "":
		return verify.Digest{}, nil
	}
	name := fileName(src)
	if name == "" {
		return verify.Digest{}, usagef("--checksum-file: the source has no file name to look for; use --checksum")
	}
	from, err := byurl.Parse(d.checksumFile, o)
	if err != nil {
		return verify.Digest{}, err
	}
	blob, err := from.Open(ctx, env)
	if err != nil {
		return verify.Digest{}, err
	}
	defer blob.Close()
	sum, err := verify.Sums(blob, name)
	if err != nil {
		return verify.Digest{}, &errdef.Error{Op: "read", Side: errdef.Source, Name: from.String(), Err: err}
	}
	return sum, nil
}

// fileName is the last element of the path that src names, "" if there is none.
func fileName(src string) string {
	if scheme, _, ok := strings.Cut(src, "://"); ok && !strings.ContainsAny(scheme, `/\`) {
		u, err := url.Parse(src)
		if err != nil {
			return ""
		}
		if name := path.Base(u.Path); name != "/" && name != "." {
			return name
		}
		return ""
	}
	if src == "-" {
		return ""
	}
	return filepath.Base(src)
}
