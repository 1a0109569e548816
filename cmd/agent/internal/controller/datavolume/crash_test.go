package datavolume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

var errKilled = errors.New("killed")

// fuse kills the process that uses it at its call number at: before the API server hears of it, or after.
type fuse struct {
	calls, at int
	after     bool
	blown     bool
	writes    []int // numbers of the calls that changed something
}

func (f *fuse) write(do func() error) error {
	f.writes = append(f.writes, f.calls+1)
	return f.guard(do)
}

func (f *fuse) guard(do func() error) error {
	if f.blown {
		return errKilled
	}
	f.calls++
	if f.calls != f.at {
		return do()
	}
	f.blown = true
	if f.after {
		_ = do()
	}
	return errKilled
}

func (f *fuse) client(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			return f.guard(func() error { return c.Get(ctx, k, o, opts...) })
		},
		List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, opts ...client.ListOption) error {
			return f.guard(func() error { return c.List(ctx, l, opts...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return f.write(func() error { return c.Create(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return f.write(func() error { return c.Delete(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			return f.write(func() error { return c.Patch(ctx, o, p, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			return f.write(func() error { return c.SubResource(sub).Patch(ctx, o, p, opts...) })
		},
	})
}

// told keeps events by their reasons.
type told map[string]int

func (e told) Eventf(_ runtime.Object, _ runtime.Object, kind, reason, _, _ string, _ ...any) {
	e[kind+" "+reason]++
}

var _ events.EventRecorder = told{}

// life is one DataVolume from its creation to its end, with processes that are killed.
type life struct {
	w    *world
	c    client.WithWatch
	fuse *fuse
	r    *reconciler
	told told
	key  client.ObjectKey
}

// settle reconciles until there is nothing to do. A process that is killed is followed by one that is not.
func (l *life) settle() {
	l.w.Helper()
	for range 30 {
		if l.r == nil {
			live := l.fuse.client(l.c)
			l.r = &reconciler{client: live, live: live, events: l.told, now: time.Now}
		}
		before := l.version()
		result, err := l.r.Reconcile(l.w.Context(), ctrl.Request{NamespacedName: l.key})
		switch {
		case l.fuse.blown:
			l.fuse, l.r = &fuse{}, nil
			continue
		case err != nil:
			l.w.Fatalf("reconcile: %v", err)
		}
		if l.version() == before && result.RequeueAfter != staleRetry {
			return
		}
	}
	l.w.Fatal("it does not come to rest: a hot loop")
}

func (l *life) version() string {
	dv := &cdiv1.DataVolume{}
	claim := &corev1.PersistentVolumeClaim{}
	l.w.must(l.c.Get(l.w.Context(), l.key, dv))
	l.w.must(client.IgnoreNotFound(l.c.Get(l.w.Context(), l.key, claim)))
	return dv.ResourceVersion + "/" + claim.ResourceVersion
}

// script is what happens around a DataVolume: each part is done when the controller has come to rest after the one before.
type script struct {
	class   string
	prepare func(*world, string)
	parts   []func(*life)
	reads   bool // kill it at reads too
}

func scripts() map[string]script {
	say := func(p cdi.Population, kv ...string) func(*life) {
		return func(l *life) { l.w.must(note(l.w.Context(), l.c, l.w.ns, l.key.Name, p, kv...)) }
	}
	bound := func(l *life) { l.w.must(bind(l.w.Context(), l.c, l.w.ns, l.key.Name, corev1.ClaimBound)) }
	return map[string]script{
		"populator": {class: classNow, parts: []func(*life){say(scheduled), say(running), bound, say(done)}},
		"plain":     {class: localNow, reads: true, parts: []func(*life){bound, say(running), say(done)}},
		"claim deleted": {class: classNow, parts: []func(*life){say(running), func(l *life) {
			w := *l.w
			w.deleteClaim(l.key.Name)
		}, say(running), bound, say(done)}},
		"adoption": {class: classNow, prepare: func(w *world, name string) {
			c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name, Annotations: map[string]string{cdi.AnnPopulatedFor: name}}}
			c.Spec.AccessModes, c.Spec.Resources = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, size("1Gi")
			class := classNow
			c.Spec.StorageClassName = &class
			w.create(c)
		}, parts: []func(*life){bound}},
	}
}

// TestKilledAnywhere kills the controller at every call that it makes in a DataVolume's life, before and after the API
// server has done it. The end is always the same, and nothing is told twice.
func TestKilledAnywhere(t *testing.T) {
	w := newWorld(t)
	config := rest.CopyConfig(w.env.Config)
	config.QPS = -1 // it is the number of calls that takes the time
	c, err := client.NewWithWatch(config, client.Options{Scheme: w.env.Scheme})
	w.must(err)
	fast := *w.env
	fast.Client = c
	all := scripts()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			sub := &world{T: t, env: &fast, ns: w.ns}
			short := strings.ReplaceAll(name, " ", "-")
			live := func(n int, after bool) (f *fuse, end string, told told) {
				disk := fmt.Sprintf("%s-%d-%t", short, n, after)
				if all[name].prepare != nil {
					all[name].prepare(sub, disk)
				}
				sub.dataVolume(disk, all[name].class, fromHTTP)
				l := &life{w: sub, c: c, fuse: &fuse{at: n, after: after}, told: map[string]int{}, key: client.ObjectKey{Namespace: w.ns, Name: disk}}
				f = l.fuse
				l.settle()
				for _, part := range all[name].parts {
					part(l)
					l.settle()
				}
				return f, l.end(), l.told
			}
			f, want, wantTold := live(0, false)
			t.Logf("%d calls without a cache, %d of them change something", f.calls, len(f.writes))
			if len(f.writes) < 2 {
				t.Fatalf("only %d calls change something", len(f.writes))
			}
			check := func(n int, after bool) {
				t.Helper()
				_, end, told := live(n, after)
				if d := cmp.Diff(want, end); d != "" {
					t.Errorf("killed at call %d (done: %t): another end (-want +got):\n%s", n, after, d)
				}
				for reason, times := range told {
					if times > wantTold[reason] {
						t.Errorf("killed at call %d (done: %t): %s told %d times", n, after, reason, times)
					}
				}
			}
			for n := 1; n <= f.calls; n++ {
				if slices.Contains(f.writes, n) {
					check(n, false)
					check(n, true)
				} else if all[name].reads {
					check(n, false) // that a read was answered makes no difference
				}
			}
		})
	}
}

// end is the state of the world, without names, times and UIDs.
func (l *life) end() string {
	dv, claim := l.w.get(l.key.Name), l.w.claim(l.key.Name)
	for i := range dv.Status.Conditions {
		dv.Status.Conditions[i].LastHeartbeatTime, dv.Status.Conditions[i].LastTransitionTime = metav1.Time{}, metav1.Time{}
	}
	var sources cdiv1.VolumeImportSourceList
	l.w.must(l.c.List(l.w.Context(), &sources, client.InNamespace(l.w.ns)))
	left := 0
	for i := range sources.Items {
		if sources.Items[i].Name == cdi.ImportSourceName(dv.UID) {
			left++
		}
	}
	b, err := json.MarshalIndent(map[string]any{
		"status": dv.Status, "spec": claim.Spec, "labels": claim.Labels, "annotations": claim.Annotations,
		"owner": metav1.IsControlledBy(claim, dv), "sources": left,
	}, "", " ")
	l.w.must(err)
	return strings.NewReplacer(l.key.Name, "NAME", string(dv.UID), "UID").Replace(string(b))
}
