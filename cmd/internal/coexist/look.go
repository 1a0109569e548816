package coexist

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

const (
	validating = "validatingwebhookconfigurations"
	mutating   = "mutatingwebhookconfigurations"
)

// definitions are those that earlier releases of KubeVirt's CDI stored in other versions.
var definitions = []string{"cdis.cdi.kubevirt.io", "cdiconfigs.cdi.kubevirt.io", "datavolumes.cdi.kubevirt.io"}

// Rules are the rights that Look needs: to read what has these names, in any namespace.
func Rules() []rbacv1.PolicyRule {
	rule := func(group, resource string, verbs []string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs, ResourceNames: names}
	}
	list, get := []string{"list"}, []string{"get"}
	return []rbacv1.PolicyRule{
		rule("apps", "deployments", list, append(slices.Clone(deployments), cdi.Agent)...),
		rule("coordination.k8s.io", "leases", list, leases...),
		rule("apiregistration.k8s.io", "apiservices", get, apiService),
		rule("apiextensions.k8s.io", "customresourcedefinitions", get, definitions...),
		// Their names have changed between releases; the Service that they call has not.
		rule("admissionregistration.k8s.io", validating, list),
		rule("admissionregistration.k8s.io", mutating, list),
		rule(cdi.Group, "cdis", list),
	}
}

// Check looks and decides. The error is of looking; whether the agent may run is for Verdict.Err to tell.
func Check(ctx context.Context, config *rest.Config, namespace string) (Verdict, error) {
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		return Verdict{}, err
	}
	f, err := Look(ctx, c)
	if err != nil {
		return Verdict{}, err
	}
	return Decide(f, namespace, time.Now()), nil
}

// Look fetches the facts. What it has no right to see is in Facts.Unseen.
func Look(ctx context.Context, c dynamic.Interface) (Facts, error) {
	l := looker{ctx: ctx, client: c}
	l.deployments()
	l.webhooks(validating)
	l.webhooks(mutating)
	l.apiService()
	l.leases()
	l.cdis()
	l.definitions()
	return l.facts, l.err
}

// looker keeps the first error; after it nothing is asked any more.
type looker struct {
	ctx    context.Context // it lives as long as the call of Look
	client dynamic.Interface
	facts  Facts
	err    error
}

func (l *looker) deployments() {
	r := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	for _, name := range append(slices.Clone(deployments), cdi.Agent) {
		for _, u := range l.list(r, name) {
			ref := Ref{u.GetNamespace(), u.GetName()}
			if name == cdi.Agent {
				if u.GetLabels()[cdi.LabelManagedBy] == cdi.ManagedByUs {
					l.facts.Agents = append(l.facts.Agents, ref)
				}
				continue
			}
			replicas, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
			l.facts.Deployments = append(l.facts.Deployments, Deployment{ref, replicas})
		}
	}
}

func (l *looker) webhooks(resource string) {
	r := schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: resource}
	for _, u := range l.list(r, "") {
		hooks, _, _ := unstructured.NestedSlice(u.Object, "webhooks")
		theirs := strings.HasPrefix(u.GetName(), webhooks)
		for _, h := range hooks {
			h, _ := h.(map[string]any)
			name, _, _ := unstructured.NestedString(h, "clientConfig", "service", "name")
			namespace, _, _ := unstructured.NestedString(h, "clientConfig", "service", "namespace")
			if u.GetName() == cdi.WebhookConfig && resource == validating {
				l.facts.Webhook = Ref{namespace, name}
			}
			theirs = theirs || name == apiServerSvc
		}
		if theirs {
			l.facts.Webhooks = append(l.facts.Webhooks, Webhook{resource, u.GetName()})
		}
	}
}

func (l *looker) apiService() {
	r := schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}
	if u := l.get(r, apiService); u != nil {
		name, _, _ := unstructured.NestedString(u.Object, "spec", "service", "name")
		namespace, _, _ := unstructured.NestedString(u.Object, "spec", "service", "namespace")
		if name != "" && !strings.HasPrefix(name, cdi.Agent) { // none: definitions of the group
			l.facts.APIService = Ref{namespace, name}
		}
	}
}

func (l *looker) leases() {
	r := schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
	for _, name := range leases {
		for _, u := range l.list(r, name) {
			holder, _, _ := unstructured.NestedString(u.Object, "spec", "holderIdentity")
			at, _, _ := unstructured.NestedString(u.Object, "spec", "renewTime")
			renewed, _ := time.Parse(time.RFC3339Nano, at) // one that cannot be read was never renewed
			l.facts.Leases = append(l.facts.Leases, Lease{Ref{u.GetNamespace(), u.GetName()}, holder, renewed})
		}
	}
}

func (l *looker) cdis() {
	for _, u := range l.list(schema.GroupVersionResource{Group: cdi.Group, Version: "v1beta1", Resource: "cdis"}, "") {
		l.facts.CDIs = append(l.facts.CDIs, u.GetName())
	}
}

func (l *looker) definitions() {
	r := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	for _, name := range definitions {
		u := l.get(r, name)
		if u == nil {
			continue
		}
		stored, _, _ := unstructured.NestedStringSlice(u.Object, "status", "storedVersions")
		stored = slices.DeleteFunc(stored, func(v string) bool { return v == "v1beta1" })
		if len(stored) > 0 {
			l.facts.Old = append(l.facts.Old, Definition{name, stored})
		}
	}
}

// list returns all objects in all namespaces, or those with this name.
func (l *looker) list(r schema.GroupVersionResource, name string) []unstructured.Unstructured {
	if l.err != nil {
		return nil
	}
	var o metav1.ListOptions
	if name != "" {
		o.FieldSelector = "metadata.name=" + name
	}
	found, err := l.client.Resource(r).List(l.ctx, o)
	if l.passed(r, name, err) {
		return nil
	}
	return found.Items
}

func (l *looker) get(r schema.GroupVersionResource, name string) *unstructured.Unstructured {
	if l.err != nil {
		return nil
	}
	u, err := l.client.Resource(r).Get(l.ctx, name, metav1.GetOptions{})
	if l.passed(r, name, err) {
		return nil
	}
	return u
}

// passed says that there is nothing to look at, and remembers why.
func (l *looker) passed(r schema.GroupVersionResource, name string, err error) bool {
	what := strings.TrimSpace(r.Resource + " " + name)
	switch {
	case err == nil:
		return false
	case apierrors.IsNotFound(err): // the object, or its kind
	case apierrors.IsForbidden(err):
		l.facts.Unseen = append(l.facts.Unseen, what)
	default:
		l.err = fmt.Errorf("look for another CDI (%s): %w", what, err)
	}
	return true
}
