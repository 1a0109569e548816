package job

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/resize"
	"github.com/cdictl/cdictl/lib/verify"
)

const (
	maxUID     = 128 // of the order: a label of metrics
	maxURL     = 8 << 10
	maxHeaders = 256
	maxPath    = 4096
	maxDisk    = 1024 // more than the name of a file in an archive may have with us
)

// problems are what is wrong with a Spec, each with the path of its field.
type problems []string

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, field+": "+fmt.Sprintf(format, args...))
}

// err is all of them in one line, an errdef.ErrUsage.
func (p *problems) err() error {
	if len(*p) == 0 {
		return nil
	}
	return fmt.Errorf("job spec: %s: %w", strings.Join(*p, "; "), errdef.ErrUsage)
}

// plain is the text of an error without the class that all of them have here.
func plain(err error) string { return strings.TrimSuffix(err.Error(), ": "+errdef.ErrUsage.Error()) }

// Validate tells everything that is wrong with s at once, each problem with the path of its field. It touches no file.
func (s Spec) Validate() error {
	var p problems
	if s.Version != Version {
		p.add("version", "%.60q, not %q", s.Version, Version)
	}
	if len(s.UID) > maxUID || strings.ContainsFunc(s.UID, func(r rune) bool { return !unicode.IsPrint(r) }) {
		p.add("uid", "%.60q, not at most %d printable characters", s.UID, maxUID)
	}
	s.Source.validate(&p)
	s.Target.validate(&p)
	p.path("stateDir", s.StateDir)
	p.path("scratch", s.Scratch)
	if s.Checksum != "" {
		if _, err := verify.ParseDigest(s.Checksum); err != nil {
			p.add("checksum", "%s", plain(err))
		}
	}
	if s.Source.Blank != nil {
		if s.Checksum != "" {
			p.add("checksum", "an empty disk has none")
		}
		if s.Target.File != "" && s.Target.Size == 0 {
			p.add("target.size", "0, but an empty disk in a file needs one")
		}
	}
	return p.err()
}

func (s Source) validate(p *problems) {
	switch n := count(s.HTTP != nil, s.Blank != nil); {
	case n != 1:
		p.add("source", "%d of http and blank are set, one must be", n)
	case s.HTTP != nil:
		s.HTTP.validate(p)
	}
}

func (h *HTTP) validate(p *problems) {
	p.url("source.http.url", h.URL, "http", "https")
	if h.Proxy != "" {
		raw := h.Proxy
		if !strings.Contains(raw, "://") {
			raw = "http://" + raw
		}
		p.url("source.http.proxy", raw, "http", "https", "socks5", "socks5h")
	}
	if len(h.Headers)+len(h.SecretHeaderPaths) > maxHeaders {
		p.add("source.http.headers", "%d of them and of secretHeaderPaths, at most %d are sent", len(h.Headers)+len(h.SecretHeaderPaths), maxHeaders)
		return
	}
	for i, line := range h.Headers {
		if name, _, ok := strings.Cut(line, ":"); !ok || strings.TrimSpace(name) == "" || strings.ContainsAny(line, "\r\n\x00") {
			p.add(fmt.Sprintf("source.http.headers[%d]", i), "not of the form \"Name: value\"")
		}
	}
	for i, path := range h.SecretHeaderPaths {
		p.need(fmt.Sprintf("source.http.secretHeaderPaths[%d]", i), path)
	}
	p.path("source.http.usernamePath", h.UsernamePath)
	p.path("source.http.passwordPath", h.PasswordPath)
	p.path("source.http.caPath", h.CAPath)
	if len(h.Disk) > maxDisk || strings.ContainsFunc(h.Disk, unicode.IsControl) {
		p.add("source.http.disk", "%.60q, not at most %d characters without control characters", h.Disk, maxDisk)
	}
	if h.PasswordPath != "" && h.UsernamePath == "" {
		p.add("source.http.usernamePath", "empty, but passwordPath is set")
	}
}

func (t Target) validate(p *problems) {
	if n := count(t.File != "", t.Device != ""); n != 1 {
		p.add("target", "%d of file and device are set, one must be", n)
	}
	p.path("target.file", t.File)
	p.path("target.device", t.Device)
	if t.Size < 0 {
		p.add("target.size", "%d is negative", t.Size)
	}
	overhead, err := t.FilesystemOverhead()
	if err != nil {
		p.add("target.overhead", "%s", plain(err))
	}
	if _, err := t.FileMode(); err != nil {
		p.add("target.mode", "%v", err)
	}
	id("target.uid", t.UID, p)
	id("target.gid", t.GID, p)
	if t.Device == "" {
		return
	}
	// A device has none of these, and a wish is never dropped silently.
	if overhead != 0 {
		p.add("target.overhead", "%s, but a device has no filesystem", t.Overhead)
	}
	if t.Mode != "" || t.UID != nil || t.GID != nil {
		p.add("target.device", "mode, uid and gid are given to files only")
	}
}

func count(set ...bool) (n int) {
	for _, b := range set {
		if b {
			n++
		}
	}
	return n
}

func id(field string, v *int, p *problems) {
	// The largest is taken by the kernel: it means "leave it".
	if v != nil && (*v < 0 || int64(*v) >= math.MaxUint32) {
		p.add(field, "%d is not in 0..%d", *v, uint32(math.MaxUint32-1))
	}
}

// path checks one that may be empty.
func (p *problems) path(field, path string) {
	switch {
	case path == "":
	case len(path) > maxPath || strings.ContainsFunc(path, unicode.IsControl):
		p.add(field, "%.60q, not at most %d characters without control characters", path, maxPath)
	case filepath.Clean(path) != path:
		p.add(field, "%.200q is written with detours, %.200q is meant", path, filepath.Clean(path))
	}
}

func (p *problems) need(field, path string) {
	if path == "" {
		p.add(field, "is empty")
	}
	p.path(field, path)
}

// url never repeats what it checks: there may be a password in it, in the wrong place too.
func (p *problems) url(field, raw string, schemes ...string) {
	if raw == "" {
		p.add(field, "is empty")
		return
	}
	u, err := url.Parse(raw)
	switch {
	case len(raw) > maxURL:
		p.add(field, "%d bytes, at most %d are taken", len(raw), maxURL)
	case err != nil:
		p.add(field, "is no valid URL")
	case !contains(schemes, u.Scheme):
		p.add(field, "does not begin with one of %s", strings.Join(schemes, ", "))
	case u.Hostname() == "":
		p.add(field, "has no host")
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// FilesystemOverhead is Overhead as a number.
func (t Target) FilesystemOverhead() (resize.Overhead, error) {
	if t.Overhead == "" {
		return 0, nil
	}
	return resize.ParseOverhead(t.Overhead)
}

var errMode = errors.New(`not an octal mode from "0600" to "0777"`)

// FileMode is Mode as a number, 0 for none. A mode by which the owner may not read and write is refused: the worker
// itself could not.
func (t Target) FileMode() (fs.FileMode, error) {
	if t.Mode == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(t.Mode, 8, 32)
	if err != nil || len(t.Mode) > 4 || n > 0o777 || n&0o600 != 0o600 {
		return 0, fmt.Errorf("%.60q, %w", t.Mode, errMode)
	}
	return fs.FileMode(n), nil
}
