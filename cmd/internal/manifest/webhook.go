package manifest

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/cmd/internal/webhook"
)

func (o Options) webhook() *admissionv1.ValidatingWebhookConfiguration {
	c := webhook.Configuration(o.Namespace)
	c.ObjectMeta = o.meta("", c.Name)
	return c
}

// networkPolicies let through what the agent needs, in a namespace whose other policies let nothing through. In the
// namespaces of users are no policies of ours: where one denies it, managers do not reach /progress of the workers, and
// tell the state of the pod instead.
func (o Options) networkPolicies() []Object {
	port := func(n int32) networkingv1.NetworkPolicyPort {
		return networkingv1.NetworkPolicyPort{Protocol: new(corev1.ProtocolTCP), Port: new(intstr.FromInt32(n))}
	}
	return []Object{&networkingv1.NetworkPolicy{
		TypeMeta: kind("networking.k8s.io/v1", "NetworkPolicy"), ObjectMeta: o.meta(o.Namespace, cdi.Agent),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: selector},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			// In: the API server asks the webhook, kubelet for health, a monitoring system for metrics. Where API server
			// and kubelet come from is not known to a manifest, so the ports are open to all.
			Ingress: []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{
				port(cdi.WebhookPort), port(cdi.HealthPort), port(cdi.ManagerMetricsPort),
			}}},
			// Out: workers on 8443 in any namespace, and the API server, whose address and port differ from cluster to
			// cluster. A rule for the one would close the way to the other.
			Egress: []networkingv1.NetworkPolicyEgressRule{{}},
		},
	}}
}
