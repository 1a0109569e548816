package worker

import (
	"io/fs"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// unlimited is above any limit that somebody sets: cgroup v1 has a number for none, and v2 a word.
	unlimited = 1 << 50
	// besideWindow is what a worker takes at most beside the window of a codec.
	besideWindow = 60 << 20
	// leastWindow is what xz -6 and zstd -19 need, the usual ones. A limit below that may be met by an out-of-memory kill.
	leastWindow = 8 << 20
)

// memoryLimit is the smallest memory limit of this process's cgroup and those above it, as far as root shows them; 0: none.
func memoryLimit(root fs.FS) int64 {
	limit := int64(unlimited)
	for _, g := range memoryGroups(root) {
		b, err := fs.ReadFile(root, g)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 {
			limit = min(limit, n)
		}
	}
	if limit == unlimited {
		return 0
	}
	return limit
}

// memoryGroups are the files that hold the limits. A container sees its own cgroup at the root of the mount, whatever its
// path is called, or the path itself where it shares the host's namespace.
func memoryGroups(root fs.FS) []string {
	v1, v2 := "", ""
	b, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(b)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		for c := range strings.SplitSeq(part[1], ",") {
			if c == "memory" {
				v1 = part[2]
			}
		}
		if part[0] == "0" {
			v2 = part[2]
		}
	}
	var files []string
	up := func(mount, group, name string) {
		for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
			files = append(files, path.Join(mount, dir, name))
			if dir == "/" {
				return
			}
		}
	}
	up("sys/fs/cgroup/memory", v1, "memory.limit_in_bytes")
	up("sys/fs/cgroup", v2, "memory.max")
	return files
}

// applyMemory keeps the collector below the limit. A tenth is left to what is not the heap's.
func applyMemory(limit int64) {
	if limit > 0 {
		debug.SetMemoryLimit(limit - limit/10)
	}
}

// window is the largest codec window that fits the limit: one that does not is an error that says so, instead of a worker
// that is killed again and again. 0: the default.
func window(limit int64) int64 {
	if limit == 0 || limit >= besideWindow+(128<<20) {
		return 0
	}
	return max(limit-besideWindow, leastWindow)
}
