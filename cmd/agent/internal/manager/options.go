package manager

import (
	"errors"
	"log/slog"
	"time"
)

// Options of a manager.
type Options struct {
	// Namespace is the agent's own: of its lease, its certificates and its Service.
	Namespace string
	// WorkerImage is the image of workers, which is the manager's own.
	WorkerImage string
	// Version is put on what the manager makes.
	Version string
	// MetricsAddress serves /metrics over TLS to who may read it; "0": nowhere. HealthAddress serves /healthz and /readyz.
	MetricsAddress, HealthAddress string
	// WebhookHost and WebhookPort are where the API server's questions come in. Host "": all addresses.
	WebhookHost string
	WebhookPort int
	// QPS and Burst bound what the manager asks of the API server. The defaults of client-go, 5 and 10, make fifty
	// DataVolumes wait for minutes; the API server has a queue of its own that is fair.
	QPS   float32
	Burst int
	// Lease, Renew and Retry are those of the election; 0: the defaults.
	Lease, Renew, Retry time.Duration
	// Log is where everything is told.
	Log *slog.Logger
	// SameProcess lets several managers live in one process, for tests.
	SameProcess bool
}

// What a leader that is killed costs is Lease + Retry: 12 s. A leader that cannot reach the API server gives up after Renew,
// before another takes over.
const (
	defaultLease = 10 * time.Second
	defaultRenew = 7 * time.Second
	defaultRetry = 2 * time.Second

	// DefaultQPS and DefaultBurst let fifty DataVolumes with their children go at once.
	DefaultQPS   = 200
	DefaultBurst = 400

	// shutdown is what remains for runnables when the pod is to end: less than its terminationGracePeriodSeconds of 30.
	shutdown = 20 * time.Second
)

func (o Options) defaults() (Options, error) {
	if o.Namespace == "" {
		return o, errors.New("the manager's namespace is not known: set --namespace, or POD_NAMESPACE in its environment")
	}
	if o.WorkerImage == "" {
		return o, errors.New("the image of workers is not known: set --worker-image to the manager's own image")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.QPS == 0 {
		o.QPS, o.Burst = DefaultQPS, DefaultBurst
	}
	if o.Lease == 0 {
		o.Lease, o.Renew, o.Retry = defaultLease, defaultRenew, defaultRetry
	}
	return o, nil
}
