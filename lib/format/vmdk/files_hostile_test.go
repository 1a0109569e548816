package vmdk

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/limits"
)

// TestHostileDescriptor opens descriptors with a lie in them, over files that are good. Nothing but the plain name of a file
// is ever asked for.
func TestHostileDescriptor(t *testing.T) {
	disk := craftedDisk()
	sparse, _ := craftSparse()
	all := files{"flat": disk, "sparse": sparse, "short": disk[:1000], "empty": nil}
	const n = craftSize / sector
	bad, big, no, refused := errdef.ErrCorrupt, errdef.ErrLimit, errdef.ErrUnsupported, errdef.ErrRefused
	one := func(line string) string { return descriptorText("monolithicFlat", line) }
	flat := func(name string) string { return one(fmt.Sprintf("RW %d FLAT %q 0", n, name)) }
	good := flat("flat")
	change := func(old, other string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the descriptor has no %q", old)
		}
		return strings.Replace(good, old, other, 1)
	}
	for _, h := range []struct {
		name, text string
		want       error
		says       string
	}{
		{"good", good, nil, ""},
		{"a million comments", good + strings.Repeat("#\n", 1<<20), nil, ""},
		{"a million comments before it", strings.Repeat("#\n", 1<<20) + good, no, "neither the magic"},
		{"a million keys", good + strings.Repeat("a=\n", 1<<20), nil, ""},
		{"a million lines of nothing known", good + strings.Repeat("x\n", 1<<20), bad, `line 12: "x"`},
		{"a million extents", good + strings.Repeat("RW 1 ZERO\n", 400_000), big, "more than 40000 extents"},
		{"too long", good + strings.Repeat(" ", maxDescriptor), big, "descriptor of"},
		{"one line of 4 MiB", good + strings.Repeat("x", 4<<20-1000), bad, "no comment, no key and no extent"},
		{"not UTF-8", good + "\xff\xfe=\xfd\n", nil, ""}, // a key that nobody knows
		{"UTF-16", "\xff\xfe#\x00 \x00D\x00", no, ""},
		{"version 0", change("version=1", "version=0"), bad, `version "0"`},
		{"version -1", change("version=1", "version=-1"), bad, `version "-1"`},
		{"version 2^64", change("version=1", "version=18446744073709551616"), bad, "version"},
		{"no version", change("version=1\n", ""), bad, "no version"},
		{"CID no number", change("CID=1234abcd", "CID=x"), bad, `content ID "x"`},
		{"CID of 5 bytes", change("CID=1234abcd", "CID=112345678"), bad, "content ID"},
		{"CID twice", good + "CID=1\n", bad, "cid is there twice"},
		{"no createType", change("createType=\"monolithicFlat\"\n", ""), bad, "lacks createType"},
		{"a type of devices", change("monolithicFlat", "fullDevice"), no, `"fullDevice"`},
		{"quotes that do not end", change("Flat\"", "Flat"), bad, "quotes"},
		{"no extents", one(""), bad, "names no extents"},
		{"a parent that is anywhere", good + "parentFileNameHint=\"../../etc/passwd\"\n", no, `parent "../../etc/passwd"`},
		{"extent of 0 sectors", one(`RW 0 FLAT "flat" 0`), bad, "wrong size"},
		{"extent of -1", one(`RW -1 FLAT "flat" 0`), bad, "wrong size"},
		{"extent of 2^63 bytes", one(`RW 18014398509481984 FLAT "flat" 0`), bad, "wrong size"},
		{"extent of 2^63 sectors", one(`RW 9223372036854775808 FLAT "flat" 0`), bad, "wrong size"},
		{"extents of 2^63 together", one(strings.Repeat("RW 9007199254740993 FLAT \"flat\" 0\n", 2)), bad, "larger than any disk"},
		{"extent above the limit", one(`RW 9007199254740993 FLAT "flat" 0`), big, "virtual size 4611686018427388416"},
		{"offset -1", one(`RW 1 FLAT "flat" -1`), bad, "wrong offset"},
		{"offset of 2^63", one(`RW 1 FLAT "flat" 9223372036854775807`), bad, "wrong offset"},
		{"offset past the end", one(`RW 1 FLAT "flat" 100000`), bad, `extent file "flat"`},
		{"size past the end", one(fmt.Sprintf("RW %d FLAT \"flat\" 0", n+1)), bad, `extent file "flat"`},
		{"no offset", one(`RW 1 FLAT "flat"`), bad, "wrong offset"},
		{"short file", flat("short"), bad, `extent file "short"`},
		{"empty file as sparse", one(`RW 1 SPARSE "empty"`), bad, `extent file "empty"`},
		{"flat file as sparse", one(`RW 1 SPARSE "flat"`), bad, "no magic of a sparse extent"},
		{"sparse file as ESX sparse", one(`RW 1 SESPARSE "sparse"`), bad, "no magic of a seSparse extent"},
		{"sparse file of another size", one(fmt.Sprintf("RW %d SPARSE \"sparse\"", n+8)), bad, "the descriptor"},
		{"sparse file twice", one(strings.Repeat(fmt.Sprintf("RW %d SPARSE \"sparse\"\n", n), 2)), bad, `"sparse" is used twice`},
		{"read-only", one(`RDONLY 1 FLAT "flat" 0`), no, "access RDONLY"},
		{"kind of a device", one(`RW 1 VMFSRDM "flat"`), no, `type "VMFSRDM"`},
		{"no name", one(`RW 1 FLAT "" 0`), bad, `file name ""`},
		{"here", flat("."), bad, `file name "."`},
		{"above", flat(".."), bad, `file name ".."`},
		{"name that does not end", one(`RW 1 FLAT "flat`), bad, "does not end"},
		{"name without quotes", one(`RW 1 FLAT flat 0`), bad, "without quotes"},
		{"name of 256 bytes", flat(strings.Repeat("x", 256)), bad, "file name"},
		{"path above", flat("../flat"), refused, `"../flat" is not a plain name`},
		{"absolute path", flat("/etc/passwd"), refused, `"/etc/passwd" is not a plain name`},
		{"path of Windows", one(`RW 1 FLAT "..\flat" 0`), refused, "is not a plain name"},
		{"drive", flat("C:flat"), refused, "is not a plain name"},
		{"URL", flat("http://127.0.0.1/x"), refused, "is not a plain name"},
		{"name not in UTF-8", one("RW 1 FLAT \"fl\xffat\" 0"), no, "not text in UTF-8"},
		{"name with a control character", one("RW 1 FLAT \"fl\x1bat\" 0"), no, "not text in UTF-8"},
		{"zero byte", change("Flat", "Fl\x00at"), bad, "quotes"}, // ends the text
	} {
		t.Run(h.name, func(t *testing.T) {
			defer formattest.Frugal(t)()
			got, err := readAll(t, []byte(h.text), Options{Sibling: func(name string) (File, error) {
				if _, ok := all[name]; !ok {
					t.Errorf("file %q is asked for", name)
				}
				return all.open(name)
			}})
			check(t, "open", err, hostile{want: h.want, says: h.says})
			if err == nil && !bytes.Equal(got, disk) {
				t.Error("another disk")
			}
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("a message of %d bytes", len(err.Error()))
			}
		})
	}
}

// TestHostileExtents opens extents of ESX with a lie in them.
func TestHostileExtents(t *testing.T) {
	cowd, _ := craftCOWD()
	se, _ := craftSE()
	const n, gd = craftSize / sector, 4 * sector
	field := func(i int, v uint64) crafted { return se.U64(8*i, v) }
	bad, no := errdef.ErrCorrupt, errdef.ErrUnsupported
	for _, h := range []hostile{
		{"cowd", cowd, nil, ""},
		{"cowd magic only", cowd[:4], bad, "past the end"},
		{"cowd cut behind the header", cowd[:2048], bad, "past the end"},
		{"cowd version 2", cowd.U32(4, 2), no, "COWD version 2"},
		{"cowd of 0 sectors", cowd.U32(12, 0), bad, "without sectors"},
		{"cowd of 2^32-1 sectors", cowd.U32(12, math.MaxUint32), bad, "2 entries"},
		{"cowd of another size", cowd.U32(12, n-1), bad, "the descriptor"},
		{"cowd grain of 0", cowd.U32(16, 0), bad, "grain size of 0"},
		{"cowd grain of 3", cowd.U32(16, 3), bad, "grain size of 3"},
		{"cowd grain of 2^31", cowd.U32(16, 1<<31), bad, "grain size of 2147483648"},
		{"cowd directory at 0", cowd.U32(20, 0), bad, "directory at sector 0"},
		{"cowd directory past the end", cowd.U32(20, math.MaxUint32), bad, "past the end"},
		{"cowd directory of 1 entry", cowd.U32(24, 1), bad, "directory of 1 entries, 2 are needed"},
		{"cowd directory of 2^32-1", cowd.U32(24, math.MaxUint32), nil, ""}, // of which two are read
		{"cowd directory of 2^32-1, all needed", cowd.U32(24, math.MaxUint32).U32(12, math.MaxUint32), bad, ""},
		{"cowd table past the end", cowd.U32(gd, math.MaxUint32), bad, "past the end"},
		{"cowd table in the header", cowd.U32(gd, 1), bad, "overlaps"},
		{"cowd table is the directory", cowd.U32(gd, 4), bad, "overlaps"},
		{"cowd tables are one", cowd.U32(gd+4, 8), bad, "overlap"},
		{"cowd tables overlap", cowd.U32(gd+4, 9), bad, "overlap"},
		{"cowd grain past the end", cowd.U32(8*sector, math.MaxUint32), bad, "past the end"},
		{"cowd grain in the header", cowd.U32(8*sector, 1), bad, "overlaps the header"},
		{"cowd grain in the directory", cowd.U32(8*sector, 4), bad, "overlaps the grain directory"},
		{"cowd cut by a byte", cowd[:len(cowd)-1], bad, "past the end"},

		{"se", se, nil, ""},
		{"se magic only", se[:8], bad, "past the end"},
		{"se cut behind the header", se[:sector], bad, "past the end"},
		{"se version", field(1, 3<<32), no, "seSparse version"},
		{"se of 0 sectors", field(2, 0), bad, "without sectors"},
		{"se of 2^63 bytes", field(2, 1<<54), bad, "field 2"},
		{"se of 2^64-1 sectors", field(2, math.MaxUint64), bad, "field 2"},
		{"se of another size", field(2, n-1), bad, "the descriptor"},
		{"se grain of 0", field(3, 0), no, "grain size of 0"},
		{"se grain of 16", field(3, 16), no, "grain size of 16"},
		{"se tables of 0", field(4, 0), no, "grain tables of 0"},
		{"se flags", field(5, 1), no, "flags"},
		{"se reserved", field(63, 1), no, "reserved"},
		{"se volatile header past the end", field(10, 1<<40), bad, "past the end"},
		{"se volatile header at 2^63", field(10, 1<<63), bad, "field 10"},
		{"se volatile header is none", field(10, 0), bad, "no magic in the volatile header"},
		{"se journal", se.U64(atSEVolatile*sector+24, 1), no, "journal to replay"},
		{"se directory past the end", field(16, 1<<40), bad, "past the end"},
		{"se directory of 2^64-1", field(17, math.MaxUint64), bad, "field 17"},
		{"se directory too small", field(17, 0), bad, "directory of 0 entries"},
		{"se tables past the end", field(18, 1<<40), bad, "area of grain tables"},
		{"se tables of 2^62 bytes", field(19, 1<<53), bad, "area of grain tables"},
		{"se tables and their size of 2^63 together", field(18, 1<<53).U64(8*19, 1<<53+1), bad, "area of grain tables"},
		{"se grains of no room", field(25, 0), bad, "outside of their area of 0 bytes"},
		{"se grains past the end", field(24, 1<<40), bad, "past the end"},
		{"se grains at 2^62", field(24, 1<<53), bad, "past the end"},
		{"se directory entry of no kind", se.U64(atSEGD*sector, 7), bad, "directory entry 0 is 0x7"},
		{"se table outside", se.U64(atSEGD*sector, 1<<60|1<<30), bad, "table 1073741824 lies outside"},
		{"se entry of no kind", se.SEEntry(9, 4<<60), bad, "entry 0x4000000000000000"},
		{"se entry with rubbish", se.SEEntry(9, 7), bad, "entry 0x7"},
		{"se grain 2^60-1", se.SEEntry(9, seAllocated|(1<<60-1)), bad, "lies outside of their area"},
		{"se grain past the end", se.SEEntry(9, seAllocated|1000<<48), bad, "past the end"},
	} {
		t.Run(h.name, func(t *testing.T) {
			defer formattest.Frugal(t)()
			text := descriptorText("vmfsSparse", fmt.Sprintf("RW %d %s \"x\"", n, map[bool]string{true: "VMFSSPARSE", false: "SESPARSE"}[strings.HasPrefix(h.name, "cowd")]))
			got, err := readAll(t, []byte(text), Options{Limits: limits.Limits{VirtualSize: 1 << 46}, Sibling: files{"x": h.file}.open})
			check(t, "open", err, h)
			if err == nil && !bytes.Equal(got, craftedDisk()) {
				t.Error("another disk")
			}
			if err != nil && !errors.Is(err, h.want) {
				t.Error(err)
			}
		})
	}
}
