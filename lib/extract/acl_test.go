package extract

import (
	"encoding/hex"
	"testing"
)

func TestBinaryACL(t *testing.T) {
	const min = "02000000" + "01000600ffffffff" + "04000400ffffffff" + "20000000ffffffff"
	for name, c := range map[string]struct{ text, want string }{
		"minimal":    {"user::rw-\ngroup::r--\nother::---\n", min},
		"short":      {"u::rw,g::r,o::-", min},
		"no blanks":  {"other:---,user::rw-,group::r--", min},
		"comments":   {"# file\nuser::rw-\t#effective:r--\n\n group::r--\nother::---", min},
		"named":      {"user::rw-,user:1000:r-x,group::r--,group:5:-w-,mask::rwx,other::---", "02000000" + "01000600ffffffff" + "02000500e8030000" + "04000400ffffffff" + "0800020005000000" + "10000700ffffffff" + "20000000ffffffff"},
		"sorted":     {"user:9:r,user:8:w,user::rw-,group::r--,other::---", "02000000" + "01000600ffffffff" + "0200020008000000" + "0200040009000000" + "04000400ffffffff" + "20000000ffffffff"},
		"number":     {"user::rw-,user:nobody of this name:r--:77,group::r--,other::---", "02000000" + "01000600ffffffff" + "020004004d000000" + "04000400ffffffff" + "20000000ffffffff"},
		"nobody":     {"user::rw-,user:nobody of this name:r--,group::r--,other::---", ""},
		"no ID":      {"user:4294967295:rwx", ""},
		"twice":      {"user:8:r,user:8:w", ""},
		"NFS 4":      {"owner@:rw-p--aARWcCos:-------:allow", ""},
		"other kind": {"world::rwx", ""},
		"bits":       {"user::rws", ""},
		"whose mask": {"mask:root:rwx", ""},
		"no bits":    {"user", ""},
	} {
		var n ids
		got, err := n.binaryACL(c.text)
		if (err == nil) != (c.want != "") || hex.EncodeToString([]byte(got)) != c.want {
			t.Errorf("%s: %x, %v, want %s", name, got, err, c.want)
		}
	}
	if got := unquote(`a\040b\\c\134\9`); got != `a b\\c\\9` {
		t.Errorf("unquote: %q", got)
	}
}

func FuzzACL(f *testing.F) {
	f.Add("user::rw-,user:1000:r-x,group::r--,group:5:-w-,mask::rwx,other::---")
	f.Add("user::rw-\ngroup:\\040x:r--:12\nmask:r\n# x")
	f.Fuzz(func(t *testing.T, text string) {
		var n ids
		b, err := n.binaryACL(text)
		if err != nil {
			return
		}
		if len(b)%8 != 4 || len(b) > 4+8*len(text) {
			t.Errorf("%d bytes of %d", len(b), len(text))
		}
		if again, err := n.binaryACL(text); err != nil || again != b {
			t.Errorf("a second time: %x, %v", again, err)
		}
	})
}
