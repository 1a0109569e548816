package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/kube"
)

// cgroups finds the memory cgroups of a pod's containers on the node, the pause container's too.
func cgroups(uid string) []string {
	var found []string
	_ = filepath.WalkDir("/sys/fs/cgroup/memory", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return fs.SkipDir // containers come and go
		}
		if err != nil || !d.IsDir() {
			return err
		}
		if strings.HasSuffix(path, "pod"+uid) {
			entries, _ := os.ReadDir(path)
			for _, e := range entries {
				if e.IsDir() {
					found = append(found, filepath.Join(path, e.Name()))
				}
			}
			return fs.SkipDir
		}
		return nil
	})
	return found
}

// processes are those of a cgroup whose program has a name.
func processes(cgroup, name string) (pids []int) {
	b, _ := os.ReadFile(filepath.Join(cgroup, "cgroup.procs"))
	for _, f := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", f, "cmdline"))
		program, _, _ := strings.Cut(string(line), "\x00")
		if filepath.Base(program) == name {
			pids = append(pids, pid)
		}
	}
	return pids
}

// workers are the pods that fill claims of the namespace.
func (s space) workers(ctx context.Context) ([]kube.Object, error) {
	return s.List(ctx, s.path("pods")+"?labelSelector=cdi.kubevirt.io%3Dimporter")
}

// workerProcesses are those of the namespace's workers.
func (s space) workerProcesses(t *testing.T) (pids []int) {
	t.Helper()
	pods, err := s.workers(t.Context())
	must(t, err)
	for _, p := range pods {
		for _, g := range cgroups(p.UID()) {
			pids = append(pids, processes(g, "agent")...)
		}
	}
	return pids
}

// killWorker kills the process of a worker as an OOM would, and tells whether there was one.
func (s space) killWorker(t *testing.T) bool {
	t.Helper()
	killed := false
	for _, pid := range s.workerProcesses(t) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
			killed = true
		} else if !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
	return killed
}

// restartComponents kills parts of the node; they come back by themselves.
func (b *bed) restartComponents(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		file := filepath.Join(b.state, "pids", name)
		old, err := os.ReadFile(file)
		must(t, err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(old)))
		must(t, err)
		must(t, syscall.Kill(pid, syscall.SIGKILL))
		for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			now, err := os.ReadFile(file)
			if err == nil && string(now) != string(old) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s does not come back", name)
			}
		}
	}
}

// weight is what a worker took.
type weight struct {
	limit, process, cgroup int64
	oom                    bool
}

// weigh samples the memory of the namespace's workers until it is asked. On a cluster that is not our own there is only
// the limit.
func (s space) weigh(t *testing.T) func() weight {
	ctx, cancel := context.WithCancel(t.Context())
	var w weight
	var group sync.WaitGroup
	group.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			pods, err := s.workers(ctx)
			if err != nil || len(pods) == 0 {
				continue
			}
			for _, c := range pods[0].Objects("spec", "containers") {
				w.limit = max(w.limit, quantity(c.Text("resources", "limits", "memory")))
			}
			if s.state == "" {
				continue
			}
			groups := cgroups(pods[0].UID())
			for ctx.Err() == nil && len(groups) > 0 && s.sample(groups, &w) {
				time.Sleep(20 * time.Millisecond)
			}
		}
	})
	stop := sync.OnceFunc(func() { cancel(); group.Wait() })
	t.Cleanup(stop)
	return func() weight { stop(); return w }
}

// sample looks once, and tells whether there is something to look at.
func (s space) sample(groups []string, w *weight) bool {
	there := false
	for _, g := range groups {
		pids := processes(g, "agent")
		if len(pids) == 0 {
			continue
		}
		there = true
		w.cgroup = max(w.cgroup, number(filepath.Join(g, "memory.max_usage_in_bytes")))
		b, _ := os.ReadFile(filepath.Join(g, "memory.oom_control"))
		w.oom = w.oom || strings.Contains(string(b), "oom_kill ") && !strings.Contains(string(b), "oom_kill 0")
		for _, pid := range pids {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, rest, _ := strings.Cut(string(status), "VmHWM:")
			if f := strings.Fields(rest); len(f) > 0 {
				kb, _ := strconv.ParseInt(f[0], 10, 64)
				w.process = max(w.process, kb<<10)
			}
		}
	}
	return there
}

func number(file string) int64 {
	b, _ := os.ReadFile(file)
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// quantity reads a number of bytes with one of the usual units.
func quantity(s string) int64 {
	for unit, n := range map[string]int64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 1e3, "M": 1e6, "G": 1e9} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			v, _ := strconv.ParseInt(number, 10, 64)
			return v * n
		}
	}
	v, _ := strconv.ParseInt(s, 10, 64)
	return v
}

// csiFault makes calls of the CSI driver for claims of the namespace fail.
func (s space) csiFault(t *testing.T, call string, times int) (left func() bool) {
	t.Helper()
	folder := filepath.Join(s.state, "csi", "faults")
	file := filepath.Join(folder, s.name+"-"+call+".json")
	part := filepath.Join(folder, "."+s.name+"-"+call)
	content := fmt.Sprintf(`{"call": %q, "claim": "%s/*", "times": %d, "code": "UNAVAILABLE", "message": "the array is being restarted"}`, call, s.name, times)
	must(t, os.WriteFile(part, []byte(content), 0o644))
	must(t, os.Rename(part, file))
	t.Cleanup(func() { os.Remove(file) })
	return func() bool {
		_, err := os.Stat(file)
		return err == nil
	}
}
