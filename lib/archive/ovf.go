package archive

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/verify"
)

// maxDepth is how deep elements of a description may lie in each other. The specification's go to about ten.
const maxDepth = 64

// maxDisks bounds the lists of a description; a machine has at most some hundred disks.
const maxDisks = 1000

// A description is what an OVF descriptor tells about disks.
type description struct {
	name  string
	files map[string]ovfFile // by ID
	disks []ovfDisk
}

type ovfFile struct {
	href, compression string
	chunked           bool
	size              int64
}

type ovfDisk struct {
	id, fileRef, parentRef string
	capacity               string // with its unit, for people
}

// parseOVF reads a descriptor. Only what its elements and attributes are called matters, not their name spaces, as those
// changed with the versions. A document type, which could have entities, is refused.
func parseOVF(name string, b []byte) (*description, error) {
	d := &description{name: name, files: map[string]ovfFile{}}
	dec := xml.NewDecoder(bytes.NewReader(b))
	dec.CharsetReader = func(charset string, _ io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("encoding %.40q: %w", charset, errdef.ErrUnsupported)
	}
	var stack []string
	for {
		tok, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, d.wrong(dec, "%v", err)
		}
		switch t := tok.(type) {
		case xml.Directive:
			return nil, d.wrong(dec, "a document type is not allowed")
		case xml.StartElement:
			if len(stack) == 0 && t.Name.Local != "Envelope" {
				return nil, d.wrong(dec, "the root is %.40q, not Envelope", t.Name.Local)
			}
			if len(stack) == maxDepth {
				return nil, d.wrong(dec, "elements lie more than %d deep", maxDepth)
			}
			stack = append(stack, t.Name.Local)
			if err := d.element(strings.Join(stack[max(0, len(stack)-2):], "/"), t); err != nil {
				return nil, d.wrong(dec, "%v", err)
			}
		case xml.EndElement:
			if len(stack) == 0 || stack[len(stack)-1] != t.Name.Local {
				return nil, d.wrong(dec, "element %.40q ends where it does not begin", t.Name.Local)
			}
			stack = stack[:len(stack)-1]
		}
	}
	if len(stack) > 0 || len(d.files)+len(d.disks) == 0 {
		return nil, d.wrong(dec, "it ends early, or has no disks")
	}
	return d, nil
}

func (d *description) wrong(dec *xml.Decoder, format string, args ...any) error {
	line, _ := dec.InputPos()
	return fmt.Errorf("archive: %s, line %d: %s: %w", d.name, line, fmt.Sprintf(format, args...), errdef.ErrCorrupt)
}

// element takes an element that tells something about disks; where is it with its parent.
func (d *description) element(where string, t xml.StartElement) error {
	attr := func(name string) string {
		for _, a := range t.Attr {
			if a.Name.Local == name && a.Name.Space != "xmlns" {
				return a.Value
			}
		}
		return ""
	}
	if len(d.files) == maxDisks || len(d.disks) == maxDisks {
		return fmt.Errorf("more than %d files or disks", maxDisks)
	}
	switch where {
	case "References/File":
		id := attr("id")
		if _, ok := d.files[id]; ok || id == "" {
			return fmt.Errorf("file ID %.60q is empty, or there twice", id)
		}
		f := ovfFile{href: attr("href"), compression: attr("compression"), chunked: attr("chunkSize") != "", size: -1}
		if n, err := strconv.ParseInt(attr("size"), 10, 64); err == nil && n >= 0 {
			f.size = n
		}
		d.files[id] = f
	case "DiskSection/Disk":
		capacity := attr("capacity")
		if unit := attr("capacityAllocationUnits"); unit != "" && unit != "byte" {
			capacity += " × " + unit
		}
		d.disks = append(d.disks, ovfDisk{id: attr("diskId"), fileRef: attr("fileRef"), parentRef: attr("parentRef"), capacity: capacity})
	}
	return nil
}

// disk returns the name of the file that holds the disk that is meant.
func (d *description) disk(want string) (string, error) {
	var list []candidate
	var disks []ovfDisk
	for _, x := range d.disks {
		if x.fileRef == "" {
			continue // blank: made by whoever makes the machine
		}
		f, ok := d.files[x.fileRef]
		if !ok {
			return "", fmt.Errorf("archive: %s: disk %.60q refers to file %.60q, which is not there: %w", d.name, x.id, x.fileRef, errdef.ErrCorrupt)
		}
		name := clean(f.href)
		list = append(list, candidate{names: []string{name, path.Base(name), x.id, x.fileRef}, size: f.size, note: "capacity " + x.capacity})
		disks = append(disks, x)
	}
	if len(list) == 0 {
		return "", fmt.Errorf("archive: %s names no disk that has a file: %w", d.name, errdef.ErrUnsupported)
	}
	i, err := choose(list, want)
	if err != nil {
		return "", err
	}
	return d.fileOf(disks[i])
}

func (d *description) fileOf(x ovfDisk) (string, error) {
	f := d.files[x.fileRef]
	var what string
	switch {
	case x.parentRef != "":
		what = "is a delta of disk " + strconv.Quote(x.parentRef)
	case f.chunked:
		what = "is cut into pieces"
	case f.compression != "" && f.compression != "identity" && f.compression != "gzip":
		what = "is compressed by " + strconv.Quote(f.compression)
	case strings.Contains(f.href, "://") || clean(f.href) == "":
		what = "lies outside of the package, at " + strconv.Quote(f.href)
	default:
		return clean(f.href), nil
	}
	return "", errdef.WithHint(fmt.Errorf("archive: %s: disk %.60q %.200s: %w", d.name, x.id, what, errdef.ErrUnsupported),
		"import the machine where it came from, and export it again as one OVA with whole disks")
}

// A manifest has the digests of a package's files by their names.
type manifest struct {
	name    string
	digests map[string]verify.Digest
}

// parseManifest reads lines as "SHA256(disk.vmdk)= 5e88…".
func parseManifest(name string, b []byte) (*manifest, error) {
	m := &manifest{name: name, digests: map[string]verify.Digest{}}
	no := 0
	for line := range bytes.Lines(b) {
		no++
		s := strings.TrimSpace(string(line))
		if s == "" {
			continue
		}
		file, d, err := manifestLine(s)
		if err != nil {
			return nil, fmt.Errorf("archive: manifest %s, line %d: %w: %w", name, no, err, errdef.ErrCorrupt)
		}
		if was, ok := m.digests[file]; ok && was != d {
			return nil, fmt.Errorf("archive: manifest %s, line %d: %q is there twice: %w", name, no, file, errdef.ErrCorrupt)
		}
		m.digests[file] = d
	}
	return m, nil
}

func manifestLine(s string) (string, verify.Digest, error) {
	alg, rest, ok := strings.Cut(s, "(")
	i := strings.LastIndexByte(rest, ')')
	if !ok || i < 0 {
		return "", verify.Digest{}, fmt.Errorf("%.100q is no digest", s)
	}
	file, sum := rest[:i], strings.TrimSpace(rest[i+1:])
	if sum, ok = strings.CutPrefix(sum, "="); !ok {
		return "", verify.Digest{}, fmt.Errorf("%.100q is no digest", s)
	}
	alg = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(alg)), "-", "")
	d, err := verify.ParseDigest(alg + ":" + strings.TrimSpace(sum))
	if err == nil && alg == "md5" {
		err = errors.New("md5 proves nothing")
	}
	if err != nil {
		return "", d, fmt.Errorf("digest of %.60q: %s", file, err.Error())
	}
	return clean(file), d, nil
}

// digest is that of a file, which a manifest must have.
func (m *manifest) digest(file string) (verify.Digest, error) {
	if m == nil {
		return verify.Digest{}, nil
	}
	d, ok := m.digests[file]
	if !ok {
		return d, fmt.Errorf("archive: manifest %s has no digest of %q: %w", m.name, file, errdef.ErrCorrupt)
	}
	return d, nil
}

// check compares content in memory with its digest.
func (m *manifest) check(file string, content []byte) error {
	d, err := m.digest(file)
	if err != nil || d.IsZero() {
		return err
	}
	h := d.Hash()
	h.Write(content)
	if err := d.Check(h.Sum(nil)); err != nil {
		return fmt.Errorf("archive: %s: %w", file, err)
	}
	return nil
}

// manifestOf is the name of a description's manifest.
func manifestOf(description string) string {
	return strings.TrimSuffix(description, path.Ext(description)) + ".mf"
}
