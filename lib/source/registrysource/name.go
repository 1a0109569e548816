package registrysource

import (
	"path"
	"runtime"
	"strings"

	"github.com/containers/image/v5/docker/reference"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/verify"
)

// A name is what a user names an image by.
type name struct {
	transport string
	rest      string          // behind "transport:", or "docker://"
	ref       reference.Named // docker: with a tag or a digest
	pin       verify.Digest   // docker, oci: of the manifest or index
	file      string          // oci, oci-archive, docker-archive
	image     string          // in it; may be empty
}

func (n name) String() string {
	if n.transport == "docker" {
		return "docker://" + n.rest
	}
	return n.transport + ":" + n.rest
}

const forms = "write docker://host/repository:tag, oci:folder[:name], oci-archive:file[:name] or docker-archive:file[:name]"

func parseName(raw string) (name, error) {
	transport, rest, ok := strings.Cut(raw, ":")
	n := name{transport: strings.ToLower(transport), rest: rest}
	if !ok || strings.ContainsAny(rest, "\x00\n\r") {
		return n, errdef.WithHint(usage("the name is none of an image"), forms)
	}
	switch n.transport {
	case "docker":
		return n, n.parseReference()
	case "oci", "oci-archive", "docker-archive":
		n.file, n.image = splitFile(rest)
		if n.file == "" {
			return n, errdef.WithHint(usage("the name has no path"), forms)
		}
		if d, ok := strings.CutPrefix(n.image, "@"); ok && n.transport != "docker-archive" {
			var err error
			n.image = ""
			if n.pin, err = pinned(d); err != nil {
				return n, err
			}
		}
		return n, nil
	}
	return n, errdef.WithHint(usage("transport %.20q is not known", n.transport), forms)
}

// parseReference reads what is behind docker:. A reference may hold neither user nor password, so its text can be repeated.
func (n *name) parseReference() error {
	var ok bool
	if n.rest, ok = strings.CutPrefix(n.rest, "//"); !ok {
		return errdef.WithHint(usage("docker: goes on with //"), forms)
	}
	ref, err := reference.ParseNormalizedNamed(n.rest)
	if err != nil {
		// The text may hold a password in the wrong place, and the parser repeats parts of it.
		return errdef.WithHint(usage("what follows docker:// is no image reference"), forms+"; letters of a repository are small, and credentials do not go there")
	}
	n.ref = reference.TagNameOnly(ref)
	if d, ok := ref.(reference.Digested); ok {
		n.pin, err = pinned(d.Digest().String())
	}
	return err
}

func pinned(text string) (verify.Digest, error) {
	d, err := parseDigest(text)
	if err != nil {
		return d, errdef.WithHint(usage("the digest %.100q pins nothing", text), "write it as sha256:HEX")
	}
	return d, nil
}

// parseDigest takes only what an image may be addressed by.
func parseDigest(text string) (verify.Digest, error) {
	d, err := verify.ParseDigest(text)
	if err != nil || d.Algorithm() != "sha256" && d.Algorithm() != "sha512" || d.String() != text {
		return verify.Digest{}, corrupt("digest %.100q is none of sha256 or sha512", printable(text))
	}
	return d, nil
}

// splitFile parts path[:name]. A drive letter of Windows belongs to the path.
func splitFile(s string) (file, image string) {
	drive := ""
	if runtime.GOOS == "windows" && len(s) > 2 && s[1] == ':' && (s[2] == '\\' || s[2] == '/') {
		drive, s = s[:2], s[2:]
	}
	file, image, _ = strings.Cut(s, ":")
	if at := strings.Index(file, "@sha256"); at > 0 && image != "" {
		file, image = file[:at], file[at:]+":"+image
	}
	return drive + file, image
}

// clean is a path in an image: relative to its root, never above it.
func clean(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }
