// Package manifest is the whole installation of the agent as Kubernetes objects: what `cdictl install` prints. It is
// pure: the same Options, the same objects, the same bytes.
package manifest

import (
	"bytes"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/cmd/internal/crd"
	"github.com/cdictl/cdictl/lib/errdef"
)

// Repository is where images of the agent are published.
const Repository = "ghcr.io/cdictl/agent"

// Options are what may differ between installations.
type Options struct {
	// Namespace of the agent; "" is cdi.DefaultNamespace.
	Namespace string
	// Image of managers and workers. It is given, because its tag is the version.
	Image string
	// Replicas of the manager; 0 is 2: one works, the other takes over, and both answer the webhook.
	Replicas int
	// Version for a label; "" leaves it out.
	Version string
}

func (o *Options) complete() error {
	if o.Namespace == "" {
		o.Namespace = cdi.DefaultNamespace
	}
	if o.Replicas == 0 {
		o.Replicas = 2
	}
	if errs := validation.IsDNS1123Label(o.Namespace); len(errs) > 0 {
		return fmt.Errorf("namespace %q: %s: %w", o.Namespace, errs[0], errdef.ErrUsage)
	}
	if o.Replicas < 1 {
		return fmt.Errorf("%d replicas are less than 1: %w", o.Replicas, errdef.ErrUsage)
	}
	if o.Image == "" || strings.ContainsFunc(o.Image, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("image %q is not the name of one: %w", o.Image, errdef.ErrUsage)
	}
	// What is no version of ours is no valid label either (v1.2.3-4-gabc+dirty).
	if len(validation.IsValidLabelValue(o.Version)) > 0 {
		o.Version = ""
	}
	return nil
}

// Object is any of those below.
type Object interface {
	runtime.Object
	metav1.Object
}

// Objects returns the installation in the order in which it is to be made: definitions first, then what others need,
// the webhook last, when there is a Deployment that will answer it.
func Objects(o Options) ([]Object, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	crds, err := crd.All()
	if err != nil {
		return nil, err
	}
	var all []Object
	for _, d := range crds {
		all = append(all, d)
	}
	all = append(all, o.namespace(), o.serviceAccount())
	all = append(all, o.agentRoles()...)
	all = append(all, o.userRoles()...)
	all = append(all, o.networkPolicies()...)
	all = append(all, o.service(), o.deployment(), o.disruptionBudget(), o.webhook())
	return all, nil
}

// YAML is objects as one stream for kubectl apply.
func YAML(objects []Object) ([]byte, error) {
	var b bytes.Buffer
	for _, o := range objects {
		u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return nil, err
		}
		delete(u, "status") // the server's part
		doc, err := yaml.Marshal(u)
		if err != nil {
			return nil, fmt.Errorf("manifest: %s: %w", o.GetName(), err)
		}
		b.WriteString("---\n")
		b.Write(doc)
	}
	return b.Bytes(), nil
}

// meta is the metadata of every object; namespace is "" for those of the cluster.
func (o Options) meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: o.labels()}
}

func (o Options) labels() map[string]string {
	l := maps.Clone(selector)
	l[cdi.LabelPartOf], l[cdi.LabelManagedBy], l[cdi.LabelK8sComponent] = cdi.PartOf, cdi.ManagedByUs, cdi.StorageOfUs
	if o.Version != "" {
		l[cdi.LabelVersion] = o.Version
	}
	return l
}

// selector finds the managers' pods. It can never change: a Deployment's selector is immutable.
var selector = map[string]string{cdi.LabelName: cdi.Agent}

func (o Options) namespace() *corev1.Namespace {
	ns := &corev1.Namespace{TypeMeta: kind("v1", "Namespace"), ObjectMeta: o.meta("", o.Namespace)}
	for _, mode := range []string{"enforce", "audit", "warn"} {
		ns.Labels["pod-security.kubernetes.io/"+mode] = "restricted"
	}
	return ns
}

func (o Options) serviceAccount() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{TypeMeta: kind("v1", "ServiceAccount"), ObjectMeta: o.meta(o.Namespace, cdi.Agent)}
}

func kind(version, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: version, Kind: kind}
}
