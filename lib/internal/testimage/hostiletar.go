package testimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

// TarContent is the disk in the archives of TarHostiles.
const TarContent = "content"

// TarHostiles are archives whose headers lie.
func TarHostiles() []Hostile {
	const large = 1 << 40
	bad, big, no := errdef.ErrCorrupt, errdef.ErrLimit, errdef.ErrUnsupported
	one := func(size []byte) Tar { return Tar{}.Member("disk", tar.TypeReg, size, TarContent) }
	var all []Hostile
	for _, h := range []struct {
		name       string
		tar        Tar
		want       error
		says       string
		streamSays string // if it is another
	}{
		{"good", Tar{}.File("disk", "content").End(), nil, "", ""},
		{"size in base 256", one(base256(0, 7)).End(), nil, "", ""},
		{"size of 2^63-1", one(base256(0, math.MaxInt64)).End(), bad, `member "disk" has 9223372036854775807 bytes`, ""},
		{"size of 2^63", one(base256(0, 1<<63)).End(), bad, "tar, at 512", ""},
		{"size of 2^64", one(base256(1, 0)).End(), bad, "tar, at 512", ""},
		{"size of -1", one(bytes.Repeat([]byte{0xff}, 12)).End(), bad, "tar, at 512", ""},
		{"size of -2^63", one(base256(1<<31-1, 1<<63)).End(), bad, "tar, at 512", ""},
		{"size in no number", one([]byte("zzzzzzzzzzz\x00")).End(), bad, "tar, at 512", ""},
		{"size of 8 GiB", one([]byte("77777777777\x00")).End(), bad, `member "disk" at 512 (8589934591 bytes) passes the end`, `ends inside of "disk"`},
		{"size of a TiB", one(base256(0, large)).End(), bad, "(1099511627776 bytes) passes the end", "ends inside"},
		{"sum", append(Tar("x"), one(octal(7)).End()[1:]...), bad, "tar, at 512", ""},
		{"cut in the header", one(octal(7))[:300], bad, "tar, at 300", ""},
		{"cut in the content", one(octal(7))[:515], bad, "passes the end of the archive (515 bytes)", "ends inside"},
		{"no end mark", one(octal(7)), bad, "without its end mark", ""},
		{"half an end mark", append(one(octal(7)), make([]byte, 300)...), bad, "tar, at 1324", ""},
		{"pax size of another", Tar{}.Pax(record("size", "7")).Member("disk", tar.TypeReg, octal(5000), "content").End(), nil, "", ""},
		{"pax size of 2^63-1", Tar{}.Pax(record("size", "9223372036854775807")).File("disk", "content").End(), bad, "has 9223372036854775807 bytes", ""},
		{"pax size of 2^63", Tar{}.Pax(record("size", "9223372036854775808")).File("disk", "content").End(), bad, "tar, at 1536", ""},
		{"pax size of -1", Tar{}.Pax(record("size", "-1")).File("disk", "content").End(), bad, "tar, at 1536", ""},
		{"pax size in no number", Tar{}.Pax(record("size", "x")).File("disk", "content").End(), bad, "tar, at 1536", ""},
		{"pax record longer than its header", Tar{}.Pax("999 path=x\n").File("disk", "content").End(), bad, "tar, at", ""},
		{"pax record of length 0", Tar{}.Pax("0 path=x\n").File("disk", "content").End(), bad, "tar, at", ""},
		{"pax record of length -5", Tar{}.Pax("-5 path=x\n").File("disk", "content").End(), bad, "tar, at", ""},
		{"pax record of length 2^64", Tar{}.Pax("18446744073709551616 path=x\n").File("disk", "content").End(), bad, "tar, at", ""},
		{"pax record without =", Tar{}.Pax("7 path\n").File("disk", "content").End(), bad, "tar, at", ""},
		{"pax name with a zero byte", Tar{}.Pax(record("path", "a\x00b")).File("disk", "content").End(), bad, "tar, at", ""},
		{"pax header of 8 GiB", Tar{}.Member("pax", tar.TypeXHeader, []byte("77777777777\x00"), "").File("disk", "content").End(), bad, "tar, at", ""},
		{"pax headers without a member", Tar{}.Pax(record("path", "x")).Pax(record("path", "y")), no, "no regular file", ""},
		{"10,000 pax headers", repeatTar(10_000, Tar{}.Pax(record("path", "x"))).File("disk", "content").End(), nil, "", ""},
		{"20,000 folders", repeatTar(20_000, Tar{}.Member("d/", tar.TypeDir, octal(0), "")).File("disk", "content").End(), big, "more than 10000 members", ""},
		{"long name of 8 GiB", Tar{}.Member("l", tar.TypeGNULongName, []byte("77777777777\x00"), "").File("disk", "content").End(), bad, "tar, at", ""},
		{"sparse of 2^62 bytes", Tar{}.Pax(record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+record("GNU.sparse.name", "disk")+record("GNU.sparse.realsize", "4611686018427387904")).
			File("disk", "1\n0\n7\n"+strings.Repeat("\x00", 506)+"content").End(), no, `"disk" is stored as a sparse file`, ""},
		{"sparse", Tar{}.Pax(record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+record("GNU.sparse.name", "disk")+record("GNU.sparse.realsize", "7")).
			File("disk", "1\n0\n7\n"+strings.Repeat("\x00", 506)+"content").End(), no, `"disk" is stored as a sparse file`, ""},
		{"sparse with 2^31 pieces", Tar{}.Pax(record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+record("GNU.sparse.name", "disk")+record("GNU.sparse.realsize", "7")).
			File("disk", "2147483648\n"+strings.Repeat("\x00", 501)+"content").End(), bad, "tar, at", ""},
		{"a link as the disk", Tar{}.File("vm.ovf", OVF("disk")).Member("disk", tar.TypeSymlink, octal(0), "").End(), bad, `"disk", which is not in the archive`, ""},
		{"a hard link as the disk", Tar{}.File("vm.ovf", OVF("disk")).Member("disk", tar.TypeLink, octal(0), "").End(), bad, `"disk", which is not in the archive`, ""},
		{"a device as the disk", Tar{}.File("vm.ovf", OVF("disk")).Member("disk", tar.TypeBlock, octal(0), "").End(), bad, `"disk", which is not in the archive`, ""},
		{"name above", Tar{}.File("../../disk", "content").End(), nil, "", ""}, // leads nowhere
		{"absolute name", Tar{}.File("/etc/disk", "content").End(), nil, "", ""},
		{"the same name by another path", Tar{}.File("disk", "x").File("./a/../disk", "y").End(), bad, `"disk" is there twice`, ""},
		{"a name of 5,000 bytes", Tar{}.Pax(record("path", strings.Repeat("x", 5000))).File("disk", "content").End(), big, "name of 5000 bytes", ""},
		{"no name", Tar{}.File("", "content").End(), nil, "", ""},
	} {
		all = append(all, Hostile{Format: "tar", Name: h.name, Want: h.want, Says: h.says, StreamSays: h.streamSays,
			Make: func() ([]byte, []byte) { return h.tar, []byte(TarContent) }})
	}
	return all
}

func repeatTar(n int, r Tar) Tar { return bytes.Repeat(r, n) }

// OVAHostiles have descriptions and manifests whose length, or what they lead to, is the lie.
func OVAHostiles() []Hostile {
	many := func(n int) string {
		s := OVFHead + "<References>" + strings.Repeat(`<File ovf:id="f" ovf:href="disk"/>`, 1) + "</References><DiskSection>"
		return s + strings.Repeat(`<Disk ovf:diskId="d" ovf:fileRef="f"/>`, n) + "</DiskSection></Envelope>"
	}
	bad, usage := errdef.ErrCorrupt, errdef.ErrUsage
	long := strings.Repeat("x", 200<<10)
	var all []Hostile
	for _, h := range []struct {
		name, ovf, mf string
		want          error
		says          string
	}{
		{"good", OVF("disk"), "", nil, ""},
		{"20,000 disks", many(20_000), "", bad, "more than 1000"},
		{"999 disks", many(999), "", usage, "999 disks"},
		{"20,000 files", OVFHead + "<References>" + strings.Repeat(`<File ovf:id="f" ovf:href="x"/>`, 20_000), "", bad, "there twice"},
		{"100,000 deep", OVFHead + strings.Repeat("<a>", 100_000), "", bad, "64 deep"},
		{"entity bomb", `<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>` + OVF("disk"), "", bad, "line 1: a document type"},
		{"100,000 disks", many(100_000), "", errdef.ErrLimit, "description"},
		{"external entity", `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>` + OVF("disk"), "", bad, "a document type"},
		{"external document type", `<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">` + OVF("disk"), "", bad, "a document type"},
		{"an entity as the name", OVF("&disk;"), "", bad, "entity"},
		{"a name of 200 KiB", OVF(long), "", bad, "not in the archive"},
		{"an ID of 200 KiB, twice", OVFHead + "<References>" + strings.Repeat(`<File ovf:id="`+long+`"/>`, 2), "", bad, "there twice"},
		{"an attribute of 800 KiB", OVFHead + `<a b="` + strings.Repeat(long, 4) + `">`, "", bad, ""},
		{"200,000 attributes", OVFHead + "<a " + strings.Repeat("b='' ", 200_000) + ">", "", bad, ""},
		{"not UTF-8", strings.Replace(OVF("disk"), "a &lt; b", "\xff\xfe", 1), "", bad, "UTF-8"},
		{"UTF-16", strings.Replace(OVF("disk"), "UTF-8", "UTF-16", 1), "", bad, `encoding "UTF-16"`},
		{"a zero byte", strings.Replace(OVF("disk"), "a &lt; b", "\x00", 1), "", bad, "vm.ovf, line"},
		{"two roots", OVF("disk") + OVF("disk"), "", bad, ""},
		{"manifest of 100,000 lines", OVF("disk"), strings.Repeat("SHA1(x)= 11\n", 80_000), bad, "line 1"},
		{"manifest of many names", OVF("disk"), lines(12_000), bad, "no digest of"},
		{"manifest of one line", OVF("disk"), long, bad, "is no digest"},
		{"manifest not UTF-8", OVF("disk"), "SHA1(\xff)= da39a3ee5e6b4b0d3255bfef95601890afd80709\n", bad, "no digest of"},
		{"manifest names a path", OVF("disk"), "SHA1(../../disk)= da39a3ee5e6b4b0d3255bfef95601890afd80709\n", bad, "no digest of"},
		{"manifest with a short digest", OVF("disk"), "SHA1(disk)= da39\n", bad, "line 1"},
		{"manifest with a long digest", OVF("disk"), "SHA1(disk)= " + strings.Repeat("a", 1<<19) + "\n", bad, "line 1"},
	} {
		all = append(all, Hostile{Format: "ova", Name: h.name, Want: h.want, Says: h.says, Make: func() ([]byte, []byte) {
			r := Tar{}.File("vm.ovf", h.ovf)
			if h.mf != "" {
				r = r.File("vm.mf", h.mf)
			}
			return r.File("disk", TarContent).End(), []byte(TarContent)
		}})
	}
	return all
}

func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "SHA1(%d)= da39a3ee5e6b4b0d3255bfef95601890afd80709\n", i)
	}
	return b.String()
}
