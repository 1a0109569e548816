package verify

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

const (
	hexMD5    = "d41d8cd98f00b204e9800998ecf8427e"
	hexSHA1   = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
	hexSHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	hexSHA512 = "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
)

func TestParseDigest(t *testing.T) {
	for alg, value := range map[string]string{"md5": hexMD5, "sha1": hexSHA1, "sha256": hexSHA256, "sha512": hexSHA512} {
		t.Run(alg, func(t *testing.T) {
			d, err := ParseDigest(alg + ":" + value)
			if err != nil {
				t.Fatal(err)
			}
			if got := d.String(); got != alg+":"+value {
				t.Errorf("String is %q", got)
			}
			if d.IsZero() || d.Algorithm() != alg {
				t.Errorf("IsZero %v, Algorithm %q", d.IsZero(), d.Algorithm())
			}
			upper, err := ParseDigest(strings.ToUpper(alg + ":" + value))
			if err != nil || upper != d {
				t.Errorf("upper case gives %v, %v", upper, err)
			}
			if err := d.Check(d.Hash().Sum(nil)); err != nil { // the values above are those of no bytes
				t.Error(err)
			}
		})
	}
}

func TestParseDigestRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ in, hint string }{
		"empty":       {"", "sha256:HEX"},
		"bare":        {hexSHA256, "sha256:" + hexSHA256},
		"equals":      {"sha256=" + hexSHA256, "sha256:HEX"},
		"algorithm":   {"sha384:" + hexSHA256, "sha256:HEX"},
		"none":        {":" + hexSHA256, "sha256:HEX"},
		"short":       {"sha256:" + hexSHA256[1:], "sha256:HEX"},
		"long":        {"sha256:" + hexSHA256 + "0", "sha256:HEX"},
		"not hex":     {"sha256:" + hexSHA256[1:] + "g", "sha256:HEX"},
		"blank":       {"sha256: " + hexSHA256, "sha256:HEX"},
		"wrong alg":   {"md5:" + hexSHA256, "sha256:HEX"},
		"second part": {"sha256:" + hexSHA256 + ":x", "sha256:HEX"},
		"huge":        {strings.Repeat("a", 1<<20), "sha256:HEX"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := ParseDigest(tc.in)
			if !errors.Is(err, errdef.ErrUsage) || !d.IsZero() {
				t.Fatalf("got %v, %v", d, err)
			}
			if h := errdef.Hint(err); !strings.Contains(h, tc.hint) {
				t.Errorf("hint %q has no %q", h, tc.hint)
			}
			if len(err.Error()) > 400 {
				t.Errorf("message of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestZeroDigest(t *testing.T) {
	var d Digest
	if !d.IsZero() || d.String() != "" || d.Algorithm() != "" || d.Hash() != nil || d.Check([]byte("x")) != nil {
		t.Error("the zero Digest is not neutral")
	}
}

func TestCheck(t *testing.T) {
	d, err := ParseDigest("sha256:" + hexSHA256)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("x"))
	err = d.Check(sum[:])
	if !errors.Is(err, errdef.ErrDigestMismatch) {
		t.Fatal(err)
	}
	want := "stored bytes have sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881, expected sha256:" + hexSHA256
	if !strings.HasPrefix(err.Error(), want) || errdef.Hint(err) == "" {
		t.Errorf("message %q, hint %q", err, errdef.Hint(err))
	}
	if d.Check(nil) == nil || d.Check(sum[:5]) == nil {
		t.Error("a short sum passes")
	}
}

func FuzzParseDigest(f *testing.F) {
	f.Add("sha256:" + hexSHA256)
	f.Add("MD5:" + hexMD5)
	f.Add(hexSHA1)
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDigest(s)
		if err != nil {
			if !errors.Is(err, errdef.ErrUsage) || !d.IsZero() {
				t.Fatalf("%v, %v", d, err)
			}
			return
		}
		if d.String() != strings.ToLower(s) {
			t.Fatalf("%q became %q", s, d)
		}
		if again, err := ParseDigest(d.String()); err != nil || again != d {
			t.Fatalf("%v, %v", again, err)
		}
	})
}
