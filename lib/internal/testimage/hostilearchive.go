package testimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math"
	"strings"
)

// An ArchiveHostile is a tar that must not be unpacked, or not as it would like to be.
type ArchiveHostile struct {
	Name string   `json:"name"`
	Tar  []byte   `json:"-"`
	Exit int      `json:"exit"` // of cdictl import --content archive; 0: it is unpacked, and nothing comes of the trick
	Says string   `json:"says"` // in the message
	Args []string `json:"args"`
}

// Link appends a member with a link name.
func (r Tar) Link(name string, kind byte, to string) Tar {
	r = r.Member(name, kind, octal(0), "")
	b := r[len(r)-512:]
	copy(b[157:257], to)
	sum8(b)
	return r
}

// Folder appends a folder.
func (r Tar) Folder(name string) Tar { return r.Member(name, tar.TypeDir, octal(0), "") }

// patch changes the header of the last member, which has no content.
func (r Tar) patch(change func(b []byte)) Tar {
	b := r[len(r)-512:]
	change(b)
	sum8(b)
	return r
}

// long appends a GNU header with a long name (L) or link (K) for the next member.
func (r Tar) long(kind byte, name string) Tar {
	return r.Member("././@LongLink", kind, octal(len(name)+1), name+"\x00")
}

// sparse1 appends a sparse file of version 1.0.
func (r Tar) sparse1(name string, size uint64, lines, content string) Tar {
	lines += strings.Repeat("\x00", -len(lines)&511)
	return r.Pax(record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+record("GNU.sparse.name", name)+
		record("GNU.sparse.realsize", fmt.Sprint(size))).File("GNUSparseFile.0/x", lines+content)
}

// ArchiveHostiles are such tars. They aim at the folder outside, which is ../outside from the folder that they are unpacked in,
// and holds the file "canary".
func ArchiveHostiles(outside string) []ArchiveHostile {
	const sym, hard = tar.TypeSymlink, tar.TypeLink
	t := Tar{}
	long := strings.Repeat("d/", 2500)
	out := strings.TrimPrefix(outside, "/")
	var all []ArchiveHostile
	add := func(name string, r Tar, exit int, says string, args ...string) {
		all = append(all, ArchiveHostile{name, r.End(), exit, says, args})
	}
	raw := func(name string, b []byte, exit int, says string) {
		all = append(all, ArchiveHostile{name, b, exit, says, nil})
	}

	// Names.
	add("absolute name", t.File(outside+"/x", "x"), 20, "is absolute")
	add("absolute folder", t.Folder(outside), 20, "is absolute")
	add("two slashes", t.File("/"+outside+"/x", "x"), 20, "is absolute")
	add("name above", t.File("../outside/canary", "x"), 20, "leads out of a folder")
	add("name far above", t.File("../../../outside/canary", "x"), 20, "leads out of a folder")
	add("name above in the middle", t.Folder("a").File("a/../../outside/canary", "x"), 20, "leads out of a folder")
	add("name above that stays inside", t.Folder("a").File("a/../b", "x"), 20, "leads out of a folder")
	add("folder above", t.Folder(".."), 20, "leads out of a folder")
	add("pax name above", t.Pax(record("path", "../outside/canary")).File("good", "x"), 20, "leads out of a folder")
	add("GNU long name above", t.long('L', "../outside/canary").File("good", "x"), 20, "leads out of a folder")
	add("name above in a prefix", t.Member("canary", '0', octal(0), "").patch(func(b []byte) { copy(b[345:], "../outside") }), 20, "leads out of a folder")
	add("name above of a sparse file", t.sparse1("../outside/canary", 1, "1\n0\n1\n", "x"), 20, "leads out of a folder")
	add("hidden folder", t.File(".cdictl-archive/list", "0 \"canary\"\nend\n"), 20, "where archives are extracted")
	add("hidden folder in other letters", t.File("./.CDICTL-archive/tree/x", "x"), 20, "where archives are extracted")
	add("no name", t.File("", "x"), 12, "without a name")
	add("the folder itself as a file", t.File("./", "x").patch(func([]byte) {}), 12, "")
	add("the folder itself as a link", t.Link(".", sym, outside), 12, "replace the folder itself")
	add("zero byte in a pax name", t.Pax(record("path", "a\x00b")).File("good", "x"), 12, "zero byte")
	add("name of 5,000 bytes", t.Pax(record("path", long)).File("good", "x"), 15, "limit is 4096")
	add("GNU name of 5,000 bytes", t.long('L', long).File("good", "x"), 15, "limit of 4097")
	add("element of 300 bytes", t.Pax(record("path", strings.Repeat("x", 300))).File("good", "x"), 15, "limit of 255")
	add("255 folders deep", t.Pax(record("path", strings.Repeat("d/", 255)+"x")).File("good", "x"), 0, "")
	add("1,000 folders deep", t.Pax(record("path", strings.Repeat("d/", 1000)+"x")).File("good", "x"), 15, "limit of 256")
	add("backslashes", t.File(`..\outside\canary`, "x"), 0, "")
	add("line ends and colours", t.File("a\n\x1b[31mb", "x").File("\xff\xfe", "y"), 0, "")

	// Symbolic links.
	add("through a link to the outside", t.Link("l", sym, outside).File("l/canary", "x"), 20, "symbolic link")
	add("through a link above", t.Link("l", sym, "../outside").File("l/canary", "x"), 20, "symbolic link")
	add("through a link far above", t.Link("l", sym, "../../../outside").File("l/canary", "x"), 20, "symbolic link")
	add("through a link to the inside", t.Folder("a").Link("l", sym, "a").File("l/x", "x"), 20, "symbolic link")
	add("through a link to a link", t.Link("a", sym, "b").Link("b", sym, outside).File("a/canary", "x"), 20, "symbolic link")
	add("through a link deep down", t.Link("a/b/c", sym, outside).Folder("a/b/c/d"), 20, "symbolic link")
	add("a link through a link", t.Link("l", sym, outside).Link("l/x", sym, "y"), 20, "symbolic link")
	add("a link to itself", t.Link("l", sym, "l").File("l/x", "x"), 20, "symbolic link")
	add("a file in place of a link", t.Link("l", sym, outside+"/canary").File("l", "x"), 0, "")
	add("a folder in place of a link", t.Link("l", sym, outside).Folder("l").File("l/canary", "x"), 0, "")
	add("a folder's mode by way of a link", t.Link("l", sym, outside).Folder("l/").patch(func(b []byte) { copy(b[100:], "0000777\x00") }), 0, "")
	add("links that lead out", t.Link("a", sym, outside).Link("b", sym, "../../../../etc/passwd").Link("c", sym, "/"), 0, "")
	add("a link to nothing", t.Link("l", sym, ""), 12, "leads nowhere")
	add("a link of 5,000 bytes", t.Pax(record("linkpath", long)).Link("l", sym, "x"), 15, "limit is 4096")

	// Hard links.
	add("hard link above", t.Link("h", hard, "../outside/canary"), 20, "leads out of a folder")
	add("hard link to the outside", t.Link("h", hard, outside+"/canary"), 20, "is absolute")
	add("hard link by a pax name", t.Pax(record("linkpath", "../outside/canary")).Link("h", hard, "good"), 20, "leads out of a folder")
	add("hard link by a GNU name", t.long('K', "../outside/canary").Link("h", hard, "good"), 20, "leads out of a folder")
	add("hard link through a link", t.Link("l", sym, outside).Link("h", hard, "l/canary"), 20, "symbolic link")
	add("hard link below the outside's name", t.Link("h", hard, out+"/canary"), 12, "no earlier member made")
	add("hard link to nothing", t.Link("h", hard, "x"), 12, "no earlier member made")
	add("hard link to itself", t.File("h", "x").Link("h", hard, "h"), 12, "hard link to itself")
	add("hard link to a folder", t.Folder("d").Link("h", hard, "d"), 12, "which is a folder")
	add("hard link to a link, then a file", t.Link("l", sym, outside+"/canary").Link("h", hard, "l").File("h", "x").File("l", "y"), 0, "")
	add("hard link to what the target has", t.Link("h", hard, "kept"), 12, "no earlier member made")

	// Kinds.
	for name, kind := range map[string]byte{"character device": '3', "block device": '4', "FIFO": '6'} {
		add("a "+name, t.Member("dev", kind, octal(0), ""), 20, "is a "+name)
		add("a "+name+" to be left out", t.Member("dev", kind, octal(0), "").Link("h", hard, "dev").File("x", "x"), 0, "", "--skip-devices")
	}
	add("a file through a device that was left out", t.Member("dev", '4', octal(0), "").File("dev/x", "x"), 0, "", "--skip-devices")
	add("a file in place of a folder", t.Folder("a").File("a/b", "x").File("a", "y"), 12, "replace a folder")
	add("a file as a folder", t.File("a", "x").File("a/b", "y"), 12, "no folder")
	add("a folder with content", t.Member("d", '5', octal(3), "abc"), 12, "content of 3 bytes")
	add("several volumes", t.Member("m", 'M', octal(3), "abc"), 12, `type 'M'`)
	add("incremental", t.Member("m", 'D', octal(3), "abc"), 12, `type 'D'`)
	add("a kind of nobody", t.Member("m", 'z', octal(3), "abc"), 12, `type 'z'`)

	// Numbers.
	add("size of 2^63-1", t.Member("f", '0', base256(0, math.MaxInt64), ""), 12, "size of 9223372036854775807")
	add("size of 2^63", t.Member("f", '0', base256(0, 1<<63), ""), 12, "63 bits")
	add("size of -1", t.Member("f", '0', bytes.Repeat([]byte{0xff}, 12), ""), 12, "size of -1")
	add("size in no number", t.Member("f", '0', []byte("zzzzzzzzzzz\x00"), ""), 12, "octal")
	add("size beyond the end", t.Member("f", '0', []byte("77777777777\x00"), "abc"), 12, "inside of")
	add("pax size beyond the end", t.Pax(record("size", "99999999")).File("f", "abc"), 12, "inside of")
	add("size above the limit", t.Member("f", '0', octal(5000), "abc"), 15, "--max-virtual-size", "--max-virtual-size", "4Ki")
	add("sizes above the limit", t.File("a", strings.Repeat("x", 3000)).File("b", strings.Repeat("x", 3000)), 15, "4096", "--max-virtual-size", "4Ki")
	add("owner of 2^40", t.Pax(record("uid", "1099511627776")).File("f", "x"), 12, "owner")
	add("owner of -2", t.Pax(record("gid", "-2")).File("f", "x"), 12, "gid")
	add("time in no number", t.Pax(record("mtime", "soon")).File("f", "x"), 12, "no time")
	add("pax record that is too long", t.Pax("99 path=x\n").File("f", "x"), 12, "right length")
	add("pax record without =", t.Pax("7 path\n").File("f", "x"), 12, "no key")
	add("pax header of 8 GiB", t.Member("p", 'x', []byte("77777777777\x00"), ""), 15, "above the limit of 16777216")
	add("two pax headers", t.Pax(record("path", "a")).Pax(record("path", "b")).File("f", "x"), 12, "two headers")
	add("pax header about nothing", t.Pax(record("path", "a")), 12, "not there")
	add("a name for all members", t.Member("g", 'g', octal(len(record("path", "../x"))), record("path", "../x")).File("f", "x"), 12, "global")
	add("attribute of 100 KiB", t.Pax(record("SCHILY.xattr.user.x", strings.Repeat("x", 100<<10))).File("f", "x"), 15, "limits of 65536")
	add("2,000 attributes", t.Pax(manyRecords(2000)).File("f", "x"), 15, "more than 1000")
	add("attribute in no base64", t.Pax(record("LIBARCHIVE.xattr.user.x", "!!!")).File("f", "x"), 12, "LIBARCHIVE")
	add("attribute of an overlay", t.Pax(record("SCHILY.xattr.trusted.overlay.redirect", "/etc")).Folder("d"), 0, "")
	add("ACL of 100 KiB", t.Pax(record("SCHILY.acl.access", strings.Repeat("user:1:r--,", 10<<10))).File("f", "x"), 15, "limit of 65536")
	add("ACL of a path", t.Pax(record("SCHILY.acl.access", "user:../../etc/passwd:rwx,group:"+outside+":rwx")).File("f", "x"), 0, "")
	add("ACL in no words", t.Pax(record("SCHILY.acl.default", "\x00\xff:::::\n:#")).Folder("d"), 0, "")
	add("ACL in the wrong bytes", t.Pax(record("SCHILY.xattr.system.posix_acl_access", "junk")).File("f", "x"), 0, "")
	add("an ACL for all members", t.Member("g", 'g', octal(len(record("SCHILY.acl.access", "u::rwx"))), record("SCHILY.acl.access", "u::rwx")).File("f", "x"), 12, "global")
	add("label of 100 KiB", t.Pax(record("RHT.security.selinux", strings.Repeat("x", 100<<10))).File("f", "x"), 15, "limits of 65536")
	add("more members than allowed", repeatTar(20, t.File("f", "x")), 15, "more than 10 members", "--max-entries", "10")
	add("more folders than fit", manyFolders(2000), 15, "remembered", "--max-metadata", "64Ki")

	// Sparse files.
	add("sparse pieces that overlap", t.sparse1("s", 100, "2\n0\n6\n3\n4\n", "0123456789"), 12, "before 6")
	add("sparse pieces behind the end", t.sparse1("s", 5, "1\n0\n6\n", "012345"), 12, "behind the file's end")
	add("sparse pieces with less", t.sparse1("s", 100, "1\n0\n6\n", "0123"), 12, "4 are stored")
	add("sparse pieces of 2^63", t.sparse1("s", 100, "1\n9223372036854775807\n6\n", "012345"), 12, "sparse piece")
	add("2^31 sparse pieces", t.sparse1("s", 100, "2147483648\n", "012345"), 12, "2147483648 pieces")
	add("sparse map that is cut", t.sparse1("s", 100, "3\n0\n1\n", ""), 12, "")
	add("sparse file of 2^62 bytes", t.sparse1("s", 1<<62, "1\n0\n6\n", "012345"), 15, "--max-virtual-size")
	add("sparse file of 2^64 bytes", t.sparse1("s", math.MaxUint64, "1\n0\n6\n", "012345"), 12, "2^63")
	add("two sparse maps", t.Pax(record("GNU.sparse.map", "0,1")+record("GNU.sparse.size", "1")).Member("s", 'S', octal(1), "x"), 12, "two maps")
	add("sparse lengths without offsets", t.Pax(record("GNU.sparse.size", "1")+record("GNU.sparse.numbytes", "1")).File("s", "x"), 12, "take turns")

	// The whole.
	raw("damaged header", append(Tar("x"), t.File("f", "x").End()[1:]...), 12, "no tar")
	raw("damaged second header", append(t.File("f", "x"), append(Tar("x"), t.File("g", "x").End()[1:]...)...), 12, "no header")
	raw("cut in a header", t.File("f", "x").File("g", "x")[:1300], 12, "end mark")
	raw("cut in content", t.File("f", "x").File("g", "x")[:1536], 12, "inside of")
	raw("no end mark", t.File("f", "x"), 12, "end mark")
	raw("an archive behind the archive", append(t.File("f", "x").End(), t.File("../x", "x").End()...), 12, "follows the end mark")
	raw("no tar at all", bytes.Repeat([]byte("cdictl"), 1000), 12, "no tar")
	raw("nothing", nil, 12, "no tar")
	return all
}

func manyRecords(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(record(fmt.Sprintf("SCHILY.xattr.user.%d", i), "x"))
	}
	return b.String()
}

func manyFolders(n int) Tar {
	var r Tar
	for i := range n {
		r = r.Folder(fmt.Sprintf("d%d", i))
	}
	return r
}
