//go:build linux

package archive

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// TestLabels: ACLs and labels of SELinux come from pax records, and from nowhere else. What cannot be set is told.
func TestLabels(t *testing.T) {
	t.Parallel()
	proc.Need(t, "setfacl")
	bin, top := proc.TestBinary(t), t.TempDir()
	if os.Geteuid() != 0 {
		proc.Lacking(t, "only root may set a label where there is no SELinux")
	}
	target := filepath.Join(top, "target")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	// New files would have this, which no archive tells of.
	if _, err := proc.Tool(t.Context(), "setfacl", "-m", "d:u:4711:rwx", target); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: "d/", Mode: 0o755, Typeflag: tar.TypeDir, PAXRecords: map[string]string{"SCHILY.acl.default": "user::rwx,user:4711:r-x,group::r-x,mask::r-x,other::---"}},
		{Name: "d/plain", Mode: 0o640},
		{Name: "d/label", Mode: 0o640, PAXRecords: map[string]string{"RHT.security.selinux": "system_u:object_r:etc_t:s0"}},
		{Name: "d/acl", Mode: 0o600, PAXRecords: map[string]string{"SCHILY.acl.access": "user::rw-,user:no such user:r--:4711,group::---,mask::r--,other::---"}},
		{Name: "d/unknown", Mode: 0o640, PAXRecords: map[string]string{"SCHILY.acl.access": "user::rw-,user:no such user:r--,group::---,mask::r--,other::---"}},
		{Name: "d/nfs", Mode: 0o640, PAXRecords: map[string]string{"SCHILY.acl.ace": "owner@:rw-p--aARWcCos:-------:allow"}},
		{Name: "d/default", Mode: 0o640, PAXRecords: map[string]string{"SCHILY.acl.default": "user::rwx,group::r-x,other::---"}},
		{Name: "d/link", Linkname: "plain", Typeflag: tar.TypeSymlink, PAXRecords: map[string]string{"SCHILY.acl.access": "user::rw-,group::r--,other::---"}},
	} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(top, "a.tar")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := proc.Run(t.Context(), proc.Command{Args: []string{bin, "import", "--content", "archive", "-o", "json", file, target}})
	if err != nil || r.Exit != 0 {
		t.Fatal(err, r.Stderr)
	}
	if !strings.Contains(r.Stdout, `"attributesLost": 4`) || !strings.Contains(r.Stderr, `attributes of 4 members, the first "system.posix_acl_access" of "d/unknown"`) {
		t.Errorf("it says %s%s", r.Stdout, r.Stderr)
	}
	for name, want := range map[string]string{
		"d":         "system.posix_acl_default=0200000001000700ffffffff020005006712000004000500ffffffff10000500ffffffff20000000ffffffff",
		"d/plain":   "",
		"d/label":   "security.selinux=73797374656d5f753a6f626a6563745f723a6574635f743a733000",
		"d/acl":     "system.posix_acl_access=0200000001000600ffffffff020004006712000004000000ffffffff10000400ffffffff20000000ffffffff",
		"d/unknown": "", "d/nfs": "", "d/default": "", "d/link": "",
	} {
		got, err := xattrs(filepath.Join(target, name))
		if err != nil || strings.TrimSpace(got) != want {
			t.Errorf("%s has %q, want %q: %v", name, got, want, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(target, "d", "acl"), &st); err != nil || st.Mode&0o777 != 0o640 {
		t.Errorf("d/acl has mode %o: %v", st.Mode, err) // the mask of its ACL
	}
}
