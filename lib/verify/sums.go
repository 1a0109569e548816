package verify

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Bounds of a checksum file: a mirror's list of a hundred thousand files fits, a disk given by mistake does not.
const (
	maxSums     = 16 << 20
	maxSumsLine = 64 << 10
)

// Sums finds the digest of the file called name in a checksum file: lines as GNU coreutils writes them ("hex  name",
// "hex *name", a leading backslash where the name is escaped), BSD lines ("SHA256 (name) = hex"), or a single digest
// alone. The lines of a PGP clear-signed message around them are passed over, and the signature is not checked; so is
// any line of another kind, and digests of other algorithms.
//
// A line with the whole name counts before one that has it behind a folder ("./name"). Of several algorithms the
// strongest is returned. Two digests of one algorithm that differ are ErrUsage, as is a list without the name; a
// file too large to be a list is ErrLimit. Errors of r are returned as they are.
func Sums(r io.Reader, name string) (Digest, error) {
	p := sumsParser{name: name, base: path.Base(name)}
	// One byte above the bound tells a file that is too large from one that just fits.
	in := &io.LimitedReader{R: r, N: maxSums + 1}
	lines := bufio.NewReaderSize(in, maxSumsLine)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		switch {
		case in.N <= 0:
			return Digest{}, notSums(fmt.Errorf("checksum file is larger than %d bytes: %w", maxSums, errdef.ErrLimit))
		case errors.Is(err, bufio.ErrBufferFull):
			return Digest{}, notSums(fmt.Errorf("line %d of the checksum file is longer than %d bytes: %w", n, maxSumsLine, errdef.ErrLimit))
		case err != nil && err != io.EOF:
			return Digest{}, err
		}
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff")) // as editors on Windows leave it
		}
		if perr := p.line(strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")); perr != nil {
			return Digest{}, perr
		}
		if err == io.EOF {
			return p.result()
		}
	}
}

func notSums(err error) error {
	return errdef.WithHint(err, "that does not look like a list of checksums; give the digest itself: --checksum sha256:HEX")
}

// A sumsParser takes lines one by one and keeps what may be the answer, so its memory does not grow with the list.
type sumsParser struct {
	name, base string

	signature bool // inside a PGP signature
	signed    bool // inside a PGP signed message, where lines may be dash-escaped

	exact, behind found    // digests under the whole name, and under a path that ends in its last element
	lone          Digest   // the digest that stood alone
	others        bool     // something else than that one digest was seen
	names         []string // some names that did not match, for the hint
}

// found holds one digest per algorithm, in the order of algorithms.
type found [4]Digest

func (p *sumsParser) line(s string) error {
	switch {
	case s == "-----BEGIN PGP SIGNED MESSAGE-----":
		p.signed = true
		return nil
	case s == "-----BEGIN PGP SIGNATURE-----":
		p.signature, p.signed = true, false
		return nil
	case s == "-----END PGP SIGNATURE-----":
		p.signature = false
		return nil
	case p.signature || strings.TrimSpace(s) == "" || s[0] == '#':
		return nil
	case p.signed:
		if strings.HasPrefix(s, "Hash: ") {
			return nil
		}
		s = strings.TrimPrefix(s, "- ")
	}
	if t := strings.TrimSpace(s); isHex(t) {
		if d, err := newDigest(bySize(len(t)), t); err == nil {
			p.others = p.others || !p.lone.IsZero() && p.lone != d
			p.lone = d
			return nil
		}
	}
	p.others = true
	d, name, ok := bsdLine(s)
	if !ok {
		d, name, ok = gnuLine(s)
	}
	if !ok {
		return nil
	}
	switch {
	case p.name == "":
	case name == p.name:
		return p.exact.add(d, name)
	case path.Base(name) == p.base:
		return p.behind.add(d, name)
	}
	if len(p.names) < 5 {
		p.names = append(p.names, fmt.Sprintf("%.80q", name))
	}
	return nil
}

func (f *found) add(d Digest, name string) error {
	at := &f[strength(d.alg)]
	if !at.IsZero() && *at != d {
		return errdef.WithHint(fmt.Errorf("checksum file has two %s digests for %.200q, %s and %s: %w", d.alg, name, *at, d, errdef.ErrUsage),
			"give the one you trust: --checksum "+d.alg+":HEX")
	}
	*at = d
	return nil
}

func (f *found) strongest() Digest {
	for i := len(f) - 1; i >= 0; i-- {
		if !f[i].IsZero() {
			return f[i]
		}
	}
	return Digest{}
}

func (p *sumsParser) result() (Digest, error) {
	if d := p.exact.strongest(); !d.IsZero() {
		return d, nil
	}
	if d := p.behind.strongest(); !d.IsZero() {
		return d, nil
	}
	if !p.lone.IsZero() && !p.others {
		return p.lone, nil
	}
	if len(p.names) == 0 {
		return Digest{}, notSums(fmt.Errorf("checksum file has no digest for %.200q: %w", p.name, errdef.ErrUsage))
	}
	return Digest{}, errdef.WithHint(fmt.Errorf("checksum file has no digest for %.200q: %w", p.name, errdef.ErrUsage),
		"it lists "+strings.Join(p.names, ", ")+"; give the digest itself: --checksum sha256:HEX")
}

// gnuLine reads "hex  name" (text) and "hex *name" (binary).
func gnuLine(s string) (Digest, string, bool) {
	s, escaped := strings.CutPrefix(s, `\`)
	end := strings.IndexAny(s, " \t")
	if end < 0 || !isHex(s[:end]) {
		return Digest{}, "", false
	}
	d, err := newDigest(bySize(end), s[:end])
	if err != nil { // another length: another algorithm
		return Digest{}, "", false
	}
	name := s[end+1:]
	if name != "" && (name[0] == ' ' || name[0] == '*') { // some writers have one blank only
		name = name[1:]
	}
	return named(d, name, escaped)
}

// bsdNames maps the tags of BSD lines, also as OpenSSL writes them.
var bsdNames = map[string]string{
	"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512", "SHA2-256": "sha256", "SHA2-512": "sha512",
}

// bsdLine reads "SHA256 (name) = hex".
func bsdLine(s string) (Digest, string, bool) {
	s, escaped := strings.CutPrefix(s, `\`)
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 0 || end < open {
		return Digest{}, "", false
	}
	alg, ok := bsdNames[strings.TrimSuffix(s[:open], " ")]
	value, eq := strings.CutPrefix(strings.TrimSpace(s[end+1:]), "=")
	if !ok || !eq {
		return Digest{}, "", false
	}
	d, err := newDigest(alg, strings.TrimSpace(value))
	if err != nil {
		return Digest{}, "", false
	}
	return named(d, s[open+1:end], escaped)
}

// unescape undoes what coreutils does to a name with a newline, a return or a backslash in it.
var unescape = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r")

func named(d Digest, name string, escaped bool) (Digest, string, bool) {
	if escaped {
		name = unescape.Replace(name)
	}
	return d, name, name != ""
}
