package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/kube"
)

// TestSize imports 2 GiB of qcow2 into a claim of 6 GiB: with one pod that starts once, no claim but the target (and what
// becomes its volume), and in no more memory than its limit.
func TestSize(t *testing.T) {
	b := on(t)
	image := large(t)
	s := b.newSpace(t)
	v := volume{name: "large", class: b.quick(), url: image.url(), size: "6Gi"}
	seen := s.census(t)
	began := time.Now()
	s.order(t, v)
	memory := s.weigh(t)
	dv := s.succeed(t, v.name)
	took := time.Since(began)
	pods, claims := seen()
	if len(pods) != 1 || dv.Int("status", "restartCount") != 0 {
		t.Errorf("%d pods worked on it (%v) with %d restarts, want one that starts once", len(pods), pods, dv.Int("status", "restartCount"))
	}
	claims = slices.DeleteFunc(claims, func(name string) bool { return name == v.name || strings.HasPrefix(name, "prime-") })
	if len(claims) != 0 {
		t.Errorf("there were more claims: %v", claims)
	}
	m := memory()
	if m.limit > 200*mib {
		t.Errorf("the worker's limit is %d MiB, want at most 200", m.limit/mib)
	}
	if m.oom {
		t.Error("the worker was killed for its memory")
	}
	fmt.Printf("size: %d MiB of qcow2 into 6 GiB in %.1f s (%.0f MiB/s of the disk's data); worker: limit %d MiB, process at most %d MiB (VmHWM), cgroup at most %d MiB with page cache\n",
		image.bytes/mib, took.Seconds(), float64(2<<10)/took.Seconds(), m.limit/mib, m.process/mib, m.cgroup/mib)
	s.holds(t, v, image)
}

// census notes every pod of the agent's and every claim that the namespace ever has, until it is asked.
func (s space) census(t *testing.T) func() (pods, claims []string) {
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var group sync.WaitGroup
	found := map[string]map[string]string{}
	for _, resource := range []string{"pods", "persistentvolumeclaims"} {
		found[resource] = map[string]string{}
		group.Go(func() {
			_ = s.Watch(ctx, s.path(resource), func(o kube.Object, _ bool) bool { // ends with ctx
				if resource != "pods" || helper(resource, o) {
					mu.Lock()
					found[resource][o.UID()] = o.Name()
					mu.Unlock()
				}
				return false
			})
		})
	}
	names := func(m map[string]string) (list []string) {
		for _, name := range m {
			list = append(list, name)
		}
		return list
	}
	stop := sync.OnceFunc(func() { cancel(); group.Wait() })
	t.Cleanup(stop)
	return func() ([]string, []string) {
		stop()
		return names(found["pods"]), names(found["persistentvolumeclaims"])
	}
}
