package pvcsource

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/lib/internal/inuse"
)

// writers says who may write to the block device at path; "" if nobody is seen to, and of anything else.
func writers(path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return ""
	}
	var by []inuse.Use
	for _, u := range inuse.Device(os.DirFS("/"), unix.Major(st.Rdev), unix.Minor(st.Rdev)) {
		if !u.ReadOnly {
			by = append(by, u)
		}
	}
	return strings.Join(inuse.By(by), ", ")
}
