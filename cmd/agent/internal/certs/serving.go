package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// serving is what the webhook server shows, and what the API server is told to expect of it.
type serving struct {
	client  client.Client
	reader  client.Reader
	current atomic.Pointer[tls.Certificate]
}

func (s *serving) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := s.current.Load(); c != nil {
		return c, nil
	}
	return nil, errors.New("certs: the webhook has no certificate yet")
}

// accept shows the certificate from now on, and writes the bundle into every webhook of the configuration that has another.
func (s *serving) accept(ctx context.Context, a authority, pair *tls.Certificate) error {
	s.current.Store(pair)
	config := new(admissionv1.ValidatingWebhookConfiguration)
	if err := s.reader.Get(ctx, client.ObjectKey{Name: cdi.WebhookConfig}, config); err != nil {
		return fmt.Errorf("certs: ValidatingWebhookConfiguration %s: %w (apply the manifest of `cdictl install`)", cdi.WebhookConfig, err)
	}
	bundle, changed := a.bundle(), config.DeepCopy()
	differs := false
	for i := range changed.Webhooks {
		if w := &changed.Webhooks[i].ClientConfig; !bytes.Equal(w.CABundle, bundle) {
			w.CABundle, differs = bundle, true
		}
	}
	if !differs {
		return nil
	}
	// By name of each webhook: what else is in the configuration is its owner's.
	if err := s.client.Patch(ctx, changed, client.StrategicMergeFrom(config)); err != nil {
		return fmt.Errorf("certs: CA bundle of ValidatingWebhookConfiguration %s: %w", cdi.WebhookConfig, err)
	}
	return nil
}
