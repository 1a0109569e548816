package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// keeper looks after one Secret: an authority, and a certificate of it if leaf asks for one.
type keeper struct {
	key    types.NamespacedName
	leaf   *leaf
	reader client.Reader
	writer client.Client
	opts   Options
	// accept is handed what is valid from now on, each time the Secret or what depends on it has changed.
	accept func(context.Context, authority, *tls.Certificate) error
	ready  func()
}

// Reconcile brings the Secret up to date and passes on what is in it.
func (k *keeper) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	now := k.opts.now()
	secret := new(corev1.Secret)
	err := k.reader.Get(ctx, k.key, secret)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return reconcile.Result{}, fmt.Errorf("certs: Secret %s: %w", k.key, err)
	}
	data, a, pair, err := k.plan(ctx, secret.Data, now)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("certs: Secret %s: %w", k.key, err)
	}
	if data != nil {
		if err := k.write(ctx, secret, missing, data); err != nil {
			if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
				// Another replica was faster: what it wrote comes with the next event, and if that was missed, soon.
				return reconcile.Result{RequeueAfter: time.Second}, nil
			}
			return reconcile.Result{}, fmt.Errorf("certs: Secret %s: %w", k.key, err)
		}
	}
	if err := k.accept(ctx, a, pair); err != nil {
		return reconcile.Result{}, err
	}
	k.ready()
	due := a.due()
	if pair != nil {
		if t := aging(pair.Leaf); t.Before(due) {
			due = t
		}
	}
	// Not too long at once: clocks are set, and machines sleep.
	return reconcile.Result{RequeueAfter: min(max(due.Sub(now), time.Second), time.Hour)}, nil
}

// plan says what the Secret should have in it, nil if it has that, and reads it.
func (k *keeper) plan(ctx context.Context, old map[string][]byte, now time.Time) (map[string][]byte, authority, *tls.Certificate, error) {
	a, err := readAuthority(old)
	if err != nil {
		log.FromContext(ctx).Info("the Secret cannot be read; it is made anew", "secret", k.key, "reason", err.Error())
		a = nil
	}
	a, changed, err := a.renew(k.opts.commonName(k.key.Name), k.opts.CALife, now)
	if err != nil {
		return nil, nil, nil, err
	}
	var pair *tls.Certificate
	certPEM, keyPEM := old[tlsCert], old[tlsKey]
	if k.leaf != nil {
		if pair, err = a.readLeaf(certPEM, keyPEM, *k.leaf, now); err != nil {
			changed = true
			if certPEM, keyPEM, err = a.signer(k.opts.Overlap, now).sign(*k.leaf, now); err != nil {
				return nil, nil, nil, err
			}
			p, err := tls.X509KeyPair(certPEM, keyPEM)
			if err != nil {
				return nil, nil, nil, err
			}
			pair = &p
		}
	}
	if !changed {
		return nil, a, pair, nil
	}
	data := map[string][]byte{}
	if err := a.write(data); err != nil {
		return nil, nil, nil, err
	}
	if k.leaf != nil {
		data[tlsCert], data[tlsKey] = certPEM, keyPEM
	}
	return data, a, pair, nil
}

func (k *keeper) write(ctx context.Context, secret *corev1.Secret, missing bool, data map[string][]byte) error {
	if missing {
		return k.writer.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: k.key.Namespace, Name: k.key.Name,
				Labels: map[string]string{cdi.LabelName: cdi.Agent, cdi.LabelPartOf: cdi.PartOf, cdi.LabelManagedBy: cdi.ManagedByUs},
			},
			Type: corev1.SecretTypeOpaque, Data: data,
		})
	}
	secret.Data = data
	return k.writer.Update(ctx, secret) // with the resourceVersion that was read
}
