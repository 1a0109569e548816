package kube

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/cdictl/cdictl/lib/errdef"
)

// A Change is what a watch tells: an object as it is now, or, Gone, as it was.
type Change[T any] struct {
	Object *T
	Gone   bool
}

// pause before a watch that ended is taken up again; doubled up to the limit while the server does not answer.
const (
	pause    = 500 * time.Millisecond
	maxPause = 10 * time.Second
)

// Watch tells on about every object that the options select, first as they are, then each change, until ctx ends or on
// returns an error; it returns that error. Watches that end are taken up again from a new list, so an object can be told
// twice, but never is a last state missed; what vanished meanwhile is told by gaps, which are lists of all that is there
// (nil: not wanted). It gives up only on errors that will not pass: a kind that is not there, a right that is missing.
func Watch[T any](ctx context.Context, c *Cluster, r Resource, namespace string, o metav1.ListOptions, gaps func([]T) error, on func(Change[T]) error) error {
	var told error // what on or gaps returned: the end, whatever it is
	tell := func(ch Change[T]) error { told = on(ch); return told }
	all := func(list []T) error {
		if gaps != nil {
			told = gaps(list)
		}
		return told
	}
	wait := pause
	for {
		err := watchOnce(ctx, c, r, namespace, o, all, tell, &wait)
		switch {
		case told != nil:
			return told
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && lasting(err):
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, maxPause)
	}
}

// lasting says that trying again does not help.
func lasting(err error) bool {
	return !errors.Is(err, errdef.ErrUnavailable) && !errors.Is(err, errdef.ErrTimeout) &&
		!apierrors.IsResourceExpired(err) && !apierrors.IsGone(err)
}

func watchOnce[T any](ctx context.Context, c *Cluster, r Resource, namespace string, o metav1.ListOptions, gaps func([]T) error, on func(Change[T]) error, wait *time.Duration) error {
	all, version, err := List[T](ctx, c, r, namespace, o)
	if err != nil {
		return err
	}
	if err := gaps(all); err != nil {
		return err
	}
	for i := range all {
		if err := on(Change[T]{Object: &all[i]}); err != nil {
			return err
		}
	}
	*wait = pause
	o.ResourceVersion, o.AllowWatchBookmarks = version, true
	w, err := c.of(r, namespace).Watch(ctx, o)
	if err != nil {
		return c.wrap(ctx, "watch", r, namespace, "", err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.ResultChan():
			if !ok {
				return nil
			}
			if e.Type == watch.Bookmark {
				continue
			}
			if e.Type == watch.Error {
				return c.wrap(ctx, "watch", r, namespace, "", apierrors.FromObject(e.Object))
			}
			u, ok := e.Object.(*unstructured.Unstructured)
			if !ok {
				continue
			}
			v, err := convert[T](r, u)
			if err != nil {
				return err
			}
			if err := on(Change[T]{Object: v, Gone: e.Type == watch.Deleted}); err != nil {
				return err
			}
		}
	}
}
