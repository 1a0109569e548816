package gather

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/cmd/internal/diagnose"
	"github.com/cdictl/cdictl/cmd/internal/kube"
)

// peers are the deployments of KubeVirt's CDI that work on DataVolumes. The full list of what it consists of is package
// coexist's; these two are enough to say who is there.
var peers = []string{"cdi-deployment", "cdi-operator"}

// agent finds who fills claims here, and how that is.
func (g *gatherer) agent(ctx context.Context) {
	a := &g.o.Agent
	found := make([][]appsv1.Deployment, 1+len(peers))
	errs := make([]error, len(found))
	var steps []func()
	for i, name := range append([]string{cdi.Agent}, peers...) {
		steps = append(steps, func() {
			found[i], _, errs[i] = kube.List[appsv1.Deployment](ctx, g.c, kube.Deployments, "", metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		})
	}
	each(steps...)
	a.Deployments, a.Known = found[0], true
	for _, err := range errs {
		if err != nil {
			g.note("deployment", err)
			a.Known = false
			break
		}
	}
	for _, list := range found[1:] {
		for _, d := range list {
			if a.Peer == "" && (d.Spec.Replicas == nil || *d.Spec.Replicas > 0) {
				a.Peer = "deployment " + d.Namespace + "/" + d.Name
			}
		}
	}
	for _, d := range a.Deployments {
		each(
			func() {
				a.Pods = append(a.Pods, list[corev1.Pod](ctx, g, kube.Pods, d.Namespace, diagnose.AgentSelector)...)
			},
			func() {
				if l := get[coordinationv1.Lease](ctx, g, kube.Leases, d.Namespace, cdi.Lease); l != nil {
					a.Lease = l
				}
			},
		)
	}
}
