package extract

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Bounds of what Linux keeps (XATTR_NAME_MAX, XATTR_SIZE_MAX).
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
)

// A record is one of a pax header. Their order counts: a sparse map of version 0.0 is a list of pairs.
type record struct{ key, value string }

// records parses the content of a pax header.
func records(b []byte) ([]record, error) {
	var all []record
	for len(b) > 0 {
		digits, _, ok := bytes.Cut(b[:min(len(b), 20)], []byte(" "))
		n, err := strconv.ParseUint(string(digits), 10, 31)
		if !ok || err != nil || n > uint64(len(b)) || int(n) < len(digits)+3 || b[n-1] != '\n' {
			return nil, fmt.Errorf("pax record %.40q has no right length: %w", b[:min(len(b), 40)], errdef.ErrCorrupt)
		}
		key, value, ok := strings.Cut(string(b[len(digits)+1:n-1]), "=")
		if !ok || key == "" || strings.Contains(key, "\x00") {
			return nil, fmt.Errorf("pax record %.40q has no key: %w", b[:min(int(n), 40)], errdef.ErrCorrupt)
		}
		all = append(all, record{key, value})
		b = b[n:]
	}
	return all, nil
}

// An xattr is an extended attribute.
type xattr struct {
	name  string
	value string
}

// apply sets what rs say of h.
func (h *header) apply(rs []record) error {
	for _, r := range rs {
		if err := h.set(r.key, r.value); err != nil {
			return fmt.Errorf("pax record %.60q: %w", r.key, err)
		}
	}
	return nil
}

func (h *header) set(key, value string) (err error) {
	if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
		// GNU tar writes these two so, because a record's key ends at the first "=".
		return h.addXattr(strings.NewReplacer("%3D", "=", "%25", "%").Replace(name), value, true)
	}
	if name, ok := strings.CutPrefix(key, "LIBARCHIVE.xattr."); ok {
		if name, err = url.PathUnescape(name); err != nil {
			return fmt.Errorf("%w: %w", err, errdef.ErrCorrupt)
		}
		b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
		if err != nil {
			return fmt.Errorf("%w: %w", err, errdef.ErrCorrupt)
		}
		return h.addXattr(name, string(b), false)
	}
	if value == "" { // POSIX: as if it was not there
		return nil
	}
	switch key {
	case "path":
		h.name, err = plain(value)
	case "GNU.sparse.name": // whose path is one for programs that do not know sparse files
		h.sparseName, err = plain(value)
	case "linkpath":
		h.link, err = plain(value)
	case "size":
		h.stored, err = decimal(value)
	case "uid":
		h.uid, err = decimal(value)
	case "gid":
		h.gid, err = decimal(value)
	case "mtime":
		h.mtime, err = moment(value)
	case "atime":
		h.atime, err = moment(value)
	case "SCHILY.realsize", "GNU.volume.filename", "GNU.volume.offset", "GNU.volume.size", "GNU.dumpdir":
		err = fmt.Errorf("a part of a file, or an incremental archive: %w", errdef.ErrUnsupported)
	case "SCHILY.acl.access":
		err = h.addACL(aclAccess, value)
	case "SCHILY.acl.default":
		err = h.addACL(aclDefault, value)
	case "RHT.security.selinux": // the label, which the kernel has with a zero behind it
		err = h.addXattr("security.selinux", strings.TrimSuffix(value, "\x00")+"\x00", false)
	case "SCHILY.acl.ace": // of NFS 4, which Linux has no place for
		h.lost++
	default:
		if strings.HasPrefix(key, "GNU.sparse.") {
			h.sparse = append(h.sparse, record{key, value})
		}
	}
	return err
}

// addXattr takes an attribute; one that is sure replaces one of the same name that was said in another way.
func (h *header) addXattr(name, value string, sure bool) error {
	switch {
	case name == "" || strings.Contains(name, "\x00"):
		return fmt.Errorf("no name of an attribute: %w", errdef.ErrCorrupt)
	case len(name) > maxXattrName || len(value) > maxXattrValue:
		return fmt.Errorf("an attribute of %d bytes with a name of %d is above the limits of %d and %d: %w",
			len(value), len(name), maxXattrValue, maxXattrName, errdef.ErrLimit)
	}
	i := slices.IndexFunc(h.xattrs, func(x xattr) bool { return x.name == name })
	switch {
	case i < 0 && len(h.xattrs) >= maxXattrs:
		return fmt.Errorf("more than %d attributes: %w", maxXattrs, errdef.ErrLimit)
	case i < 0:
		h.xattrs = append(h.xattrs, xattr{name, value})
	case sure:
		h.xattrs[i].value = value
	}
	return nil
}

// addACL takes the text of one.
func (h *header) addACL(name, text string) error {
	if len(text) > maxXattrValue {
		return fmt.Errorf("an ACL of %d bytes is above the limit of %d: %w", len(text), maxXattrValue, errdef.ErrLimit)
	}
	h.acls = append(slices.DeleteFunc(h.acls, func(a xattr) bool { return a.name == name }), xattr{name, text})
	return nil
}

// maxXattrs keeps the search for one of the same name short. XFS, which holds most, is asked for dozens at the utmost.
const maxXattrs = 1000

// plain is a name without zero bytes, which no filesystem could keep.
func plain(s string) (string, error) {
	if strings.Contains(s, "\x00") {
		return "", fmt.Errorf("%.60q has a zero byte: %w", s, errdef.ErrCorrupt)
	}
	return s, nil
}

func decimal(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%.30q is no number below 2^63: %w", s, errdef.ErrCorrupt)
	}
	return int64(n), nil
}

// moment is seconds since 1970 with a fraction, of which what is below a nanosecond is cut off.
func moment(s string) (time.Time, error) {
	whole, fraction, dot := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	digits := (fraction + "000000000")[:9]
	nano, err2 := strconv.ParseUint(digits, 10, 32)
	// Years above 10^11 have no meaning to any filesystem, and none would say so.
	if err != nil || err2 != nil || dot && fraction == "" || strings.Trim(fraction, "0123456789") != "" || sec > 1<<61 || sec < -1<<61 {
		return time.Time{}, fmt.Errorf("%.40q is no time: %w", s, errdef.ErrCorrupt)
	}
	if strings.HasPrefix(whole, "-") {
		return time.Unix(sec, -int64(nano)), nil
	}
	return time.Unix(sec, int64(nano)), nil
}
