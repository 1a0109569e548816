package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cdictl/cdictl/lib/errdef"
)

// classified is an API error that is one of errdef's too, without a word more in its text.
type classified struct {
	error
	class error
}

func (e classified) Unwrap() []error { return []error{e.error, e.class} }

// IsNotFound says that the object, and not the kind, is missing.
func IsNotFound(err error) bool { return apierrors.IsNotFound(err) && !IsNoKind(err) }

// IsNoKind says that the API server does not know the kind: its CRD is not installed.
func IsNoKind(err error) bool {
	var s apierrors.APIStatus
	// Of an unknown path the server says "404 page not found", and no name; of an object it says which.
	return errors.As(err, &s) && s.Status().Code == 404 && (s.Status().Details == nil || s.Status().Details.Name == "")
}

// IsForbidden says that the user may not do this.
func IsForbidden(err error) bool { return apierrors.IsForbidden(err) }

// IsExists says that an object of this name is there.
func IsExists(err error) bool { return apierrors.IsAlreadyExists(err) }

// wrap says what was done to which object, gives err its class, and a next step. nil stays nil.
func (c *Cluster) wrap(ctx context.Context, verb string, r Resource, namespace, name string, err error) error {
	if err == nil {
		return nil
	}
	what := r.Short
	if name != "" {
		what += "/" + name
	}
	if namespace != "" && !r.Cluster {
		what += " in namespace " + namespace
	}
	hint, class := c.class(ctx, verb, r, namespace, err)
	err = fmt.Errorf("%s %s: %w", verb, what, err)
	if class != nil {
		err = classified{err, class}
	}
	if hint != "" {
		err = errdef.WithHint(err, hint)
	}
	return err
}

func (c *Cluster) class(ctx context.Context, verb string, r Resource, namespace string, err error) (hint string, class error) {
	var network net.Error
	var address *url.Error
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return "", context.Canceled
	case IsNoKind(err) && r.Group == DataVolumes.Group:
		return "the cluster does not know this kind: install the agent first: cdictl install | kubectl apply -f -", errdef.ErrNotFound
	case apierrors.IsNotFound(err) && verb != "create":
		return fmt.Sprintf("see what there is: kubectl get %s%s", r.Resource, inNamespace(r, namespace)), errdef.ErrNotFound
	case apierrors.IsNotFound(err):
		return "is there such a namespace? kubectl get namespaces", errdef.ErrNotFound
	case apierrors.IsUnauthorized(err):
		return "log in to the cluster again, or choose another context: --context", errdef.ErrUnauthorized
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"):
		return fmt.Sprintf("see the quota of the namespace: kubectl describe quota%s", inNamespace(r, namespace)), errdef.ErrTooSmall
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("ask for the right to %s %s; look with: kubectl auth can-i %s %s%s", verb, r.Resource, verb, resourceArg(r), inNamespace(r, namespace)), errdef.ErrUnauthorized
	case apierrors.IsAlreadyExists(err):
		return "", errdef.ErrExists
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return "", errdef.ErrUsage
	case apierrors.IsInternalError(err) && strings.Contains(err.Error(), "failed calling webhook"):
		return "the agent that checks DataVolumes does not answer: kubectl get pods -A -l app.kubernetes.io/name=cdi-agent", errdef.ErrUnavailable
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return "the API server at " + c.Host + " is slow: try again", errdef.ErrTimeout
	case apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err), apierrors.IsInternalError(err),
		errors.As(err, &network), errors.As(err, &address):
		return "is the cluster at " + c.Host + " up, and is this the right context? kubectl cluster-info", errdef.ErrUnavailable
	}
	return "", nil
}

func resourceArg(r Resource) string {
	if r.Group == "" {
		return r.Resource
	}
	return r.Resource + "." + r.Group
}

func inNamespace(r Resource, namespace string) string {
	if namespace == "" || r.Cluster {
		return ""
	}
	return " -n " + namespace
}
