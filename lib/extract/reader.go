package extract

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/limits"
)

// Bounds of one member. Whoever needs more of a name than PATH_MAX could not open the file afterwards.
const (
	maxName = 4096
	maxPax  = 16 << 20 // a sparse map of half a million pieces, or hundreds of the largest attributes
	// maxBehind is how many zeros may follow the end mark: tar fills up to a record, of 10 KiB unless asked for more.
	maxBehind = 64 << 20
)

// The kinds of members, by the letters of the format.
const (
	kindFile    = '0'
	kindLink    = '1'
	kindSymlink = '2'
	kindChar    = '3'
	kindBlock   = '4'
	kindFolder  = '5'
	kindFifo    = '6'
)

// A header is what an archive says of a member.
type header struct {
	name, link   string
	kind         byte
	mode         int64
	uid, gid     int64
	mtime, atime time.Time // atime is zero where it is not told
	stored       int64     // bytes in the archive
	size         int64     // bytes of the file
	holes        bool      // pieces say where what is stored belongs
	pieces       []piece
	xattrs       []xattr
	acls         []xattr  // as text; one in xattrs, as Linux has it, comes before
	lost         int      // attributes of kinds that are not kept
	sparse       []record // what pax says of a map
	sparseName   string
}

// A reader goes through a tar in order. It knows what archive/tar knows, and tells where a sparse file has its holes, which
// that one does not: a file of a terabyte of nothing would take minutes of reading zeros. It is strict where programs
// that read tars disagree, because one of them has looked at the archive and found it harmless.
type reader struct {
	r       io.Reader
	limits  limits.Limits
	pos     int64
	content int64 // of the member, not read so far
	pad     int64
	name    string // of the member
	global  []record
}

func newReader(r io.Reader, l limits.Limits) *reader { return &reader{r: r, limits: l} }

// Detect says whether content that begins with head is a tar: nil if it is.
func Detect(head []byte) error {
	var b block
	if copy(b[:], head) == blockSize && (b.sound() || b.blank()) {
		return nil
	}
	return errdef.WithHint(fmt.Errorf("content is no tar: it begins with %.16q: %w", head[:min(len(head), 16)], errdef.ErrUnsupported),
		"an archive is a tar, alone or in gzip, xz, zstd or bzip2; a disk image is imported without --content archive")
}

// next goes to the next member; io.EOF behind the last.
func (t *reader) next() (*header, error) {
	if err := t.skip(); err != nil {
		return nil, err
	}
	at := t.pos
	h, err := t.member()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("tar, member at %d: %w", at, err)
	}
	return h, err
}

// Read reads the content of the member: of a sparse file, its pieces.
func (t *reader) Read(p []byte) (int, error) {
	if t.content == 0 {
		return 0, io.EOF
	}
	n, err := t.r.Read(p[:min(int64(len(p)), t.content)])
	t.pos, t.content = t.pos+int64(n), t.content-int64(n)
	if errors.Is(err, io.EOF) {
		if err = nil; t.content > 0 {
			err = fmt.Errorf("tar: it ends at %d, inside of %.200q: %w", t.pos, t.name, errdef.ErrCorrupt)
		}
	}
	return n, err
}

// skip goes to the end of the member.
func (t *reader) skip() error {
	if _, err := io.Copy(io.Discard, t); err != nil {
		return err
	}
	var b block
	err := t.full(b[:t.pad])
	t.pad = 0
	return err
}

// full reads all of p.
func (t *reader) full(p []byte) error {
	n, err := io.ReadFull(t.r, p)
	t.pos += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the tar ends at %d, without its end mark: %w", t.pos, errdef.ErrCorrupt)
	}
	return err
}

func (t *reader) block(b *block) error { return t.full(b[:]) }

// headerBlock reads a block that must be a header; io.EOF at the end mark.
func (t *reader) headerBlock(b *block) error {
	if err := t.block(b); err != nil {
		return err
	}
	if b.blank() {
		return t.end()
	}
	if !b.sound() {
		return fmt.Errorf("block at %d is no header of a tar, or damaged: %w", t.pos-blockSize, errdef.ErrCorrupt)
	}
	return nil
}

// end is called behind the first block of the end mark, and reads all that there is behind it, which must be zeros: an
// archive behind the archive is not seen by every program, nor what was appended to it.
func (t *reader) end() error {
	buf := make([]byte, 32<<10)
	for start, empty := t.pos, 0; ; {
		n, err := t.r.Read(buf)
		t.pos += int64(n)
		switch {
		case len(bytes.Trim(buf[:n], "\x00")) > 0:
			return errdef.WithHint(fmt.Errorf("something follows the end mark, near %d: %w", t.pos, errdef.ErrCorrupt), "are these several archives in one file? Unpack one at a time")
		case t.pos-start > maxBehind:
			return fmt.Errorf("more than %d zeros follow the end mark: %w", maxBehind, errdef.ErrLimit)
		case errors.Is(err, io.EOF):
			if (t.pos-start)%blockSize != 0 {
				return fmt.Errorf("the tar ends at %d, inside of its end mark: %w", t.pos, errdef.ErrCorrupt)
			}
			return io.EOF
		case err != nil:
			return err
		case n > 0:
			empty = 0
		default:
			if empty++; empty >= 100 {
				return io.ErrNoProgress
			}
		}
	}
}

// member reads the headers of a member.
func (t *reader) member() (*header, error) {
	var b block
	var own []record
	var long, longLink string
	for seen := (map[byte]bool{}); ; {
		if err := t.headerBlock(&b); err != nil {
			if errors.Is(err, io.EOF) && len(seen) > 0 {
				return nil, fmt.Errorf("a header about a member that is not there: %w", errdef.ErrCorrupt)
			}
			return nil, err
		}
		kind := b[156]
		if !strings.ContainsRune("xgLK", rune(kind)) {
			break
		}
		if seen[kind] && kind != 'g' {
			return nil, fmt.Errorf("two headers of type %q about one member: %w", kind, errdef.ErrCorrupt)
		}
		if kind != 'g' {
			seen[kind] = true
		}
		if err := t.about(&b, kind, &own, &long, &longLink); err != nil {
			return nil, err
		}
	}
	h, err := t.header(&b, own, long, longLink)
	if err != nil {
		if h != nil && h.name != "" {
			err = fmt.Errorf("%.200q: %w", h.name, err)
		}
		return nil, err
	}
	t.name, t.content, t.pad = h.name, h.stored, -h.stored&(blockSize-1)
	return h, nil
}

// about reads a header that says something of the members behind it.
func (t *reader) about(b *block, kind byte, own *[]record, long, longLink *string) error {
	most := int64(maxPax)
	if kind == 'L' || kind == 'K' {
		most = maxName + 1
	}
	n, err := b.field("size", 124, 136)
	if err != nil {
		return err
	}
	if n < 0 || n > most {
		return fmt.Errorf("a header of type %q has %d bytes, above the limit of %d: %w", kind, n, most, errdef.ErrLimit)
	}
	t.name, t.content, t.pad = "a header of type "+string(kind), n, -n&(blockSize-1)
	text, err := io.ReadAll(t) // grows with what is there, whatever the size says
	if err == nil {
		err = t.skip()
	}
	if err != nil {
		return err
	}
	switch kind {
	case 'L', 'K':
		name, rest, _ := bytes.Cut(text, []byte{0})
		if len(bytes.Trim(rest, "\x00")) > 0 {
			return fmt.Errorf("long name %.60q has a zero byte: %w", text, errdef.ErrCorrupt)
		}
		if kind == 'L' {
			*long = string(name)
		} else {
			*longLink = string(name)
		}
		return nil
	case 'x':
		*own, err = records(text)
		return err
	}
	rs, err := records(text)
	if err != nil {
		return err
	}
	return t.addGlobal(rs)
}

// addGlobal takes records about all members to come. What belongs to one member cannot be said of all.
func (t *reader) addGlobal(rs []record) error {
	for _, r := range rs {
		switch {
		case r.key == "path" || r.key == "linkpath" || r.key == "size" || strings.HasPrefix(r.key, "GNU.sparse."):
			return fmt.Errorf("global pax record %q: %w", r.key, errdef.ErrUnsupported)
		case slices.ContainsFunc([]string{"SCHILY.xattr.", "SCHILY.acl.", "RHT.", "LIBARCHIVE."}, func(p string) bool { return strings.HasPrefix(r.key, p) }):
			return fmt.Errorf("global pax record %.60q: %w", r.key, errdef.ErrUnsupported)
		}
		t.global = slices.DeleteFunc(t.global, func(g record) bool { return g.key == r.key })
		if len(t.global) >= maxGlobal {
			return fmt.Errorf("more than %d global pax records: %w", maxGlobal, errdef.ErrLimit)
		}
		t.global = append(t.global, r)
	}
	return nil
}

// maxGlobal is many times what POSIX has keys for.
const maxGlobal = 100

// header puts together what was said of a member.
func (t *reader) header(b *block, own []record, long, longLink string) (*header, error) {
	h := &header{name: b.name(), link: b.link(), kind: b[156]}
	var mtime int64
	var err error
	for _, f := range []struct {
		what     string
		from, to int
		into     *int64
	}{
		{"mode", 100, 108, &h.mode}, {"uid", 108, 116, &h.uid}, {"gid", 116, 124, &h.gid}, {"size", 124, 136, &h.stored}, {"mtime", 136, 148, &mtime},
	} {
		if *f.into, err = b.field(f.what, f.from, f.to); err != nil {
			return h, err
		}
	}
	h.mtime = time.Unix(mtime, 0)
	if long != "" {
		h.name = long
	}
	if longLink != "" {
		h.link = longLink
	}
	if err := h.apply(t.global); err != nil {
		return h, err
	}
	if err := h.apply(own); err != nil {
		return h, err
	}
	return h, t.settle(h, b)
}

// settle checks h, and finds out its kind and size.
func (t *reader) settle(h *header, b *block) error {
	const ids = 1<<32 - 2 // the highest is no ID, but means "do not change"
	if h.sparseName != "" {
		h.name = h.sparseName
	}
	switch {
	case h.name == "":
		return fmt.Errorf("a member of type %q without a name: %w", h.kind, errdef.ErrCorrupt)
	case len(h.name) > maxName || len(h.link) > maxName:
		return fmt.Errorf("a name of %d bytes and a link of %d: the limit is %d: %w", len(h.name), len(h.link), maxName, errdef.ErrLimit)
	case h.stored < 0 || h.stored > 1<<62:
		return fmt.Errorf("a size of %d: %w", h.stored, errdef.ErrCorrupt)
	case h.uid < 0 || h.gid < 0 || h.uid > ids || h.gid > ids:
		return fmt.Errorf("owner %d:%d: %w", h.uid, h.gid, errdef.ErrCorrupt)
	case h.mode < 0:
		return fmt.Errorf("mode %d: %w", h.mode, errdef.ErrCorrupt)
	}
	isFolder := strings.HasSuffix(h.name, "/")
	switch h.kind {
	case 0, '0', '7':
		h.kind = kindFile
		if isFolder { // before ustar there was no other way to say so
			h.kind = kindFolder
		}
	case 'S':
		h.kind = kindFile
		if len(h.sparse) > 0 {
			return fmt.Errorf("a sparse file with two maps: %w", errdef.ErrCorrupt)
		}
		return t.oldSparse(h, b)
	case kindLink:
		h.stored = 0 // some programs write the size of the file that it is a link to; none stores it
	case kindSymlink, kindChar, kindBlock, kindFolder, kindFifo:
	default:
		return fmt.Errorf("a member of type %q: %w", h.kind, errdef.ErrUnsupported)
	}
	if h.kind != kindFile {
		if h.stored != 0 || len(h.sparse) > 0 {
			return fmt.Errorf("a member of type %q with a content of %d bytes: %w", h.kind, h.stored, errdef.ErrCorrupt)
		}
		return nil
	}
	if h.size = h.stored; len(h.sparse) > 0 {
		return t.paxSparse(h)
	}
	return nil
}
