// Package manager composes the agent's manager: its clients and caches, the election of a leader, health and metrics, the
// webhook and the controllers. All replicas answer the webhook and keep the certificates; the leader runs the controllers.
//
// RBAC, in the agent's namespace: coordination.k8s.io/leases get create update patch
// RBAC: authentication.k8s.io/tokenreviews create
// RBAC: authorization.k8s.io/subjectaccessreviews create
// RBAC: cdi.kubevirt.io/cdiconfigs get list watch
package manager

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/cdictl/cdictl/cmd/agent/internal/podspec"
	"github.com/cdictl/cdictl/cmd/internal/coexist"
)

// Run runs a manager until the context ends or it loses the lease. The process must end soon after: another may be leader
// already.
func Run(ctx context.Context, cfg *rest.Config, o Options) error {
	o, err := o.defaults()
	if err != nil {
		return err
	}
	log := logr.FromSlogHandler(o.Log.Handler())
	ctrl.SetLogger(log)
	klog.SetSlogLogger(o.Log)

	verdict, err := coexist.Check(ctx, cfg, o.Namespace)
	if err != nil {
		return fmt.Errorf("is there another CDI in the cluster? %w", err)
	}
	for _, note := range verdict.Notes {
		o.Log.Info("another CDI in the cluster", "note", note)
	}
	if err := verdict.Err(); err != nil {
		return err
	}
	mgr, err := build(cfg, o)
	if err != nil {
		return err
	}
	if err := wire(mgr, o); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	return nil
}

// build makes a manager without controllers.
func build(cfg *rest.Config, o Options) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.Burst = o.QPS, o.Burst
	cfg.UserAgent = "cdi-agent/" + o.Version
	tlsProfile := &tlsProfile{}
	lock, err := lease(cfg, o)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme,
		Logger: logr.FromSlogHandler(o.Log.Handler()),
		Cache:  cacheOptions(),
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: uncached()}},
		Metrics: metricsserver.Options{
			BindAddress: o.MetricsAddress, SecureServing: true, FilterProvider: authorized, TLSOpts: tlsProfile.options(),
		},
		WebhookServer:          webhook.NewServer(webhook.Options{Host: o.WebhookHost, Port: o.WebhookPort, TLSOpts: tlsProfile.options()}),
		HealthProbeBindAddress: o.HealthAddress,

		LeaderElection:                      true,
		LeaderElectionResourceLockInterface: lock,
		LeaderElectionReleaseOnCancel:       true, // a manager that ends in order is followed at once
		LeaseDuration:                       &o.Lease,
		RenewDeadline:                       &o.Renew,
		RetryPeriod:                         &o.Retry,

		GracefulShutdownTimeout: new(shutdown),
		Controller:              config.Controller{SkipNameValidation: &o.SameProcess},
	})
	if err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	if err := tlsProfile.follow(mgr); err != nil {
		return nil, err
	}
	return mgr, checks(mgr)
}

func newScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, cdiv1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("manager: scheme: %w", err)
		}
	}
	return s, nil
}

// cacheOptions keep what the manager remembers small: of pods only workers, and of no object who wrote which field when.
func cacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}: {Label: labels.SelectorFromSet(podspec.Labels())},
		},
	}
}

// uncached is what is read from the API server each time: Secrets and ConfigMaps are not the manager's to remember, and of
// the others a cluster has many and the manager wants few.
func uncached() []client.Object {
	return []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}, &corev1.Event{}, &eventsv1.Event{}, &corev1.Node{}, &corev1.Namespace{}, &corev1.ResourceQuota{}}
}

// checks are of liveness and readiness. Those of certificates and webhook are added with them.
func checks(mgr ctrl.Manager) error {
	var synced atomic.Bool
	err := mgr.Add(everyReplica(func(ctx context.Context) error {
		synced.Store(mgr.GetCache().WaitForCacheSync(ctx))
		return nil
	}))
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	err = mgr.AddReadyzCheck("caches", func(*http.Request) error {
		if !synced.Load() {
			return errors.New("caches are not filled yet")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	return nil
}

// webhookCheck asks the webhook server once it can have a certificate: before, each question would be a line in the log.
func webhookCheck(mgr ctrl.Manager, certificates <-chan struct{}) error {
	serves := mgr.GetWebhookServer().StartedChecker()
	err := mgr.AddReadyzCheck("webhook", func(r *http.Request) error {
		select {
		case <-certificates:
			return serves(r)
		default:
			return errors.New("the webhook has no certificate yet")
		}
	})
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	return nil
}

// everyReplica is run whether or not the manager leads.
type everyReplica func(context.Context) error

func (f everyReplica) Start(ctx context.Context) error { return f(ctx) }

func (everyReplica) NeedLeaderElection() bool { return false }
