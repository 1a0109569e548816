// Package uninstall takes away what `cdictl install` made: first a plan, from what is there, then its steps. What people
// made with the agent, above all DataVolumes and so their disks, is left unless a purge is asked for.
package uninstall

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/cmd/internal/manifest"
	"github.com/cdictl/cdictl/lib/errdef"
)

// Options say what to take away.
type Options struct {
	Namespace string // of the agent
	// Purge takes the definitions too that have objects, and so all DataVolumes, their claims and disks.
	Purge bool
}

// A Plan is what is to be done, and what is not.
type Plan struct {
	Delete []Step
	Keep   []Kept
	// Notes are what should be known before.
	Notes []string

	namespace string
}

// A Step deletes one object.
type Step struct {
	Resource  schema.GroupVersionResource
	Namespace string
	Name      string
	With      string // what goes with it, in words
}

// String is how kubectl would name it.
func (s Step) String() string {
	text := strings.TrimSuffix(s.Resource.Resource, "s")
	if s.Resource.Resource == "networkpolicies" {
		text = "networkpolicy"
	}
	text += "/" + s.Name
	if s.Namespace != "" {
		text += " in namespace " + s.Namespace
	}
	if s.With != "" {
		text += ", and with it " + s.With
	}
	return text
}

// Kept is an object that stays, and why.
type Kept struct{ What, Why string }

// definitions are deleted last, but for the namespace: a manager that still runs would complain, not go.
var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// order is that of deleting. The webhook goes first: without managers it would refuse every change.
var order = []string{
	"validatingwebhookconfigurations", "deployments", "poddisruptionbudgets", "services", "networkpolicies",
	"rolebindings", "roles", "clusterrolebindings", "clusterroles", "secrets", "leases", "serviceaccounts",
	"customresourcedefinitions", "namespaces",
}

// Make looks at the cluster. Nothing is changed.
func Make(ctx context.Context, c dynamic.Interface, o Options) (Plan, error) {
	p := planner{ctx: ctx, client: c, options: o, plan: Plan{namespace: o.Namespace}}
	objects, err := manifest.Objects(manifest.Options{Namespace: o.Namespace, Image: "any"})
	if err != nil {
		return Plan{}, err
	}
	for _, obj := range objects {
		kind := obj.GetObjectKind().GroupVersionKind()
		r, _ := meta.UnsafeGuessKindToResource(kind)
		if err := p.made(Step{Resource: r, Namespace: obj.GetNamespace(), Name: obj.GetName()}); err != nil {
			return Plan{}, err
		}
	}
	// These the managers make themselves.
	for _, s := range []Step{
		{Resource: schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, Namespace: o.Namespace, Name: cdi.WebhookSecret},
		{Resource: schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, Namespace: o.Namespace, Name: cdi.WorkerSecret},
		{Resource: schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}, Namespace: o.Namespace, Name: cdi.Lease},
	} {
		if u, err := p.get(s); err != nil {
			return Plan{}, err
		} else if u != nil {
			p.plan.Delete = append(p.plan.Delete, s)
		}
	}
	slices.SortStableFunc(p.plan.Delete, func(a, b Step) int {
		return slices.Index(order, a.Resource.Resource) - slices.Index(order, b.Resource.Resource)
	})
	return p.plan, nil
}

type planner struct {
	ctx     context.Context // it lives as long as the call of Make
	client  dynamic.Interface
	options Options
	plan    Plan
}

// made plans for an object of the manifest.
func (p *planner) made(s Step) error {
	u, err := p.get(s)
	if err != nil || u == nil {
		return err
	}
	if u.GetLabels()[cdi.LabelManagedBy] != cdi.ManagedByUs {
		p.keep(s, "it was not made by cdictl install")
		return nil
	}
	switch s.Resource.Resource {
	case "customresourcedefinitions":
		return p.definition(s, u)
	case "namespaces":
		return p.ownNamespace(s)
	}
	p.plan.Delete = append(p.plan.Delete, s)
	return nil
}

func (p *planner) definition(s Step, u *unstructured.Unstructured) error {
	group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(u.Object, "spec", "names", "plural")
	kind, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
	objects, err := p.list(schema.GroupVersionResource{Group: group, Version: "v1beta1", Resource: plural}, "")
	if err != nil {
		return err
	}
	objects = slices.DeleteFunc(objects, ofAgent)
	if len(objects) == 0 {
		p.plan.Delete = append(p.plan.Delete, s)
		return nil
	}
	what := fmt.Sprintf("%d %s", len(objects), plural)
	if len(objects) == 1 {
		what = "1 " + kind
	}
	if kind == "DataVolume" {
		disks, unfinished, err := p.dataVolumes(objects)
		if err != nil {
			return err
		}
		if disks > 0 {
			what += fmt.Sprintf(" that own %d claims: their disks are lost", disks)
		}
		if unfinished > 0 && !p.options.Purge {
			p.plan.Notes = append(p.plan.Notes, fmt.Sprintf("%d DataVolumes are not finished: nobody goes on with them until the agent is installed again", unfinished))
		}
	}
	if !p.options.Purge {
		what, _, _ = strings.Cut(what, " that own")
		p.keep(s, fmt.Sprintf("there are objects of this kind (%s); --purge deletes them too", what))
		return nil
	}
	s.With = what
	p.plan.Delete = append(p.plan.Delete, s)
	return nil
}

// dataVolumes counts the claims that go with them, and those that are being filled.
func (p *planner) dataVolumes(objects []unstructured.Unstructured) (claims, unfinished int, err error) {
	for _, u := range objects {
		phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
		if phase != "Succeeded" && phase != "Failed" {
			unfinished++
		}
	}
	all, err := p.list(schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}, "")
	if err != nil {
		return 0, 0, err
	}
	for _, c := range all {
		if slices.ContainsFunc(c.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.Kind == "DataVolume" }) {
			claims++
		}
	}
	return claims, unfinished, nil
}

// ofAgent says that nobody but the agent made or changed the object: it would be there again after the next start.
func ofAgent(u unstructured.Unstructured) bool {
	spec, _, _ := unstructured.NestedMap(u.Object, "spec")
	switch u.GetKind() {
	case "StorageProfile":
		return len(spec) == 0
	case "CDIConfig":
		gates, _, _ := unstructured.NestedStringSlice(spec, "featureGates")
		return len(spec) == 0 || len(spec) == 1 && slices.Equal(gates, []string{"HonorWaitForFirstConsumer"}) // as it is made
	case "VolumeImportSource":
		owner := metav1.GetControllerOf(&u)
		return owner != nil && owner.Kind == "DataVolume"
	}
	return false
}

// inNamespaces are the kinds of which nothing may be left in a namespace that is to be deleted.
var inNamespaces = []schema.GroupVersionResource{
	{Version: "v1", Resource: "persistentvolumeclaims"}, {Version: "v1", Resource: "pods"}, {Version: "v1", Resource: "services"},
	{Version: "v1", Resource: "secrets"}, {Version: "v1", Resource: "configmaps"},
	{Group: "apps", Version: "v1", Resource: "deployments"}, {Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "apps", Version: "v1", Resource: "daemonsets"}, {Group: "batch", Version: "v1", Resource: "jobs"}, {Group: "batch", Version: "v1", Resource: "cronjobs"},
}

// ownNamespace plans for the agent's namespace, which goes only if nothing else is in it.
func (p *planner) ownNamespace(s Step) error {
	for _, r := range inNamespaces {
		objects, err := p.list(r, s.Name)
		if err != nil {
			return err
		}
		for _, u := range objects {
			if !belongs(u) {
				p.keep(s, fmt.Sprintf("%s/%s is in it", strings.TrimSuffix(r.Resource, "s"), u.GetName()))
				return nil
			}
		}
	}
	p.plan.Delete = append(p.plan.Delete, s)
	return nil
}

// belongs says that the object goes with the agent, or with any namespace.
func belongs(u unstructured.Unstructured) bool {
	name := u.GetName()
	return u.GetLabels()[cdi.LabelManagedBy] == cdi.ManagedByUs || name == cdi.WebhookSecret || name == cdi.WorkerSecret ||
		u.GetKind() == "ConfigMap" && (name == "kube-root-ca.crt" || name == "openshift-service-ca.crt")
}

func (p *planner) keep(s Step, why string) {
	p.plan.Keep = append(p.plan.Keep, Kept{s.String(), why})
}

// get returns nil if there is no such object.
func (p *planner) get(s Step) (*unstructured.Unstructured, error) {
	u, err := p.client.Resource(s.Resource).Namespace(s.Namespace).Get(p.ctx, s.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, failed("look at", s.String(), err)
	}
	return u, nil
}

// list returns the objects of a namespace, or of all of them; none if there is no such kind.
func (p *planner) list(r schema.GroupVersionResource, namespace string) ([]unstructured.Unstructured, error) {
	var all []unstructured.Unstructured
	o := metav1.ListOptions{Limit: 500}
	for {
		l, err := p.client.Resource(r).Namespace(namespace).List(p.ctx, o)
		switch {
		case apierrors.IsNotFound(err):
			return nil, nil
		case err != nil:
			return nil, failed("list", r.Resource, err)
		}
		all = append(all, l.Items...)
		if o.Continue = l.GetContinue(); o.Continue == "" {
			return all, nil
		}
	}
}

func failed(verb, what string, err error) error {
	err = fmt.Errorf("%s %s: %w", verb, what, err)
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return errdef.WithHint(fmt.Errorf("%w: %w", err, errdef.ErrUnauthorized), "uninstalling needs the rights of a cluster administrator")
	case apierrors.ReasonForError(err) == metav1.StatusReasonUnknown: // no answer of an API server
		return errdef.WithHint(fmt.Errorf("%w: %w", err, errdef.ErrUnavailable), "is the cluster up, and is this the right context? kubectl cluster-info")
	}
	return err
}
