package certs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/cdictl/cdictl/cmd/agent/internal/certs"
	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

func TestMain(m *testing.M) { apitest.Main(m, apitest.Options{}) }

// short lives, so that a test sees several CAs. Certificates count in seconds.
func short(namespace string, times time.Duration) certs.Options {
	return certs.Options{Namespace: namespace, CALife: times * 10 * time.Second, Life: times * 6 * time.Second, Overlap: times * 2 * time.Second}
}

// serve runs a manager whose webhook lets everything through.
func serve(t *testing.T, e *apitest.Env, o certs.Options, server func(*ctrl.Options)) (issuer *certs.Issuer, ready <-chan struct{}, stop func()) {
	t.Helper()
	stop = e.StartManager(t, func(mgr ctrl.Manager) (err error) {
		mgr.GetWebhookServer().Register(cdi.WebhookPath, &webhook.Admission{Handler: admission.HandlerFunc(
			func(context.Context, admission.Request) admission.Response { return admission.Allowed("") })})
		issuer, ready, err = certs.Add(mgr, o)
		return err
	}, server)
	select {
	case <-ready:
	case <-time.After(3 * time.Minute):
		t.Fatal("never ready")
	}
	return issuer, ready, stop
}

// try asks the API server to create a DataVolume, for which it must ask the webhook.
func try(ctx context.Context, e *apitest.Env, namespace string) error {
	dv := &cdiv1.DataVolume{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "a-"}, Spec: cdiv1.DataVolumeSpec{Storage: &cdiv1.StorageSpec{}}}
	return e.Client.Create(ctx, dv, client.DryRunAll)
}

func bundle(t *testing.T, e *apitest.Env) []byte {
	t.Helper()
	config := apitest.Get(t, e, "", cdi.WebhookConfig, &admissionv1.ValidatingWebhookConfiguration{})
	for _, w := range config.Webhooks {
		if !bytes.Equal(w.ClientConfig.CABundle, config.Webhooks[0].ClientConfig.CABundle) {
			t.Errorf("webhook %s has another bundle", w.Name)
		}
	}
	return config.Webhooks[0].ClientConfig.CABundle
}

// Two replicas renew everything several times, and not one request finds the webhook untrusted. Where the machine stands still
// for longer than a certificate has to be renewed in, it is tried again with longer lives.
func TestRotation(t *testing.T) {
	var failed error
	for _, times := range []time.Duration{1, 6} {
		t.Run(fmt.Sprintf("%d times", times), func(t *testing.T) { failed = rotate(t, times) })
		if failed == nil || t.Failed() {
			return
		}
		t.Logf("lives of %d times as many seconds: %v", times, failed)
	}
	t.Error(failed)
}

func rotate(t *testing.T, times time.Duration) (failed error) {
	e := apitest.Start(t)
	ns := e.Namespace(t)
	server := e.ServeWebhook(t, ns)
	issuer, _, _ := serve(t, e, short(ns, times), server)
	// The other replica: nobody asks it, but it has the same right to write.
	serve(t, e, short(ns, times), func(o *ctrl.Options) {
		o.WebhookServer = webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: apitest.FreePort(t)})
	})
	apitest.Within(t, 10*time.Second, func() error { return try(t.Context(), e, ns) })

	asked := 0
	bundles := map[string]bool{}
	for end := time.Now().Add(times * 17 * time.Second); failed == nil && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		asked++
		failed = try(t.Context(), e, ns)
		bundles[string(bundle(t, e))] = true
		if _, _, _, err := issuer.IssueWorker("u1", time.Hour); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	t.Logf("%d requests, %d bundles, %v", asked, len(bundles), failed)
	// A CA is followed every 5 s, and gone after 10.
	if failed == nil && len(bundles) < 3 {
		failed = fmt.Errorf("the bundle changed %d times only", len(bundles)-1)
	}
	return failed
}

// What somebody breaks is made good.
func TestRepair(t *testing.T) {
	e := apitest.Start(t)
	ns := e.Namespace(t)
	serve(t, e, certs.Options{Namespace: ns}, e.ServeWebhook(t, ns))
	apitest.Within(t, 10*time.Second, func() error { return try(t.Context(), e, ns) })
	secret := func(name string) *corev1.Secret { return apitest.Get(t, e, ns, name, &corev1.Secret{}) }

	for name, breakIt := range map[string]func(t *testing.T) error{
		"the bundle is emptied": func(t *testing.T) error {
			config := apitest.Get(t, e, "", cdi.WebhookConfig, &admissionv1.ValidatingWebhookConfiguration{})
			for i := range config.Webhooks {
				config.Webhooks[i].ClientConfig.CABundle = nil
			}
			return e.Client.Update(t.Context(), config)
		},
		"the Secret is deleted": func(t *testing.T) error { return e.Client.Delete(t.Context(), secret(cdi.WebhookSecret)) },
		"the Secret is emptied": func(t *testing.T) error {
			s := secret(cdi.WebhookSecret)
			s.Data = nil
			return e.Client.Update(t.Context(), s)
		},
		"the workers' Secret is deleted": func(t *testing.T) error { return e.Client.Delete(t.Context(), secret(cdi.WorkerSecret)) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := breakIt(t); err != nil {
				t.Fatal(err)
			}
			apitest.Within(t, 20*time.Second, func() error {
				for _, name := range []string{cdi.WebhookSecret, cdi.WorkerSecret} {
					s := &corev1.Secret{}
					if err := e.Exists(t.Context(), ns, name, s); err != nil {
						return err
					}
					if len(s.Data["ca.crt"]) == 0 || len(s.Data["ca.key"]) == 0 {
						return fmt.Errorf("%s is empty", name)
					}
					if name == cdi.WebhookSecret && !bytes.Equal(s.Data["ca.crt"], bundle(t, e)) {
						return errors.New("the bundle is not the Secret's")
					}
				}
				return try(t.Context(), e, ns)
			})
		})
	}
}

// A replica that comes later takes what is there.
func TestRestart(t *testing.T) {
	e := apitest.Start(t)
	ns := e.Namespace(t)
	server := e.ServeWebhook(t, ns)
	_, _, stop := serve(t, e, certs.Options{Namespace: ns}, server)
	before := bundle(t, e)
	stop()
	serve(t, e, certs.Options{Namespace: ns}, server)
	if !bytes.Equal(before, bundle(t, e)) {
		t.Error("a restart makes a new CA")
	}
	apitest.Within(t, 10*time.Second, func() error { return try(t.Context(), e, ns) })
}
