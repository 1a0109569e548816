package population

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

// TestKilled kills the manager after its first write, after its second, and so on, for every write that it makes on the way
// of a claim. The next manager, which knows nothing of it, comes to the same end, with one pod and nothing left over.
func TestKilled(t *testing.T) {
	ways := []struct {
		name    string
		flow    flow
		outcome *job.Result
		end     cdi.State
		writes  int // at least
	}{
		{"through PVC′", viaPrime, done, cdi.StateDone, 11},
		{"directly", direct, done, cdi.StateDone, 6},
		{"through PVC′, failing", viaPrime, never, cdi.StateFailed, 8},
		{"directly, failing", direct, never, cdi.StateFailed, 5},
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			run := func(t *testing.T, kill int) (writes int) {
				s := newStage(t)
				if way.flow == viaPrime {
					s.source()
				}
				s.outcome = func(int) (int32, *job.Result) { return 0, way.outcome }
				c := s.claim(way.flow, s.class(immediately, driver), nil)
				m := &mortal{Client: s.env.Client, left: kill}
				s.restart(m)
				if s.killed(c, way.end) {
					s.restart(s.env.Client)
				}
				if way.end == cdi.StateDone {
					s.filled(c)
				} else {
					s.until(c, "the end", func(p cdi.Population, _ *corev1.PersistentVolumeClaim) bool { return p.State == way.end && p.Pod == "" })
					s.clean()
					if got := s.get(c).Annotations[cdi.AnnFatalError]; got != "DigestMismatch: other bytes" {
						t.Errorf("fatal error %q", got)
					}
				}
				if len(s.pods) != 1 || s.containers != 1 {
					t.Errorf("%d pods, %d containers", len(s.pods), s.containers)
				}
				return m.sent
			}
			writes := run(t, 1000)
			t.Logf("%d writes", writes)
			if writes < way.writes {
				t.Errorf("%d writes, there were %d once", writes, way.writes)
			}
			for n := range writes {
				t.Run(fmt.Sprintf("after write %d", n+1), func(t *testing.T) {
					t.Parallel() // most of the time they wait for Kubernetes
					run(t, n+1)
				})
			}
		})
	}
}

// killed goes on until the manager is killed, and tells whether it was before the end.
func (s *stage) killed(c *corev1.PersistentVolumeClaim, end cdi.State) bool {
	s.Helper()
	for range 9000 {
		_, err := s.r.Reconcile(s.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(c)})
		if errors.Is(err, errKilled) {
			s.play()
			return true
		}
		s.must(err)
		s.play()
		if p := saidOf(s.get(c)); p.State == end && p.Pod == "" {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.Fatal("no end")
	return false
}
