//go:build linux

package bounds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// A group is a control group of one process, with a limit to its memory: what a container is to the kernel.
type group struct {
	dir                string
	limit, peak        string // names of files
	dirty, writeback   string // fields of memory.stat
	kills              string // the file that has a field oom_kill
	maxDirty, sampling int64
}

// newGroup makes one until the test ends, by either version of control groups.
func newGroup(t *testing.T, limit int64) *group {
	t.Helper()
	if os.Getuid() != 0 {
		proc.Lacking(t, "making a control group needs root")
	}
	const top = "/sys/fs/cgroup"
	name := fmt.Sprintf("cdictl-bounds-%d", os.Getpid())
	g := &group{dir: filepath.Join(top, name), limit: "memory.max", peak: "memory.peak", dirty: "file_dirty", writeback: "file_writeback", kills: "memory.events"}
	if _, err := os.Stat(top + "/memory/memory.limit_in_bytes"); err == nil {
		g = &group{dir: filepath.Join(top, "memory", name), limit: "memory.limit_in_bytes", peak: "memory.max_usage_in_bytes", dirty: "dirty", writeback: "writeback", kills: "memory.oom_control"}
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		proc.Lacking(t, "no control group can be made: "+err.Error())
	}
	t.Cleanup(func() {
		err := os.Remove(g.dir)
		for range 600 { // the process that was in it may not be quite gone
			if err == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
			err = os.Remove(g.dir)
		}
		t.Error(err)
	})
	if err := os.WriteFile(filepath.Join(g.dir, g.limit), fmt.Append(nil, limit), 0); err != nil {
		proc.Lacking(t, "no control over memory: "+err.Error())
	}
	// There may be no swap, or none that is counted. It would let pass what must not.
	_ = os.WriteFile(filepath.Join(g.dir, "memory.swap.max"), []byte("0"), 0)
	_ = os.WriteFile(filepath.Join(g.dir, "memory.swappiness"), []byte("0"), 0)
	return g
}

// run measures args in the group, and how many bytes were waiting to be written at most.
func (g *group) run(ctx context.Context, args ...string) (proc.Usage, error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			dirty, err1 := g.field("memory.stat", g.dirty)
			writeback, err2 := g.field("memory.stat", g.writeback)
			if err1 == nil && err2 == nil {
				g.maxDirty = max(g.maxDirty, dirty+writeback)
				g.sampling++
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	in := []string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(g.dir, "cgroup.procs")}
	u, err := proc.Measure(ctx, append(in, args...)...)
	cancel()
	<-done
	if err == nil && g.sampling == 0 {
		err = errors.New("the group does not tell what is dirty")
	}
	return u, err
}

// most is the most memory that the group had, with the page cache.
func (g *group) most() (int64, error) {
	b, err := os.ReadFile(filepath.Join(g.dir, g.peak))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// killed is how often the kernel ended a process of the group for want of memory.
func (g *group) killed() (int64, error) { return g.field(g.kills, "oom_kill") }

func (g *group) field(file, name string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key == name {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, name)
}
