package apitest

import (
	"net"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	admission "github.com/cdictl/cdictl/cmd/internal/webhook"
)

// ServeWebhook installs the agent's webhook configuration with its Service in the namespace, and returns what makes a manager
// of this process the one that answers. The API server knows the manager by the name of the Service, as in a cluster, so its
// certificate is the one of a cluster. The configuration goes when the test ends.
func (e *Env) ServeWebhook(t testing.TB, namespace string) func(*ctrl.Options) {
	t.Helper()
	port := FreePort(t)
	// There is no network of Services here. This kind is a mere alias, and the API server follows it.
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: cdi.WebhookService},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}
	config := admission.Configuration(namespace)
	for i := range config.Webhooks {
		config.Webhooks[i].ClientConfig.Service.Port = new(int32(port))
	}
	for _, o := range []client.Object{service, config} {
		if err := e.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { e.Delete(t, config) })
	return func(o *ctrl.Options) {
		o.WebhookServer = webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: port})
	}
}

// FreePort is a port of the loopback interface that nobody listens on.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return port
}
