// Package archive finds the disk in a tar: an OVF package (OVA), whose description names the disks, or any other tar with
// one disk in it.
//
// Nothing is ever extracted by a name that the archive has: the disk becomes a window of the archive where that can be read
// out of order ([Find], [Window]), and a part of the stream where it cannot ([NewStream]).
//
// It follows the Open Virtualization Format Specification, DSP0243 1.1.1 and 2.1.1 (sections OVF package structure, Virtual
// machine images, Virtual disk collection section), and reads tars as package archive/tar does: POSIX ustar and pax, GNU.
// Manifests are checked, certificates are not.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/verify"
)

// Bounds. A description of one machine has some 10 KiB, and its manifest a line for each file. Made of nothing but
// attributes, a description takes fifty times its length in memory.
const (
	maxDescription = 1 << 20
	maxManifest    = 1 << 20
	maxMembers     = 10_000
	maxName        = 4096 // PATH_MAX
	maxListed      = 20   // names in a message
)

// Options say which disk is meant. The zero value is useful.
type Options struct {
	// Disk is the name of a disk or its number, from 1, in the order of the description, or of the archive where there is
	// none. A disk's names are its ID, and the name of its file with and without folders. Empty: the only one.
	Disk string
}

// A Disk is a disk in an archive.
type Disk struct {
	// Name of its file, as the archive has it.
	Name string
	// Offset of its bytes in the archive; -1 in a stream.
	Offset int64
	// Size is how many bytes are stored.
	Size int64
	// Digest of the stored bytes that the manifest has; zero without a manifest.
	Digest verify.Digest
}

// A member is a regular file of the archive.
type member struct {
	name   string // cleaned
	offset int64
	size   int64
	sparse bool
}

// files goes through the regular files of a tar.
type files struct {
	tr   *tar.Reader
	pos  func() int64 // of what tr reads from
	end  int64        // of the last file, with its padding
	seen map[string]bool
	n    int
}

func newFiles(r io.Reader, pos func() int64) *files {
	return &files{tr: tar.NewReader(r), pos: pos, seen: map[string]bool{}}
}

// next returns the next regular file, or io.EOF.
func (f *files) next() (member, error) {
	for {
		h, err := f.tr.Next()
		if errors.Is(err, tar.ErrInsecurePath) {
			err = nil // names lead nowhere here
		}
		if errors.Is(err, io.EOF) {
			if f.pos() <= f.end {
				return member{}, fmt.Errorf("archive: the tar ends at %d without its end mark: %w", f.pos(), errdef.ErrCorrupt)
			}
			return member{}, io.EOF
		}
		if err != nil {
			return member{}, f.wrong(err)
		}
		if f.n++; f.n > maxMembers {
			return member{}, fmt.Errorf("archive: more than %d members: %w", maxMembers, errdef.ErrLimit)
		}
		if len(h.Name) > maxName {
			return member{}, fmt.Errorf("archive: member %.40q… has a name of %d bytes, more than %d: %w", h.Name, len(h.Name), maxName, errdef.ErrLimit)
		}
		m := member{name: clean(h.Name), offset: f.pos(), size: h.Size, sparse: isSparse(h)}
		f.end = m.offset
		if h.Typeflag != tar.TypeReg && !m.sparse {
			continue
		}
		if !m.sparse {
			f.end = m.offset + (m.size+511)&^511
		}
		if f.end < m.offset {
			return member{}, fmt.Errorf("archive: member %q has %d bytes: %w", m.name, m.size, errdef.ErrCorrupt)
		}
		if f.seen[m.name] {
			return member{}, fmt.Errorf("archive: member %q is there twice: %w", m.name, errdef.ErrCorrupt)
		}
		f.seen[m.name] = true
		return m, nil
	}
}

// wrong is an error of the tar reader: what it does not like itself is corrupt.
func (f *files) wrong(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("archive: tar, at %d: %w: %w", f.pos(), err, errdef.ErrCorrupt)
	}
	return err
}

// read reads a small member; what names it.
func (f *files) read(m member, most int64, what string) ([]byte, error) {
	if m.size > most {
		return nil, fmt.Errorf("archive: %s %q has %d bytes, more than %d: %w", what, m.name, m.size, most, errdef.ErrLimit)
	}
	if m.sparse {
		return nil, m.refuseSparse()
	}
	b := make([]byte, m.size)
	if _, err := io.ReadFull(f.tr, b); err != nil {
		return nil, f.wrong(err)
	}
	return b, nil
}

func (m member) refuseSparse() error {
	return errdef.WithHint(fmt.Errorf("archive: member %q is stored as a sparse file: %w", m.name, errdef.ErrUnsupported),
		"unpack it first (tar xf) and import the disk inside")
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// clean is a member's name as the description may have it.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

func isDescription(name string) bool { return strings.EqualFold(path.Ext(name), ".ovf") }

func isManifest(name string) bool { return strings.EqualFold(path.Ext(name), ".mf") }

// A candidate is something that Options.Disk may mean.
type candidate struct {
	names []string // the first is the file's
	size  int64    // stored; -1 not known
	note  string   // for people
}

// choose returns which candidate is meant.
func choose(list []candidate, disk string) (int, error) {
	if disk == "" {
		if len(list) == 1 {
			return 0, nil
		}
		return 0, errdef.WithHint(fmt.Errorf("archive: %d disks, and it was not said which: %s: %w", len(list), listed(list), errdef.ErrUsage),
			"choose one by its name or number: --disk "+fmt.Sprintf("%.100q", list[0].names[0]))
	}
	for i, c := range list {
		for _, n := range c.names {
			if n == disk {
				return i, nil
			}
		}
	}
	if n, err := strconv.Atoi(disk); err == nil && n >= 1 && n <= len(list) {
		return n - 1, nil
	}
	return 0, errdef.WithHint(fmt.Errorf("archive: no disk %.100q; there is %s: %w", disk, listed(list), errdef.ErrUsage), "give --disk one of these names or numbers")
}

func listed(list []candidate) string {
	var b strings.Builder
	for i, c := range list {
		if i > 0 {
			b.WriteString("; ")
		}
		if i == maxListed {
			fmt.Fprintf(&b, "%d more", len(list)-i)
			break
		}
		fmt.Fprintf(&b, "%d %.100q", i+1, c.names[0])
		if c.size >= 0 {
			fmt.Fprintf(&b, " (%d bytes)", c.size)
		}
		if c.note != "" {
			fmt.Fprintf(&b, " (%.60s)", c.note)
		}
	}
	return b.String()
}
