package cdi

// Names of what an installation consists of, in the agent's namespace and in the cluster. The manifest, the manager and
// `cdictl uninstall` share them.
const (
	// Agent is the name of the Deployment, its ServiceAccount, its roles and their bindings.
	Agent            = "cdi-agent"
	DefaultNamespace = "cdi"
	// WebhookService is in front of the managers' webhook server.
	WebhookService = "cdi-agent-webhook"
	// WebhookConfig is the ValidatingWebhookConfiguration; the manager writes its CA bundle.
	WebhookConfig = "cdi-agent-validate"
	// WebhookPath is where the webhook server answers reviews of all kinds.
	WebhookPath = "/validate"
	// WebhookSecret has the webhook's CA and certificate, WorkerSecret the CA that workers and managers know each other by.
	// The manager makes them, and uninstall deletes them.
	WebhookSecret = "cdi-agent-webhook-tls"
	WorkerSecret  = "cdi-agent-worker-ca"
	// Lease elects the leader among the managers.
	Lease = "cdi-agent-leader"

	// WebhookPort, HealthPort and ManagerMetricsPort are the manager's ports. HealthPort answers /healthz and /readyz.
	WebhookPort        = 9443
	HealthPort         = 8081
	ManagerMetricsPort = 8080
)

// Labels of everything that an installation consists of.
const (
	LabelName     = "app.kubernetes.io/name"    // Agent
	LabelVersion  = "app.kubernetes.io/version" // of cdictl
	PartOf        = "cdictl"                    // LabelPartOf
	ManagedByUs   = "cdictl"                    // LabelManagedBy
	StorageOfUs   = "storage"                   // LabelK8sComponent
	ComponentRole = "importer"                  // LabelComponent of worker pods
)
