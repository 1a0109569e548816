package cli

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cdictl/cdictl/cmd/internal/kube"
)

// A news is a change of a DataVolume or of a claim.
type news struct {
	dv    *kube.Change[unstructured.Unstructured]
	claim *kube.Change[corev1.PersistentVolumeClaim]
}

// watchBoth watches DataVolumes and claims (all, or those of a name), and hands what it hears to on, from one goroutine,
// until ctx ends, on returns an error, or the DataVolumes cannot be watched. Who may not see claims hears nothing of them.
func watchBoth(ctx context.Context, c *kube.Cluster, namespace, name string, on func(news) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var o metav1.ListOptions
	if name != "" {
		o.FieldSelector = "metadata.name=" + name
	}
	queue, ended := make(chan news), make(chan error, 2)
	send := func(n news) error {
		select {
		case queue <- n:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	go func() {
		ended <- kube.Watch(ctx, c, kube.DataVolumes, namespace, o,
			func(all []unstructured.Unstructured) error {
				if name != "" && len(all) == 0 { // it vanished while nobody looked
					return send(news{dv: &kube.Change[unstructured.Unstructured]{Gone: true}})
				}
				return nil
			},
			func(c kube.Change[unstructured.Unstructured]) error { return send(news{dv: &c}) })
	}()
	go func() {
		err := kube.Watch(ctx, c, kube.Claims, namespace, o, nil,
			func(c kube.Change[corev1.PersistentVolumeClaim]) error { return send(news{claim: &c}) })
		if !kube.IsForbidden(err) {
			ended <- err
		}
	}()
	for {
		select {
		case err := <-ended:
			return err
		case n := <-queue:
			if err := on(n); err != nil {
				return err
			}
		}
	}
}

// watch tells the list, and then whatever changes.
func (l *lister) watch(ctx context.Context) error {
	if err := l.once(ctx); err != nil && (l.name == "" || !kube.IsNotFound(err)) {
		return err
	}
	seen := map[string]item{}
	return watchBoth(ctx, l.cluster, l.namespace, l.name, func(n news) error {
		switch {
		case n.claim != nil:
			key := n.claim.Object.Namespace + "/" + n.claim.Object.Name
			l.claims[key] = n.claim.Object
			if n.claim.Gone {
				delete(l.claims, key)
			}
			if i, ok := seen[key]; ok && !l.objects() {
				return l.tell(i)
			}
			return nil
		case n.dv.Object == nil: // of the one asked for
			return nil
		}
		i, err := newItem(n.dv.Object)
		if err != nil {
			return err
		}
		seen[i.key()] = i
		if i.gone = n.dv.Gone; i.gone {
			delete(seen, i.key())
		}
		return l.tell(i)
	})
}

// tell writes i unless the same was told of it last.
func (l *lister) tell(i item) error {
	d := l.digest(i)
	if l.told[i.key()] == d {
		return nil
	}
	l.told[i.key()] = d
	if l.objects() {
		return write(l.out, encode(l.flags.output.value, []item{i}, false))
	}
	return write(l.out, l.rows([]item{i}))
}
