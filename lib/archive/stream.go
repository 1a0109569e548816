package archive

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/verify"
)

// A Stream reads the disk's file out of an archive that comes in order. It is not safe for concurrent use.
type Stream struct {
	r     *counter
	f     *files
	o     Options
	d     Disk
	ovf   *description
	text  []byte // of the description
	mf    *manifest
	all   []candidate // of an archive without a description
	index int         // of the disk in all

	sums []sum // of what has passed of the disk; before the manifest is seen any may be asked for
	rest int64
	err  error // sticky
	done bool  // Finish has said that all is well
}

type sum struct {
	alg string
	h   hash.Hash
}

// counter counts what passes.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// NewStream reads r up to the disk. The description of an OVF package is its first member, as the specification demands;
// else the archive is one without.
func NewStream(r io.Reader, o Options) (*Stream, error) {
	s := &Stream{r: &counter{r: r}, o: o, index: -1}
	s.f = newFiles(s.r, func() int64 { return s.r.n })
	first := true
	for {
		m, err := s.f.next()
		if errors.Is(err, io.EOF) {
			return nil, s.notFound()
		}
		if err != nil {
			return nil, err
		}
		found, err := s.look(m, first)
		if err != nil {
			return nil, err
		}
		if found {
			return s, s.begin(m)
		}
		first = false
	}
}

// look takes a member before the disk, and says whether it is that.
func (s *Stream) look(m member, first bool) (bool, error) {
	switch {
	case first && isDescription(m.name):
		var err error
		if s.text, err = s.f.read(m, maxDescription, "description"); err != nil {
			return false, err
		}
		if s.ovf, err = parseOVF(m.name, s.text); err != nil {
			return false, err
		}
		s.d.Name, err = s.ovf.disk(s.o.Disk)
		return false, err
	case isDescription(m.name):
		return false, late(m)
	case s.ovf != nil && strings.EqualFold(m.name, manifestOf(s.ovf.name)):
		return false, s.readManifest(m)
	case s.ovf != nil:
		return m.name == s.d.Name, nil
	}
	s.all = append(s.all, candidate{names: []string{m.name, path.Base(m.name)}, size: m.size})
	if s.o.Disk == "" {
		return true, nil // and the only one, as Finish will see
	}
	i, err := choose(s.all, s.o.Disk)
	return err == nil && i == len(s.all)-1, nil
}

// late refuses a description that is not the first member.
func late(m member) error {
	return errdef.WithHint(fmt.Errorf("archive: the description %q is not the first member, so it comes too late in a stream: %w", m.name, errdef.ErrUnsupported),
		"download the archive and import the file")
}

func (s *Stream) notFound() error {
	switch {
	case s.ovf != nil:
		return missing(s.ovf, s.d.Name)
	case len(s.all) == 0:
		return errEmpty
	}
	_, err := choose(s.all, s.o.Disk)
	return err
}

func (s *Stream) readManifest(m member) error {
	b, err := s.f.read(m, maxManifest, "manifest")
	if err != nil {
		return err
	}
	if s.mf, err = parseManifest(m.name, b); err != nil {
		return err
	}
	return s.mf.check(s.ovf.name, s.text)
}

// begin is where the disk's bytes begin.
func (s *Stream) begin(m member) error {
	d, err := m.disk(s.mf)
	if err != nil {
		return err
	}
	d.Offset = -1
	s.d, s.rest, s.index = d, d.Size, len(s.all)-1
	algs := []string{"sha1", "sha256", "sha512"}
	switch {
	case !d.Digest.IsZero():
		algs = []string{d.Digest.Algorithm()}
	case s.ovf == nil:
		algs = nil
	}
	for _, alg := range algs {
		s.sums = append(s.sums, sum{alg, verify.NewHash(alg)})
	}
	return nil
}

// Disk is what is known of the disk. Its digest is zero as long as no manifest has passed.
func (s *Stream) Disk() Disk { return s.d }

// Read reads the disk's file. At its end the manifest's digest, if it is known by then, is checked.
func (s *Stream) Read(p []byte) (int, error) {
	if s.err != nil || len(p) == 0 {
		return 0, s.err
	}
	if s.rest == 0 {
		if s.err = s.check(); s.err == nil {
			s.err = io.EOF
		}
		return 0, s.err
	}
	n, err := s.f.tr.Read(p[:min(int64(len(p)), s.rest)])
	s.rest -= int64(n)
	for _, x := range s.sums {
		x.h.Write(p[:n])
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF) && s.rest > 0:
		s.err = fmt.Errorf("archive: it ends inside of %q: %w", s.d.Name, errdef.ErrCorrupt)
	case err != nil && !errors.Is(err, io.EOF):
		s.err = s.f.wrong(err)
	}
	return n, s.err
}

// check compares what has passed of the disk with the manifest's digest, if there is one.
func (s *Stream) check() error {
	if s.d.Digest.IsZero() {
		return nil
	}
	for _, x := range s.sums {
		if x.alg == s.d.Digest.Algorithm() {
			if err := s.d.Digest.Check(x.h.Sum(nil)); err != nil {
				return fmt.Errorf("archive: %s: %w", s.d.Name, err)
			}
			return nil
		}
	}
	return fmt.Errorf("archive: %s: digest %s was not made: %w", s.d.Name, s.d.Digest.Algorithm(), errdef.ErrUnsupported)
}

// Finish reads the archive to its end and checks what only the end tells: that the archive is whole, the digest of a
// manifest that comes behind the disk, and that there is no second disk if it was not said which is meant. It reads what
// was not read of the disk, too.
func (s *Stream) Finish() error {
	if s.done {
		return nil
	}
	if _, err := io.Copy(io.Discard, s); err != nil {
		return err
	}
	if err := s.finish(); err != nil {
		s.err = err
		return err
	}
	s.done = true
	return nil
}

func (s *Stream) finish() error {
	for {
		m, err := s.f.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch {
		case isDescription(m.name):
			return late(m)
		case s.ovf == nil:
			s.all = append(s.all, candidate{names: []string{m.name, path.Base(m.name)}, size: m.size})
		case strings.EqualFold(m.name, manifestOf(s.ovf.name)):
			if err := s.lateManifest(m); err != nil {
				return err
			}
		}
	}
	if s.ovf == nil && s.o.Disk == "" {
		if _, err := choose(s.all, ""); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, s.r)
	return err
}

func (s *Stream) lateManifest(m member) error {
	if err := s.readManifest(m); err != nil {
		return err
	}
	var err error
	if s.d.Digest, err = s.mf.digest(s.d.Name); err != nil {
		return err
	}
	return s.check()
}
