// Package verify checks stored bytes against a digest: the bytes as they lie at the source, under any decompressor.
//
// ParseDigest reads a digest as users write it, Sums finds one in a checksum file, and a Reader hashes what passes
// through it. Verify is explicit: whoever reads decides when the content has to prove itself, and does so before
// anything becomes visible.
package verify

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

// algorithms are those a Digest can have, from the weakest to the strongest.
var algorithms = []struct {
	name string
	size int // bytes
	new  func() hash.Hash
}{
	{"md5", md5.Size, md5.New},
	{"sha1", sha1.Size, sha1.New},
	{"sha256", sha256.Size, sha256.New},
	{"sha512", sha512.Size, sha512.New},
}

// A Digest is an algorithm and a value. Digests are comparable; the zero Digest means none.
type Digest struct {
	alg string
	sum string // raw bytes, so that == compares values however they were written
}

// strength orders algorithms; -1 for one that is not known.
func strength(alg string) int {
	for i, a := range algorithms {
		if a.name == alg {
			return i
		}
	}
	return -1
}

// bySize is the algorithm whose digest has n hexadecimal digits, or "".
func bySize(n int) string {
	for _, a := range algorithms {
		if 2*a.size == n {
			return a.name
		}
	}
	return ""
}

const digestForms = "write it as sha256:HEX; md5, sha1, sha256 and sha512 are known"

// ParseDigest reads "algorithm:hex", in any case. Anything else is ErrUsage.
func ParseDigest(s string) (Digest, error) {
	alg, value, ok := strings.Cut(s, ":")
	if !ok {
		hint := digestForms
		if a := bySize(len(s)); a != "" && isHex(s) {
			hint = fmt.Sprintf("say which algorithm it is: %s:%s", a, s)
		}
		return Digest{}, errdef.WithHint(fmt.Errorf("digest %q names no algorithm: %w", clip(s), errdef.ErrUsage), hint)
	}
	return newDigest(strings.ToLower(alg), value)
}

// newDigest checks alg and value.
func newDigest(alg, value string) (Digest, error) {
	i := strength(alg)
	if i < 0 {
		return Digest{}, errdef.WithHint(fmt.Errorf("digest algorithm %q is not known: %w", clip(alg), errdef.ErrUsage), digestForms)
	}
	want := 2 * algorithms[i].size
	if len(value) != want {
		return Digest{}, errdef.WithHint(fmt.Errorf("%s digest %q has %d characters, not %d hexadecimal digits: %w",
			alg, clip(value), len(value), want, errdef.ErrUsage), digestForms)
	}
	sum, err := hex.DecodeString(value)
	if err != nil {
		return Digest{}, errdef.WithHint(fmt.Errorf("%s digest %q is not hexadecimal: %w", alg, value, errdef.ErrUsage), digestForms)
	}
	return Digest{alg, string(sum)}, nil
}

// NewHash returns a new hash of an algorithm by its name in digests; nil if it is not known.
func NewHash(alg string) hash.Hash {
	i := strength(alg)
	if i < 0 {
		return nil
	}
	return algorithms[i].new()
}

// IsZero reports whether d is no digest at all.
func (d Digest) IsZero() bool { return d == Digest{} }

// Algorithm is "md5", "sha1", "sha256" or "sha512"; "" for the zero Digest.
func (d Digest) Algorithm() string { return d.alg }

// String is "algorithm:hex" in lower case; "" for the zero Digest.
func (d Digest) String() string {
	if d.IsZero() {
		return ""
	}
	return format(d.alg, []byte(d.sum))
}

func format(alg string, sum []byte) string { return alg + ":" + hex.EncodeToString(sum) }

// Hash returns a new hash of d's algorithm; nil for the zero Digest.
func (d Digest) Hash() hash.Hash {
	if d.IsZero() {
		return nil
	}
	return algorithms[strength(d.alg)].new()
}

// Check compares sum, as d's Hash made it of the stored bytes, with d: ErrDigestMismatch if they differ. The zero
// Digest accepts anything.
func (d Digest) Check(sum []byte) error {
	if d.IsZero() || string(sum) == d.sum {
		return nil
	}
	return errdef.WithHint(fmt.Errorf("stored bytes have %s, expected %s: %w", format(d.alg, sum), d, errdef.ErrDigestMismatch),
		"the digest counts the file as it is stored, before decompression; fetch the publisher's checksum again, and doubt the download if it stays different")
}

func isHex(s string) bool {
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return s != ""
}

// clip keeps a message short whatever the input was; long enough for any digest.
func clip(s string) string {
	const most = 160
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
