package verify

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cdictl/cdictl/lib/errdef"
)

var (
	otherSHA256 = strings.Repeat("ab", 32)
	signed      = `-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

# Fedora-Cloud-Base: 400 bytes
SHA256 (disk.qcow2) = ` + hexSHA256 + `
- -dashed line
-----BEGIN PGP SIGNATURE-----

iQIzBAEBCAAdFiEEBh4w
` + otherSHA256 + `  disk.qcow2
-----END PGP SIGNATURE-----
`
)

func TestSums(t *testing.T) {
	for name, tc := range map[string]struct{ in, file, want string }{
		"gnu text":          {hexSHA256 + "  disk.img\n", "disk.img", "sha256:" + hexSHA256},
		"gnu binary":        {hexSHA256 + " *disk.img\n", "disk.img", "sha256:" + hexSHA256},
		"one blank":         {hexSHA256 + " disk.img\n", "disk.img", "sha256:" + hexSHA256},
		"tab":               {hexSHA256 + "\tdisk.img\n", "disk.img", "sha256:" + hexSHA256},
		"no newline":        {otherSHA256 + "  x\n" + hexSHA256 + "  disk.img", "disk.img", "sha256:" + hexSHA256},
		"crlf":              {otherSHA256 + "  x\r\n" + hexSHA256 + "  disk.img\r\n", "disk.img", "sha256:" + hexSHA256},
		"bom":               {"\ufeff" + hexSHA256 + "  disk.img\n", "disk.img", "sha256:" + hexSHA256},
		"upper case":        {strings.ToUpper(hexSHA256) + "  disk.img\n", "disk.img", "sha256:" + hexSHA256},
		"md5":               {hexMD5 + "  disk.img\n", "disk.img", "md5:" + hexMD5},
		"sha1":              {hexSHA1 + "  disk.img\n", "disk.img", "sha1:" + hexSHA1},
		"sha512":            {hexSHA512 + "  disk.img\n", "disk.img", "sha512:" + hexSHA512},
		"strongest":         {hexSHA512 + "  a\n" + hexMD5 + "  a\n" + hexSHA256 + "  a\n", "a", "sha512:" + hexSHA512},
		"other algorithms":  {strings.Repeat("0", 56) + "  a\n" + strings.Repeat("0", 96) + "  a\n" + hexMD5 + "  a\n", "a", "md5:" + hexMD5},
		"said twice":        {hexSHA256 + "  a\n" + hexSHA256 + " *a\n", "a", "sha256:" + hexSHA256},
		"bsd":               {"SHA256 (disk.img) = " + hexSHA256 + "\n", "disk.img", "sha256:" + hexSHA256},
		"bsd md5":           {"MD5 (disk.img) = " + hexMD5 + "\n", "disk.img", "md5:" + hexMD5},
		"bsd brackets":      {"SHA1 (a (1).img) = " + hexSHA1 + "\n", "a (1).img", "sha1:" + hexSHA1},
		"bsd other":         {"SHA384 (a) = " + strings.Repeat("0", 96) + "\nSHA512 (a) = " + hexSHA512, "a", "sha512:" + hexSHA512},
		"openssl":           {"SHA2-256(disk.img)= " + hexSHA256 + "\n", "disk.img", "sha256:" + hexSHA256},
		"escaped gnu":       {`\` + hexSHA256 + `  a\\b\nc` + "\n", "a\\b\nc", "sha256:" + hexSHA256},
		"escaped backslash": {`\` + hexSHA256 + `  a\\nb` + "\n", `a\nb`, "sha256:" + hexSHA256},
		"not escaped":       {hexSHA256 + `  a\nb` + "\n", `a\nb`, "sha256:" + hexSHA256},
		"escaped bsd":       {`\SHA256 (a\nb) = ` + hexSHA256 + "\n", "a\nb", "sha256:" + hexSHA256},
		"dot slash":         {hexSHA256 + "  ./disk.img\n", "disk.img", "sha256:" + hexSHA256},
		"in a folder":       {hexSHA256 + "  images/disk.img\n", "disk.img", "sha256:" + hexSHA256},
		"name with folder":  {hexSHA256 + "  disk.img\n", "x/disk.img", "sha256:" + hexSHA256},
		"whole name wins":   {otherSHA256 + "  old/disk.img\n" + hexSHA256 + "  disk.img\n", "disk.img", "sha256:" + hexSHA256},
		"name has blanks":   {hexSHA256 + "  my  disk \n", "my  disk ", "sha256:" + hexSHA256},
		"pgp":               {signed, "disk.qcow2", "sha256:" + hexSHA256},
		"pgp dashed":        {"-----BEGIN PGP SIGNED MESSAGE-----\n\n- " + hexSHA256 + "  -x\n", "-x", "sha256:" + hexSHA256},
		"comment":           {"# " + otherSHA256 + "  a\n\n" + hexSHA256 + "  a\n", "a", "sha256:" + hexSHA256},
		"bare":              {hexSHA256, "disk.img", "sha256:" + hexSHA256},
		"bare, blanks":      {"\n# sum\n " + hexSHA512 + " \r\n\n", "disk.img", "sha512:" + hexSHA512},
		"bare, no name":     {hexSHA1 + "\n", "", "sha1:" + hexSHA1},
		"bare, said twice":  {hexSHA1 + "\n" + hexSHA1 + "\n", "x", "sha1:" + hexSHA1},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Sums(iotest.HalfReader(strings.NewReader(tc.in)), tc.file)
			if err != nil || d.String() != tc.want {
				t.Errorf("got %v, %v", d, err)
			}
		})
	}
}

func TestSumsRefuses(t *testing.T) {
	list := "" // seven names
	for _, n := range []string{"one", "two", "three", "four", "five", "six", "seven"} {
		list += hexSHA256 + "  " + n + "\n"
	}
	for name, tc := range map[string]struct {
		in, file string
		want     error
		hint     string
	}{
		"empty":              {"", "a", errdef.ErrUsage, "--checksum"},
		"html":               {"<html>404</html>", "a", errdef.ErrUsage, "--checksum"},
		"not listed":         {list, "disk", errdef.ErrUsage, `"one", "two", "three", "four", "five"; give`},
		"no name":            {list, "", errdef.ErrUsage, `"one"`},
		"two digests":        {hexSHA256 + "  a\n" + otherSHA256 + "  a\n", "a", errdef.ErrUsage, "--checksum"},
		"two digests, weak":  {hexSHA512 + "  a\n" + hexMD5 + "  a\n" + otherSHA256[:32] + "  a\n", "a", errdef.ErrUsage, "--checksum"},
		"two in folders":     {hexSHA256 + "  x/a\n" + otherSHA256 + "  y/a\n", "a", errdef.ErrUsage, "--checksum"},
		"two bare":           {hexSHA256 + "\n" + otherSHA256 + "\n", "a", errdef.ErrUsage, "--checksum"},
		"bare and a list":    {hexSHA256 + "\n" + otherSHA256 + "  b\n", "a", errdef.ErrUsage, `"b"`},
		"bare, 56":           {strings.Repeat("0", 56), "a", errdef.ErrUsage, "--checksum"},
		"wrong length":       {hexSHA256[2:] + "  a\n", "a", errdef.ErrUsage, "--checksum"},
		"bsd length":         {"MD5 (a) = " + hexSHA256, "a", errdef.ErrUsage, "--checksum"},
		"bsd open":           {"SHA256 )a( = " + hexSHA256, "a", errdef.ErrUsage, "--checksum"},
		"in the signature":   {signed[strings.Index(signed, "-----BEGIN PGP SIGNATURE"):], "disk.qcow2", errdef.ErrUsage, "--checksum"},
		"part of a name":     {hexSHA256 + "  disk.img.sig\n", "disk.img", errdef.ErrUsage, "disk.img.sig"},
		"long line":          {strings.Repeat("a", maxSumsLine+1), "a", errdef.ErrLimit, "--checksum"},
		"large file":         {strings.Repeat("#\n", maxSums/2) + "#", "a", errdef.ErrLimit, "--checksum"},
		"disk image, zeroes": {strings.Repeat("\x00", 1<<20), "a", errdef.ErrLimit, "--checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Sums(strings.NewReader(tc.in), tc.file)
			if !errors.Is(err, tc.want) || !d.IsZero() {
				t.Fatalf("got %v, %v", d, err)
			}
			if h := errdef.Hint(err); !strings.Contains(h, tc.hint) {
				t.Errorf("hint %q has no %q", h, tc.hint)
			}
		})
	}
	t.Run("just fits", func(t *testing.T) {
		line := hexSHA256 + "  a\n"
		in := strings.Repeat("#\n", (maxSums-len(line))/2) + line
		if _, err := Sums(strings.NewReader(in), "a"); err != nil {
			t.Error(len(in), err)
		}
	})
	t.Run("reader fails", func(t *testing.T) {
		if _, err := Sums(iotest.ErrReader(context.Canceled), "a"); err != context.Canceled {
			t.Error(err)
		}
	})
}

// TestSumsOfCoreutils takes lists from the real programs, for names that need escapes too.
func TestSumsOfCoreutils(t *testing.T) {
	dir := t.TempDir()
	names := []string{"disk.img", "a b  c", `back\slash`, "new\nline", "(x) = y"}
	want := map[string]Digest{}
	for i, n := range names {
		b := bytes.Repeat([]byte{byte(i)}, 1000)
		if err := os.WriteFile(filepath.Join(dir, n), b, 0o666); err != nil {
			t.Fatal(err)
		}
		want[n] = digestOf(t, "sha256", b)
	}
	for _, args := range [][]string{{"--text"}, {"--binary"}, {"--tag"}} {
		cmd := exec.CommandContext(t.Context(), "sha256sum", append(args, names...)...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if errors.Is(err, exec.ErrNotFound) && os.Getenv("CDICTL_REQUIRE_TOOLS") != "1" {
			t.Skip("no sha256sum")
		} else if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if d, err := Sums(bytes.NewReader(out), n); err != nil || d != want[n] {
				t.Errorf("%v %q: %v, %v", args, n, d, err)
			}
		}
	}
}

func FuzzSums(f *testing.F) {
	f.Add([]byte(signed), "disk.qcow2")
	f.Add([]byte(hexSHA256+"  a\n"+hexMD5+" *./b\n"), "b")
	f.Add([]byte(`\SHA256 (a\nb) = `+hexSHA256), "a\nb")
	f.Add([]byte(hexSHA512), "")
	f.Fuzz(func(t *testing.T, in []byte, name string) {
		d, err := Sums(bytes.NewReader(in), name)
		if err != nil {
			if !d.IsZero() || !errors.Is(err, errdef.ErrUsage) && !errors.Is(err, errdef.ErrLimit) {
				t.Fatalf("%v, %v", d, err)
			}
			return
		}
		// Whatever was found stands in the file.
		_, hexes, _ := strings.Cut(d.String(), ":")
		if !bytes.Contains(bytes.ToLower(in), []byte(hexes)) {
			t.Fatalf("%v is not in the list", d)
		}
		slow, err := Sums(iotest.OneByteReader(bytes.NewReader(in)), name)
		if err != nil || slow != d {
			t.Fatalf("byte by byte: %v, %v", slow, err)
		}
	})
}
