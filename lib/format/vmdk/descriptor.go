package vmdk

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cdictl/cdictl/lib/errdef"
)

const (
	// maxDescriptor bounds a descriptor that is a file: 40,000 lines of 100 bytes. QEMU reads 1 MiB, and ignores the rest.
	maxDescriptor = 4 << 20
	// maxExtents is a disk of 64 TiB in pieces of 2 GB, and some more.
	maxExtents = 40_000
	maxName    = 255 // bytes, as in file systems
	noParent   = math.MaxUint32
)

// A descriptor is the text that says what a disk is made of ("The Descriptor File").
type descriptor struct {
	version          int
	cid, parentCID   uint32
	createType       string
	parent           string // parentFileNameHint
	encrypted        string // the key that says so; empty: it is not
	extents          []extentLine
	seen             map[string]bool
	haveCID, haveTop bool
}

// An extentLine is a line of the extent description.
type extentLine struct {
	access  string
	sectors int64
	kind    string
	name    string
	offset  int64 // sectors, for FLAT
}

// MatchDescriptor reports whether a file that begins with head is a descriptor: "# Disk DescriptorFile", in whatever case,
// after comments and blank lines; or a text without that title whose first statement is the version, as QEMU takes it.
func MatchDescriptor(head []byte) bool {
	if i := bytes.IndexByte(head, 0); i >= 0 {
		head = head[:i]
	}
	for line := range bytes.Lines(head) {
		line = bytes.TrimSpace(line)
		switch {
		case bytes.EqualFold(line, []byte("# Disk DescriptorFile")):
			return true
		case len(line) == 0 || line[0] == '#':
		default:
			s := string(line)
			return s == "version=1" || s == "version=2" || s == "version=3"
		}
	}
	return false
}

// parseDescriptor reads a descriptor up to its end or the first zero byte. Keys that it does not know are passed over;
// a line that is nothing known is an error, as it may be an extent.
func parseDescriptor(b []byte) (*descriptor, error) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	d := &descriptor{seen: map[string]bool{}, parentCID: noParent}
	no := 0
	for line := range bytes.Lines(b) {
		no++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if err := d.line(string(line)); err != nil {
			return nil, fmt.Errorf("vmdk: descriptor, line %d: %w", no, err)
		}
	}
	switch {
	case len(d.seen) == 0 && len(d.extents) == 0:
		return nil, corrupt("the descriptor is empty: nothing but %d bytes of comments and blanks", len(b))
	case !d.haveCID || !d.haveTop:
		return nil, corrupt("the descriptor of %d bytes lacks CID or parentCID", len(b))
	case d.createType == "":
		return nil, corrupt("the descriptor of %d bytes lacks createType", len(b))
	case len(d.extents) == 0:
		return nil, corrupt("the descriptor of %d bytes names no extents", len(b))
	}
	return d, nil
}

func (d *descriptor) line(s string) error {
	word, rest := cutWord(s)
	switch strings.ToUpper(word) {
	case "RW", "RDONLY", "NOACCESS":
		x, err := parseExtent(word, rest)
		if err != nil {
			return err
		}
		if len(d.extents) == maxExtents {
			return fmt.Errorf("more than %d extents: %w", maxExtents, errdef.ErrLimit)
		}
		d.extents = append(d.extents, x)
		return nil
	}
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("%.100q is no comment, no key and no extent: %w", s, errdef.ErrCorrupt)
	}
	return d.set(strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value))
}

// set takes the value of a key, in lower case, that tells something about the disk.
func (d *descriptor) set(key, value string) error {
	value, err := unquote(value)
	if err != nil {
		return err
	}
	switch key {
	case "version", "cid", "parentcid", "createtype", "parentfilenamehint":
		if d.seen[key] {
			return fmt.Errorf("%s is there twice: %w", key, errdef.ErrCorrupt)
		}
		d.seen[key] = true
	}
	switch key {
	case "version":
		d.version, err = strconv.Atoi(value)
		if err != nil || d.version < 1 {
			return fmt.Errorf("version %.40q: %w", value, errdef.ErrCorrupt)
		}
	case "cid":
		d.haveCID = true
		d.cid, err = parseCID(value)
	case "parentcid":
		d.haveTop = true
		d.parentCID, err = parseCID(value)
	case "createtype":
		d.createType = value
	case "parentfilenamehint":
		d.parent = value
	case "encryptionkeys", "datafilekey":
		d.encrypted = key
	case "ddb.iofilters":
		if strings.Contains(value, "vmwarevmcrypt") {
			d.encrypted = key
		}
	}
	return err
}

func parseCID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("content ID %.40q: %w", s, errdef.ErrCorrupt)
	}
	return uint32(n), nil
}

func unquote(s string) (string, error) {
	if !strings.HasPrefix(s, `"`) {
		return s, nil
	}
	s, rest, ok := strings.Cut(s[1:], `"`)
	if !ok || strings.TrimSpace(rest) != "" {
		return "", fmt.Errorf("quotes in %.100q: %w", s, errdef.ErrCorrupt)
	}
	return s, nil
}

// cutWord splits s at its first blanks.
func cutWord(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeft(s[i:], " \t")
}

// parseExtent reads what follows the access in a line such as
//
//	RW 4192256 FLAT "disk-f001.vmdk" 0
func parseExtent(access, s string) (extentLine, error) {
	x := extentLine{access: access}
	fail := func(what string) (extentLine, error) {
		return x, fmt.Errorf("extent with %s in %.100q: %w", what, access+" "+s, errdef.ErrCorrupt)
	}
	number, rest := cutWord(s)
	var err error
	if x.sectors, err = strconv.ParseInt(number, 10, 64); err != nil || x.sectors <= 0 || x.sectors > math.MaxInt64/sector {
		return fail("a wrong size")
	}
	x.kind, rest = cutWord(rest)
	if rest == "" {
		return x, nil // ZERO has no file
	}
	if rest[0] != '"' {
		return fail("a name without quotes")
	}
	var ok bool
	if x.name, rest, ok = strings.Cut(rest[1:], `"`); !ok {
		return fail("a name that does not end")
	}
	rest = strings.TrimSpace(rest)
	if x.kind != "FLAT" {
		if rest != "" && isData(x.kind) {
			return fail("more than a name")
		}
		return x, nil
	}
	if x.offset, err = strconv.ParseInt(rest, 10, 64); err != nil || x.offset < 0 || x.offset > math.MaxInt64/sector-x.sectors {
		return fail("a wrong offset")
	}
	return x, nil
}

// isData reports whether an extent of that kind is read by this package.
func isData(kind string) bool {
	switch kind {
	case "FLAT", "VMFS", "SPARSE", "VMFSSPARSE", "SESPARSE":
		return true
	}
	return false
}

// delta reports whether the disk has a parent.
func (d *descriptor) delta() bool { return d.parentCID != noParent || d.parent != "" }

// readable refuses what this package cannot read, wherever the descriptor stands; parent says that a delta can be.
func (d *descriptor) readable(parent bool) error {
	switch {
	case d.version > 3:
		return unsupported("descriptor version %d, known are 1 to 3", d.version)
	case d.encrypted != "":
		return errdef.WithHint(unsupported("the disk is encrypted: its descriptor has %q", d.encrypted), "decrypt the virtual machine in VMware first")
	case d.delta() && parent && d.parent != "":
	case d.delta():
		return errdef.WithHint(unsupported("the disk is a delta of the parent %q (CID %08x)", d.parent, d.parentCID),
			"flatten it first: delete the snapshots, or qemu-img convert -O qcow2 x.vmdk flat.qcow2 (or --allow-backing DIR)")
	}
	return nil
}

// multiple refuses what this package cannot read in a descriptor that is a file.
func (d *descriptor) multiple() error {
	switch d.createType {
	case "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "vmfs", "vmfsSparse", "seSparse":
	default:
		return errdef.WithHint(unsupported("a disk of type %.60q is not read", d.createType), "convert it first: vmware-vdiskmanager -r IN -t 0 OUT")
	}
	if d.version == 0 {
		return corrupt("the descriptor has no version")
	}
	for i := range d.extents {
		if err := d.extents[i].check(); err != nil {
			return fmt.Errorf("vmdk: extent %d: %w", i+1, err)
		}
	}
	return nil
}

// check refuses an extent that cannot be read, and a name that is no plain file in the descriptor's folder.
func (x *extentLine) check() error {
	switch {
	case x.access != "RW":
		return fmt.Errorf("access %s, only RW is read: %w", x.access, errdef.ErrUnsupported)
	case !isData(x.kind):
		return fmt.Errorf("type %.40q is not read: %w", x.kind, errdef.ErrUnsupported)
	}
	return checkName(x.name)
}

// checkName takes the name of a file that lies in the folder of the descriptor, and nothing else.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == ".." || len(name) > maxName:
		return fmt.Errorf("file name %.300q: %w", name, errdef.ErrCorrupt)
	case strings.ContainsAny(name, `/\:`):
		return errdef.WithHint(fmt.Errorf("file %q is not a plain name: %w", name, errdef.ErrRefused),
			"only files in the folder of the descriptor are read; move the file there and put its plain name into the descriptor")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return errdef.WithHint(fmt.Errorf("file name %q is not text in UTF-8: %w", name, errdef.ErrUnsupported),
			"rename the file, and put the name into the descriptor")
	}
	return nil
}

// sectors is the size of the disk; false if it is none.
func (d *descriptor) sectors() (int64, bool) {
	sum := int64(0)
	for i := range d.extents {
		n := d.extents[i].sectors
		if n > math.MaxInt64/sector-sum {
			return 0, false
		}
		sum += n
	}
	return sum, true
}
