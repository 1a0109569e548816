package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// Options say where the agent is, and how long certificates live.
type Options struct {
	// Namespace is the agent's own.
	Namespace string
	// CALife is how long a CA is valid; a new one is made after half of it. 0 means 90 days.
	CALife time.Duration
	// Life is how long the webhook's certificate is valid; it is renewed after half of it. 0 means 14 days.
	Life time.Duration
	// Overlap is how long a new CA is published before it signs. 0 means 10 minutes, a thousand times what a watch takes.
	Overlap time.Duration

	now func() time.Time
}

func (o Options) defaults() Options {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.CALife, 90*24*time.Hour)
	set(&o.Life, 14*24*time.Hour)
	set(&o.Overlap, 10*time.Minute)
	if o.now == nil {
		o.now = time.Now
	}
	return o
}

func (o Options) commonName(secret string) string { return o.Namespace + "/" + secret }

// Add gives the manager's webhook server its certificate, the webhook's configuration its CA bundle, and the caller the Issuer
// of the workers' certificates. All three come after the manager was started: ready is closed then, and a check of that is
// among the manager's readiness checks.
func Add(mgr ctrl.Manager, o Options) (_ *Issuer, ready <-chan struct{}, err error) {
	if o.Namespace == "" {
		return nil, nil, errors.New("certs: the agent's namespace is not known")
	}
	o = o.defaults()
	server, ok := mgr.GetWebhookServer().(*webhook.DefaultServer)
	if !ok {
		return nil, nil, fmt.Errorf("certs: a webhook server of type %T cannot be given certificates", mgr.GetWebhookServer())
	}
	done := make(chan struct{})
	left := &countdown{n: 2, done: done}

	serving := &serving{client: mgr.GetClient()}
	server.Options.TLSOpts = append(server.Options.TLSOpts, func(c *tls.Config) {
		c.MinVersion, c.GetCertificate = tls.VersionTLS12, serving.certificate
	})
	host := cdi.WebhookService + "." + o.Namespace + ".svc"
	if serving.reader, err = add(mgr, "certs-webhook", &keeper{
		key:  types.NamespacedName{Namespace: o.Namespace, Name: cdi.WebhookSecret},
		leaf: &leaf{name: host, dns: []string{host}, usage: x509.ExtKeyUsageServerAuth, life: o.Life},
		opts: o, accept: serving.accept, ready: left.once(),
	}, true); err != nil {
		return nil, nil, err
	}

	issuer := &Issuer{overlap: o.Overlap, now: o.now}
	if _, err = add(mgr, "certs-worker", &keeper{
		key:  types.NamespacedName{Namespace: o.Namespace, Name: cdi.WorkerSecret},
		opts: o, accept: issuer.accept, ready: left.once(),
	}, false); err != nil {
		return nil, nil, err
	}
	err = mgr.AddReadyzCheck("certificates", func(*http.Request) error {
		select {
		case <-done:
			return nil
		default:
			return errors.New("certificates are not there, or not in the webhook's configuration yet")
		}
	})
	return issuer, done, err
}

// add runs a keeper in every replica. It watches nothing but the one Secret and, for the webhook's, the one configuration:
// no Secret of users is ever in the manager's memory.
func add(mgr ctrl.Manager, name string, k *keeper, configuration bool) (client.Reader, error) {
	byName := func(n string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", n) }
	watched := map[client.Object]cache.ByObject{
		&corev1.Secret{}: {Namespaces: map[string]cache.Config{k.key.Namespace: {FieldSelector: byName(k.key.Name)}}},
	}
	if configuration {
		watched[&admissionv1.ValidatingWebhookConfiguration{}] = cache.ByObject{Field: byName(cdi.WebhookConfig)}
	}
	c, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), ByObject: watched,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := mgr.Add(ownCache{c}); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	k.reader, k.writer = c, mgr.GetClient()

	request := reconcile.Request{NamespacedName: k.key}
	b := ctrl.NewControllerManagedBy(mgr).Named(name).
		WithOptions(controller.Options{NeedLeaderElection: new(false)}).
		// There is no event for a Secret that is not there.
		WatchesRawSource(source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			q.Add(request)
			return nil
		})).
		WatchesRawSource(source.Kind(c, &corev1.Secret{}, handler.TypedEnqueueRequestsFromMapFunc(
			func(context.Context, *corev1.Secret) []reconcile.Request { return []reconcile.Request{request} })))
	if configuration {
		b = b.WatchesRawSource(source.Kind(c, &admissionv1.ValidatingWebhookConfiguration{}, handler.TypedEnqueueRequestsFromMapFunc(
			func(context.Context, *admissionv1.ValidatingWebhookConfiguration) []reconcile.Request {
				return []reconcile.Request{request}
			})))
	}
	if err := b.Complete(k); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// ownCache is started by the manager in every replica, before the controllers.
type ownCache struct{ cache.Cache }

func (c ownCache) GetCache() cache.Cache { return c.Cache }

// countdown closes done when every function that once returned was called.
type countdown struct {
	mu   sync.Mutex
	n    int
	done chan struct{}
}

func (c *countdown) once() func() {
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.n--; c.n == 0 {
			close(c.done)
		}
	})
}
