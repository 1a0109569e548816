// Package webhook has the configuration of the agent's admission webhook, for the manifest and for tests of the agent.
package webhook

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// Kinds are those that need more than the rules in their schema: plural, and the name of the webhook, which people see in front of each message.
var Kinds = []struct{ Resource, Webhook string }{
	{"datavolumes", "datavolume-validate.cdi.kubevirt.io"},
	{"dataimportcrons", "dataimportcron-validate.cdi.kubevirt.io"},
	{"volumeimportsources", "volumeimportsource-validate.cdi.kubevirt.io"},
}

// Configuration is for the Service cdi.WebhookService in the namespace. It has no CA bundle: the managers put it in once they have one, and
// whoever applies the configuration again does not touch it.
func Configuration(namespace string) *admissionv1.ValidatingWebhookConfiguration {
	c := &admissionv1.ValidatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "ValidatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{Name: cdi.WebhookConfig},
	}
	for _, k := range Kinds {
		c.Webhooks = append(c.Webhooks, admissionv1.ValidatingWebhook{
			Name:                    k.Webhook,
			AdmissionReviewVersions: []string{"v1"},
			SideEffects:             new(admissionv1.SideEffectClassNone),
			// What has not been looked at may not be stored: controllers and workers rely on it.
			FailurePolicy:  new(admissionv1.Fail),
			MatchPolicy:    new(admissionv1.Equivalent),
			TimeoutSeconds: new(int32(30)),
			ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{
				Namespace: namespace, Name: cdi.WebhookService, Path: new(cdi.WebhookPath), Port: new(int32(443)),
			}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule: admissionv1.Rule{
					APIGroups: []string{cdi.Group}, APIVersions: []string{"v1beta1"}, Resources: []string{k.Resource},
					Scope: new(admissionv1.NamespacedScope),
				},
			}},
			// Labels, annotations and finalizers may change though no manager is there to be asked, and so may what is
			// being deleted.
			MatchConditions: []admissionv1.MatchCondition{
				{Name: "spec-changed", Expression: "request.operation == 'CREATE' || !has(object.spec) || !has(oldObject.spec) || object.spec != oldObject.spec"},
				{Name: "not-deleted", Expression: "!has(object.metadata.deletionTimestamp)"},
				// What a manager makes follows from what was looked at, and it must be able to while no webhook answers.
				{Name: "not-the-agent", Expression: "request.userInfo.username != 'system:serviceaccount:" + namespace + ":" + cdi.Agent + "'"},
			},
		})
	}
	return c
}
