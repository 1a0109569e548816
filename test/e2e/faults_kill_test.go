package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/kube"
)

// TestManagerKilled kills all managers at 30 random moments, while DataVolumes of every kind are made and filled. The
// kills come in the midst of whatever the managers do, so each run tries others; the seed is told.
func TestManagerKilled(t *testing.T) {
	const kills = 30
	b := on(t)
	image := small(t)
	s := b.newSpace(t)
	seed := uint64(time.Now().UnixNano())
	if env := os.Getenv("E2E_SEED"); env != "" {
		var err error
		seed, err = strconv.ParseUint(env, 10, 64)
		must(t, err)
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	var volumes []volume
	began := time.Now()
	for i := range kills {
		if i%2 == 0 {
			c := b.classes[i/2%len(b.classes)]
			if !c.csi && i >= 2*len(b.classes) {
				c = b.quick() // a test/cluster has few volumes without CSI
			}
			v := volume{name: fmt.Sprintf("disk-%02d", i), class: c, block: i/4%2 == 1, now: true}
			if i%6 != 0 {
				v.url = image.url()
			}
			s.order(t, v)
			volumes = append(volumes, v)
		}
		time.Sleep(time.Duration(rng.Int64N(int64(3 * time.Second))))
		b.killManagers(t)
	}
	t.Logf("seed %d: %d kills in %.0f s", seed, kills, time.Since(began).Seconds())
	for _, v := range volumes {
		s.succeed(t, v.name)
	}
	for _, v := range volumes {
		want := image
		if v.url == "" {
			want = blank
		}
		s.holds(t, v, want)
	}
	s.tidy(t)
	fmt.Printf("faults: managers killed %d times (seed %d), %d DataVolumes right after %.0f s\n", kills, seed, len(volumes), time.Since(began).Seconds())
}

// killManagers deletes the managers' pods without warning, and the lease, so that the next one need not wait for its end.
func (b *bed) killManagers(t *testing.T) {
	t.Helper()
	pods, err := b.List(t.Context(), "/api/v1/namespaces/"+agentNamespace+"/pods?labelSelector=app.kubernetes.io%2Fname%3D"+agentName)
	must(t, err)
	for _, p := range pods {
		must(t, b.Delete(t.Context(), "/api/v1/namespaces/"+agentNamespace+"/pods/"+p.Name(), true))
	}
	must(t, b.Delete(t.Context(), "/apis/coordination.k8s.io/v1/namespaces/"+agentNamespace+"/leases/"+agentLease, true))
}

// TestWorkerKilled kills a worker's process ten times and deletes its pod three times, all in one import.
func TestWorkerKilled(t *testing.T) {
	b := own(t)
	image := noise(t)
	for _, block := range []bool{false, true} {
		t.Run(word(block, "Block", "Filesystem"), func(t *testing.T) {
			t.Parallel()
			s := b.newSpace(t)
			own := b.copyOf(t, image)
			mend := b.misbehave(t, rule{"path": "/" + own.name, "rate": mib / 2})
			v := volume{name: "disk", class: b.quick(), url: own.url(), block: block}
			began := time.Now()
			s.order(t, v)
			for kills := 0; kills < 10; kills++ {
				s.eventually(t, "kill the worker", func(context.Context) error {
					if len(s.workerProcesses(t)) == 0 {
						return fmt.Errorf("there is none")
					}
					time.Sleep(time.Duration(rand.IntN(2500)) * time.Millisecond) // it is somewhere in its work
					if !s.killWorker(t) {
						return fmt.Errorf("there is none any more")
					}
					return nil
				})
				if kills%3 == 2 { // and the pod goes with it
					s.eventually(t, "delete the pod", func(ctx context.Context) error {
						pods, err := s.workers(ctx)
						if err == nil && len(pods) == 0 {
							err = fmt.Errorf("there is none")
						}
						if err == nil {
							err = s.Delete(ctx, s.path("pods", pods[0].Name()), kills > 5)
						}
						return err
					})
				}
			}
			mend()
			dv := s.succeed(t, v.name)
			if n := dv.Int("status", "restartCount"); n < 2 { // it is that of one pod, and no pod was killed more often
				t.Errorf("restartCount is %d after ten kills", n)
			}
			s.holds(t, v, own)
			s.tidy(t)
			_, fetched := b.served(t, own.name)
			fmt.Printf("faults: worker of a %s claim killed 10 times, its pod deleted 3 times: right after %.0f s, %d restarts told, %.1f times the image fetched\n",
				v.mode(), time.Since(began).Seconds(), dv.Int("status", "restartCount"), float64(fetched)/float64(own.bytes))
		})
	}
}

// TestNodeRestarts kills kubelet and containerd in the midst of an import.
func TestNodeRestarts(t *testing.T) {
	b := own(t)
	s := b.newSpace(t)
	image := b.copyOf(t, noise(t))
	mend := b.misbehave(t, rule{"path": "/" + image.name, "rate": 1 * mib})
	v := volume{name: "disk", class: b.quick(), url: image.url()}
	s.order(t, v)
	s.until(t, v.name, "running", moving)
	b.restartComponents(t, "kubelet")
	time.Sleep(3 * time.Second)
	b.restartComponents(t, "containerd", "kubelet", "csidriver")
	time.Sleep(3 * time.Second)
	mend()
	s.succeed(t, v.name)
	s.holds(t, v, image)
}

// moving: the worker has begun to transfer.
func moving(dv kube.Object) bool {
	return phase("ImportInProgress")(dv) && dv.Condition("Running").Text("status") == "True"
}
