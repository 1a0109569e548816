package extract

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// The names under which Linux keeps ACLs.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// Tags of entries of an ACL, in the order that Linux wants them in, and the ID of those that have none
// (include/uapi/linux/posix_acl.h).
const (
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
	aclNoID     = 1<<32 - 1
)

// errACL: an ACL that cannot be told to this system. It is lost, as one that may not be set.
var errACL = errors.New("not an ACL of POSIX, or of users that are not known here")

// An aclEntry says who may do what.
type aclEntry struct {
	tag  uint16
	perm uint16
	id   uint32
}

// ids finds users and groups of ACLs, which GNU tar names without their numbers.
type ids struct{ known map[string]uint32 }

// maxIDs bounds what is remembered of names. An archive that has more has each looked up again.
const maxIDs = 1000

// find returns the number of a user or group: kind is "user" or "group".
func (n *ids) find(kind, name string) (uint32, error) {
	if id, err := strconv.ParseUint(name, 10, 32); err == nil && id != aclNoID {
		return uint32(id), nil
	}
	key := kind + ":" + name
	if id, ok := n.known[key]; ok {
		return id, nil
	}
	text := ""
	if kind == "user" {
		u, err := user.Lookup(name)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errACL, err)
		}
		text = u.Uid
	} else {
		g, err := user.LookupGroup(name)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errACL, err)
		}
		text = g.Gid
	}
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errACL, err)
	}
	if n.known == nil || len(n.known) >= maxIDs {
		n.known = map[string]uint32{}
	}
	n.known[key] = uint32(id)
	return uint32(id), nil
}

// binaryACL is an ACL as Linux keeps it, out of the text of a pax header: entries such as "user:bin:r-x", one a line or with
// commas between. star and libarchive add the number to the name, in a fourth field.
func (n *ids) binaryACL(text string) (string, error) {
	var all []aclEntry
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == ',' }) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		e, err := n.entry(line)
		if err != nil {
			return "", err
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b aclEntry) int { return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id)) })
	for i, e := range all {
		if i > 0 && e.tag == all[i-1].tag && e.id == all[i-1].id {
			return "", errACL // two that may differ
		}
	}
	b := binary.LittleEndian.AppendUint32(nil, 2) // the version
	for _, e := range all {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return string(b), nil
}

// entry parses one.
func (n *ids) entry(line string) (aclEntry, error) {
	e := aclEntry{id: aclNoID}
	f := strings.Split(line, ":")
	kind := ""
	switch f[0] {
	case "user", "u":
		kind, e.tag = "user", aclUserObj
	case "group", "g":
		kind, e.tag = "group", aclGroupObj
	case "mask", "m":
		e.tag = aclMask
	case "other", "o":
		e.tag = aclOther
	default:
		return e, errACL
	}
	if kind == "" && len(f) == 2 { // "mask:r-x": these have nobody to name
		f = []string{f[0], "", f[1]}
	}
	if len(f) != 3 && len(f) != 4 || kind == "" && f[1] != "" {
		return e, errACL
	}
	for _, c := range f[2] {
		bit := map[rune]uint16{'r': 4, 'w': 2, 'x': 1, '-': 0}
		p, ok := bit[c]
		if !ok {
			return e, errACL
		}
		e.perm |= p
	}
	if f[1] == "" {
		return e, nil
	}
	e.tag <<= 1 // of one user, of one group
	name := unquote(f[1])
	if len(f) == 4 {
		name = f[3]
	}
	var err error
	e.id, err = n.find(kind, name)
	return e, err
}

// unquote takes back what libacl makes of blanks and the like in a name: a backslash and three octal digits.
func unquote(s string) string {
	var b strings.Builder
	for ; s != ""; s = s[1:] {
		if s[0] == '\\' && len(s) >= 4 {
			if c, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				s = s[3:]
				continue
			}
		}
		b.WriteByte(s[0])
	}
	return b.String()
}
