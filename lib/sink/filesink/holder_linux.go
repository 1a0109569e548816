package filesink

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// holder tells which process has f locked, as " (process 42, \"cdictl\")"; "" where it cannot be known: it is on another
// machine, in another namespace, or /proc is not there.
func holder(f *os.File) string {
	var st unix.Stat_t
	if err := control(f, func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return ""
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer locks.Close()
	b, _ := io.ReadAll(io.LimitReader(locks, 1<<20)) // one line for each lock of the machine
	// "7: FLOCK  ADVISORY  WRITE 42 fd:00:1234 0 EOF"
	where := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(b)) {
		l := strings.Fields(line)
		if len(l) < 6 || l[1] != "FLOCK" || l[5] != where {
			continue
		}
		pid, err := strconv.Atoi(l[4])
		if err != nil || pid <= 0 {
			return ""
		}
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			return fmt.Sprintf(" (process %d)", pid)
		}
		return fmt.Sprintf(" (process %d, %q)", pid, strings.TrimSpace(string(name)))
	}
	return ""
}
