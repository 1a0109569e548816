package uninstall

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/errdef"
)

// interval is that of looking whether something is gone.
const interval = 500 * time.Millisecond

// Run deletes what the plan says, in its order, and waits for what has to be gone before the next step. told is called
// after each. Running it again goes on where it stopped: what is gone is no error.
func (p Plan) Run(ctx context.Context, c dynamic.Interface, patience time.Duration, told func(Step)) error {
	var wait []Step
	for _, s := range p.Delete {
		err := c.Resource(s.Resource).Namespace(s.Namespace).Delete(ctx, s.Name, metav1.DeleteOptions{
			PropagationPolicy: new(metav1.DeletePropagationBackground),
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return failed("delete", s.String(), err)
		}
		told(s)
		switch s.Resource.Resource {
		case "deployments":
			// Managers that still run would make StorageProfiles anew while they are being deleted.
			if err := p.managersGone(ctx, c, patience); err != nil {
				return err
			}
		case definitions.Resource, "namespaces":
			wait = append(wait, s)
		}
	}
	return gone(ctx, c, wait, patience)
}

func (p Plan) managersGone(ctx context.Context, c dynamic.Interface, patience time.Duration) error {
	pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	return until(ctx, patience, func(ctx context.Context) (left string, err error) {
		l, err := c.Resource(pods).Namespace(p.namespace).List(ctx, metav1.ListOptions{LabelSelector: cdi.LabelName + "=" + cdi.Agent})
		if err != nil {
			return "pods of the agent", err
		}
		if len(l.Items) == 0 {
			return "", nil
		}
		return "pods " + strings.Join(names(l.Items), ", ") + " in namespace " + p.namespace, nil
	})
}

// gone waits until the API server has finished deleting.
func gone(ctx context.Context, c dynamic.Interface, steps []Step, patience time.Duration) error {
	return until(ctx, patience, func(ctx context.Context) (left string, err error) {
		for _, s := range steps {
			u, err := c.Resource(s.Resource).Namespace(s.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				continue
			}
			s.With = ""
			left = s.String()
			if err != nil {
				return left, err
			}
			if f := u.GetFinalizers(); len(f) > 0 {
				left += " (waits for " + strings.Join(f, ", ") + ")"
			}
			return left, nil
		}
		return "", nil
	})
}

// until looks again and again what is left, until that is nothing. An API server that does not answer for a moment is no
// reason to give up: it is asked again.
func until(ctx context.Context, patience time.Duration, look func(context.Context) (left string, err error)) error {
	var left string
	var lookErr error
	err := wait.PollUntilContextTimeout(ctx, interval, patience, true, func(ctx context.Context) (bool, error) {
		if l, err := look(ctx); err == nil || left == "" {
			left, lookErr = l, err
		}
		if apierrors.IsForbidden(lookErr) {
			return false, failed("look at", left, lookErr)
		}
		return left == "" && lookErr == nil, nil
	})
	if err == nil || ctx.Err() != nil || !wait.Interrupted(err) {
		return err
	}
	err = fmt.Errorf("still being deleted: %s: %w", left, errdef.ErrTimeout)
	if lookErr != nil {
		err = fmt.Errorf("%w: %w", err, lookErr)
	}
	return errdef.WithHint(err, "look at what holds it (kubectl get -o yaml shows finalizers), and run the command again")
}

func names(all []unstructured.Unstructured) []string {
	n := make([]string, len(all))
	for i := range all {
		n[i] = all[i].GetName()
	}
	return n
}
