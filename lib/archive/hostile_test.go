package archive

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
)

// A rawTar is a tar made field by field, for what package archive/tar does not write.
type rawTar []byte

// member appends a member whose size field is as given; its content is padded.
func (r rawTar) member(name string, kind byte, size []byte, content string) rawTar {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:136], size)
	copy(b[136:], "00000000000\x00")
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	r = append(append(r, sum8(b)...), content...)
	return append(r, make([]byte, -len(content)&511)...)
}

// file appends a good one.
func (r rawTar) file(name, content string) rawTar {
	return r.member(name, tar.TypeReg, octal(len(content)), content)
}

// pax appends records for the next member.
func (r rawTar) pax(records string) rawTar {
	return r.member("pax", tar.TypeXHeader, octal(len(records)), records)
}

func (r rawTar) end() rawTar { return append(r, make([]byte, 1024)...) }

func octal(n int) []byte { return fmt.Appendf(nil, "%011o\x00", n) }

// base256 is a size as GNU tar writes large ones: big-endian, behind a set bit; the top two bits are the sign of eleven bytes.
func base256(high uint32, low uint64) []byte {
	b := binary.BigEndian.AppendUint32(nil, high|1<<31)
	return binary.BigEndian.AppendUint64(b, low)
}

// record is a pax record with its right length.
func record(key, value string) string {
	total := len(key) + len(value) + 3
	n := total + 1
	for n != total+len(fmt.Sprint(n)) {
		n++
	}
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

// sum8 sets the checksum of a header.
func sum8(b []byte) []byte {
	copy(b[148:], "        ")
	n := 0
	for _, c := range b {
		n += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", n))
	return b
}

// TestHostileTar reads archives whose headers lie, by random access and as a stream.
func TestHostileTar(t *testing.T) {
	const large = 1 << 40
	bad, big, no := errdef.ErrCorrupt, errdef.ErrLimit, errdef.ErrUnsupported
	one := func(size []byte) rawTar { return rawTar{}.member("disk", tar.TypeReg, size, "content") }
	for _, h := range []struct {
		name       string
		tar        rawTar
		want       error // nil: both read "content"
		says       string
		streamSays string // if it is another
	}{
		{"good", rawTar{}.file("disk", "content").end(), nil, "", ""},
		{"size in base 256", one(base256(0, 7)).end(), nil, "", ""},
		{"size of 2^63-1", one(base256(0, math.MaxInt64)).end(), bad, `member "disk" has 9223372036854775807 bytes`, ""},
		{"size of 2^63", one(base256(0, 1<<63)).end(), bad, "tar, at 512", ""},
		{"size of 2^64", one(base256(1, 0)).end(), bad, "tar, at 512", ""},
		{"size of -1", one(bytes.Repeat([]byte{0xff}, 12)).end(), bad, "tar, at 512", ""},
		{"size of -2^63", one(base256(1<<31-1, 1<<63)).end(), bad, "tar, at 512", ""},
		{"size in no number", one([]byte("zzzzzzzzzzz\x00")).end(), bad, "tar, at 512", ""},
		{"size of 8 GiB", one([]byte("77777777777\x00")).end(), bad, `member "disk" at 512 (8589934591 bytes) passes the end`, `ends inside of "disk"`},
		{"size of a TiB", one(base256(0, large)).end(), bad, "(1099511627776 bytes) passes the end", "ends inside"},
		{"sum", append(rawTar("x"), one(octal(7)).end()[1:]...), bad, "tar, at 512", ""},
		{"cut in the header", one(octal(7))[:300], bad, "tar, at 300", ""},
		{"cut in the content", one(octal(7))[:515], bad, "passes the end of the archive (515 bytes)", "ends inside"},
		{"no end mark", one(octal(7)), bad, "without its end mark", ""},
		{"half an end mark", append(one(octal(7)), make([]byte, 300)...), bad, "tar, at 1324", ""},
		{"pax size of another", rawTar{}.pax(record("size", "7")).member("disk", tar.TypeReg, octal(5000), "content").end(), nil, "", ""},
		{"pax size of 2^63-1", rawTar{}.pax(record("size", "9223372036854775807")).file("disk", "content").end(), bad, "has 9223372036854775807 bytes", ""},
		{"pax size of 2^63", rawTar{}.pax(record("size", "9223372036854775808")).file("disk", "content").end(), bad, "tar, at 1536", ""},
		{"pax size of -1", rawTar{}.pax(record("size", "-1")).file("disk", "content").end(), bad, "tar, at 1536", ""},
		{"pax size in no number", rawTar{}.pax(record("size", "x")).file("disk", "content").end(), bad, "tar, at 1536", ""},
		{"pax record longer than its header", rawTar{}.pax("999 path=x\n").file("disk", "content").end(), bad, "tar, at", ""},
		{"pax record of length 0", rawTar{}.pax("0 path=x\n").file("disk", "content").end(), bad, "tar, at", ""},
		{"pax record of length -5", rawTar{}.pax("-5 path=x\n").file("disk", "content").end(), bad, "tar, at", ""},
		{"pax record of length 2^64", rawTar{}.pax("18446744073709551616 path=x\n").file("disk", "content").end(), bad, "tar, at", ""},
		{"pax record without =", rawTar{}.pax("7 path\n").file("disk", "content").end(), bad, "tar, at", ""},
		{"pax name with a zero byte", rawTar{}.pax(record("path", "a\x00b")).file("disk", "content").end(), bad, "tar, at", ""},
		{"pax header of 8 GiB", rawTar{}.member("pax", tar.TypeXHeader, []byte("77777777777\x00"), "").file("disk", "content").end(), bad, "tar, at", ""},
		{"pax headers without a member", rawTar{}.pax(record("path", "x")).pax(record("path", "y")), no, "no regular file", ""},
		{"10,000 pax headers", repeat(10_000, rawTar{}.pax(record("path", "x"))).file("disk", "content").end(), nil, "", ""},
		{"20,000 folders", repeat(20_000, rawTar{}.member("d/", tar.TypeDir, octal(0), "")).file("disk", "content").end(), big, "more than 10000 members", ""},
		{"long name of 8 GiB", rawTar{}.member("l", tar.TypeGNULongName, []byte("77777777777\x00"), "").file("disk", "content").end(), bad, "tar, at", ""},
		{"sparse of 2^62 bytes", rawTar{}.pax(record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+record("GNU.sparse.name", "disk")+record("GNU.sparse.realsize", "4611686018427387904")).
			file("disk", "1\n0\n7\n"+strings.Repeat("\x00", 506)+"content").end(), no, `"disk" is stored as a sparse file`, ""},
		{"sparse", rawTar{}.pax(record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+record("GNU.sparse.name", "disk")+record("GNU.sparse.realsize", "7")).
			file("disk", "1\n0\n7\n"+strings.Repeat("\x00", 506)+"content").end(), no, `"disk" is stored as a sparse file`, ""},
		{"sparse with 2^31 pieces", rawTar{}.pax(record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+record("GNU.sparse.name", "disk")+record("GNU.sparse.realsize", "7")).
			file("disk", "2147483648\n"+strings.Repeat("\x00", 501)+"content").end(), bad, "tar, at", ""},
		{"a link as the disk", rawTar{}.file("vm.ovf", ovf("disk")).member("disk", tar.TypeSymlink, octal(0), "").end(), bad, `"disk", which is not in the archive`, ""},
		{"a hard link as the disk", rawTar{}.file("vm.ovf", ovf("disk")).member("disk", tar.TypeLink, octal(0), "").end(), bad, `"disk", which is not in the archive`, ""},
		{"a device as the disk", rawTar{}.file("vm.ovf", ovf("disk")).member("disk", tar.TypeBlock, octal(0), "").end(), bad, `"disk", which is not in the archive`, ""},
		{"name above", rawTar{}.file("../../disk", "content").end(), nil, "", ""}, // leads nowhere
		{"absolute name", rawTar{}.file("/etc/disk", "content").end(), nil, "", ""},
		{"the same name by another path", rawTar{}.file("disk", "x").file("./a/../disk", "y").end(), bad, `"disk" is there twice`, ""},
		{"a name of 5,000 bytes", rawTar{}.pax(record("path", strings.Repeat("x", 5000))).file("disk", "content").end(), big, "name of 5000 bytes", ""},
		{"no name", rawTar{}.file("", "content").end(), nil, "", ""},
	} {
		t.Run(h.name, func(t *testing.T) {
			defer formattest.Frugal(t)()
			check := func(how, got string, err error, says string) {
				t.Helper()
				switch {
				case h.want == nil && (err != nil || got != "content"):
					t.Errorf("%s: %.100q, %v", how, got, err)
				case h.want != nil && (!errors.Is(err, h.want) || !strings.Contains(err.Error(), says)):
					t.Errorf("%s: %v; want %v that says %q", how, err, h.want, says)
				}
			}
			got, err := find(t, h.tar, Options{})
			check("random", got, err, h.says)
			says := h.says
			if h.streamSays != "" {
				says = h.streamSays
			}
			got, err = stream(bytes.NewReader(h.tar), Options{})
			check("stream", got, err, says)
		})
	}
}

func repeat(n int, r rawTar) rawTar { return bytes.Repeat(r, n) }

// TestHostileDescriptions has descriptions and manifests whose length, or what they lead to, is the lie.
func TestHostileDescriptions(t *testing.T) {
	many := func(n int) string {
		s := ovfHead + "<References>" + strings.Repeat(`<File ovf:id="f" ovf:href="disk"/>`, 1) + "</References><DiskSection>"
		return s + strings.Repeat(`<Disk ovf:diskId="d" ovf:fileRef="f"/>`, n) + "</DiskSection></Envelope>"
	}
	bad, usage := errdef.ErrCorrupt, errdef.ErrUsage
	long := strings.Repeat("x", 200<<10)
	for _, h := range []struct {
		name, ovf, mf string
		want          error
		says          string
	}{
		{"good", ovf("disk"), "", nil, ""},
		{"20,000 disks", many(20_000), "", bad, "more than 1000"},
		{"999 disks", many(999), "", usage, "999 disks"},
		{"20,000 files", ovfHead + "<References>" + strings.Repeat(`<File ovf:id="f" ovf:href="x"/>`, 20_000), "", bad, "there twice"},
		{"100,000 deep", ovfHead + strings.Repeat("<a>", 100_000), "", bad, "64 deep"},
		{"entity bomb", `<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>` + ovf("disk"), "", bad, "line 1: a document type"},
		{"100,000 disks", many(100_000), "", errdef.ErrLimit, "description"},
		{"external entity", `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>` + ovf("disk"), "", bad, "a document type"},
		{"external document type", `<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">` + ovf("disk"), "", bad, "a document type"},
		{"an entity as the name", ovf("&disk;"), "", bad, "entity"},
		{"a name of 200 KiB", ovf(long), "", bad, "not in the archive"},
		{"an ID of 200 KiB, twice", ovfHead + "<References>" + strings.Repeat(`<File ovf:id="`+long+`"/>`, 2), "", bad, "there twice"},
		{"an attribute of 800 KiB", ovfHead + `<a b="` + strings.Repeat(long, 4) + `">`, "", bad, ""},
		{"200,000 attributes", ovfHead + "<a " + strings.Repeat("b='' ", 200_000) + ">", "", bad, ""},
		{"not UTF-8", strings.Replace(ovf("disk"), "a &lt; b", "\xff\xfe", 1), "", bad, "UTF-8"},
		{"UTF-16", strings.Replace(ovf("disk"), "UTF-8", "UTF-16", 1), "", bad, `encoding "UTF-16"`},
		{"a zero byte", strings.Replace(ovf("disk"), "a &lt; b", "\x00", 1), "", bad, "vm.ovf, line"},
		{"two roots", ovf("disk") + ovf("disk"), "", bad, ""},
		{"manifest of 100,000 lines", ovf("disk"), strings.Repeat("SHA1(x)= 11\n", 80_000), bad, "line 1"},
		{"manifest of many names", ovf("disk"), lines(12_000), bad, "no digest of"},
		{"manifest of one line", ovf("disk"), long, bad, "is no digest"},
		{"manifest not UTF-8", ovf("disk"), "SHA1(\xff)= da39a3ee5e6b4b0d3255bfef95601890afd80709\n", bad, "no digest of"},
		{"manifest names a path", ovf("disk"), "SHA1(../../disk)= da39a3ee5e6b4b0d3255bfef95601890afd80709\n", bad, "no digest of"},
		{"manifest with a short digest", ovf("disk"), "SHA1(disk)= da39\n", bad, "line 1"},
		{"manifest with a long digest", ovf("disk"), "SHA1(disk)= " + strings.Repeat("a", 1<<19) + "\n", bad, "line 1"},
	} {
		t.Run(h.name, func(t *testing.T) {
			defer formattest.Frugal(t)()
			r := rawTar{}.file("vm.ovf", h.ovf)
			if h.mf != "" {
				r = r.file("vm.mf", h.mf)
			}
			r = r.file("disk", "content").end()
			_, err := find(t, r, Options{})
			_, serr := stream(bytes.NewReader(r), Options{})
			for how, err := range map[string]error{"random": err, "stream": serr} {
				if !errors.Is(err, h.want) || h.want != nil && !strings.Contains(err.Error(), h.says) {
					t.Errorf("%s: %.300v; want %v that says %q", how, err, h.want, h.says)
				}
				if err != nil && len(err.Error()) > 4000 {
					t.Errorf("%s: a message of %d bytes", how, len(err.Error()))
				}
			}
		})
	}
}

func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "SHA1(%d)= da39a3ee5e6b4b0d3255bfef95601890afd80709\n", i)
	}
	return b.String()
}
