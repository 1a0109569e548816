package coexist_test

import (
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/cmd/internal/coexist"
)

func TestMain(m *testing.M) { apitest.Main(m, apitest.Options{}) }

// Everything is looked at with the rights that the manager has, and no more.
func TestLook(t *testing.T) {
	e := apitest.Start(t)
	ctx := t.Context()
	create := func(o client.Object) {
		t.Helper()
		if err := e.Client.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	create(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "looker"}, Rules: coexist.Rules()})
	create(&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "looker"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "looker"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "looker"}}})
	look := func(user string) coexist.Facts {
		t.Helper()
		c, err := dynamic.NewForConfig(e.ConfigFor(user))
		if err != nil {
			t.Fatal(err)
		}
		f, err := coexist.Look(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	// The API server hears of new rights a moment later.
	empty := look("looker")
	for deadline := time.Now().Add(time.Minute); len(empty.Unseen) > 0 && time.Now().Before(deadline); empty = look("looker") {
		time.Sleep(50 * time.Millisecond)
	}
	if diff := gocmp.Diff(coexist.Facts{}, empty); diff != "" {
		t.Errorf("an empty cluster (-want +got):\n%s", diff)
	}
	if f := look("nobody"); len(f.Unseen) < 10 {
		t.Errorf("without rights: unseen are %q", f.Unseen)
	}

	ns := e.Namespace(t)
	create(deployment(ns, "cdi-operator", nil))
	create(deployment(ns, "unrelated", nil))
	create(deployment(ns, cdi.Agent, map[string]string{cdi.LabelManagedBy: cdi.ManagedByUs}))
	create(deployment("default", cdi.Agent, nil)) // somebody else's, of that name
	renewed := metav1.NowMicro()
	create(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "cdi-controller-leader-election-helper"},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: new("pod-1"), RenewTime: &renewed}})
	hook := func(config, service string) *admissionv1.ValidatingWebhookConfiguration {
		return &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: config}, Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "a.b.c", SideEffects: new(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: ns, Name: service}},
		}}}
	}
	create(hook("cdi-api-datavolume-validate", "cdi-api"))
	create(hook("objecttransfer-api-validate", "cdi-api")) // known by its Service
	create(hook("policies", "kyverno"))
	create(hook(cdi.WebhookConfig, cdi.WebhookService))
	create(&cdiv1.CDI{ObjectMeta: metav1.ObjectMeta{Name: "cdi"}})
	create(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": map[string]any{"name": "v1beta1.upload.cdi.kubevirt.io"},
		"spec": map[string]any{"group": cdi.UploadGroup, "version": "v1beta1", "groupPriorityMinimum": int64(1000), "versionPriority": int64(15),
			"insecureSkipTLSVerify": true, "service": map[string]any{"namespace": ns, "name": "cdi-api"}}}})

	f := look("looker")
	if len(f.Leases) == 1 && time.Since(f.Leases[0].Renewed) > time.Minute {
		t.Errorf("renewed at %v", f.Leases[0].Renewed)
	}
	want := coexist.Facts{
		Deployments: []coexist.Deployment{{Ref: coexist.Ref{Namespace: ns, Name: "cdi-operator"}, Replicas: 1}},
		APIService:  coexist.Ref{Namespace: ns, Name: "cdi-api"},
		Webhooks: []coexist.Webhook{
			{Resource: "validatingwebhookconfigurations", Name: "cdi-api-datavolume-validate"},
			{Resource: "validatingwebhookconfigurations", Name: "objecttransfer-api-validate"},
		},
		Leases:  []coexist.Lease{{Ref: coexist.Ref{Namespace: ns, Name: "cdi-controller-leader-election-helper"}, Holder: "pod-1", Renewed: renewed.UTC()}},
		CDIs:    []string{"cdi"},
		Agents:  []coexist.Ref{{Namespace: ns, Name: cdi.Agent}},
		Webhook: coexist.Ref{Namespace: ns, Name: cdi.WebhookService},
	}
	if diff := gocmp.Diff(want, f, gocmp.Comparer(func(a, b time.Time) bool { return a.Sub(b).Abs() < time.Second })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	v, err := coexist.Check(ctx, e.Config, ns)
	if err != nil || v.Err() == nil || len(v.Conflicts) != 5 {
		t.Errorf("in its namespace: %v, %v", err, v.Err())
	}
	if v, _ := coexist.Check(ctx, e.Config, "elsewhere"); !strings.Contains(v.Err().Error(), "the agent in namespace "+ns) {
		t.Errorf("elsewhere: %v", v.Err())
	}
}

func deployment(namespace, name string, labels map[string]string) *appsv1.Deployment {
	pod := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: pod},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}}},
	}}
}
