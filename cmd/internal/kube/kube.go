// Package kube is how the command line talks to a cluster: the configuration that kubectl uses, a client without
// generated code, and API errors as those of errdef.
//
// The dynamic client and plain conversion keep the program small and quick to start: the typed clientset registers every
// kind of Kubernetes at each start, also of commands that never see a cluster.
package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // oidc; exec plugins come with rest
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Options say which cluster, as whom, and which namespace. The zero value is what kubectl would take: $KUBECONFIG,
// ~/.kube/config, else the pod that the process runs in.
type Options struct {
	Kubeconfig string
	Context    string
	Namespace  string

	// UserAgent is told to the API server.
	UserAgent string
	// OnWarning gets the warnings that the API server sends, each once. nil: they are dropped.
	OnWarning func(text string)
}

// Register adds the flags, under the names that kubectl has for them.
func (o *Options) Register(fs *pflag.FlagSet) {
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "", "`file` that says how to reach the cluster (default: $KUBECONFIG, ~/.kube/config, the pod's own)")
	fs.StringVar(&o.Context, "context", "", "`name` of the context in it (default: its current one)")
	fs.StringVarP(&o.Namespace, "namespace", "n", "", "namespace, by `name` (default: the context's, else default)")
}

// A Cluster is a connection. Its methods are safe for concurrent use.
type Cluster struct {
	// Namespace is the one asked for, or the context's.
	Namespace string
	// Host is the API server's address.
	Host string
	// Config is for those who need another client.
	Config *rest.Config

	dynamic  dynamic.Interface
	metadata metadata.Interface
}

// Limits of our own on requests: explain makes some twenty, and the default of client-go (5 a second) would be felt.
const (
	requestsPerSecond = 50
	requestsAtOnce    = 100
	// dialPatience bounds a single request that is no watch. An API server that takes longer has other problems.
	requestTimeout = 30 * time.Second
)

// Connect reads the configuration. No request is made yet.
func Connect(o Options) (*Cluster, error) {
	// client-go logs to stderr what it also returns.
	klog.LogToStderr(false)
	klog.SetOutput(discard{})

	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	rules.WarnIfAllMissing = false
	overrides := &clientcmd.ConfigOverrides{CurrentContext: o.Context}
	overrides.Context.Namespace = o.Namespace
	load := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	config, err := load.ClientConfig()
	if err != nil {
		return nil, configError(err)
	}
	namespace, _, err := load.Namespace()
	if err != nil {
		return nil, configError(err)
	}
	config.QPS, config.Burst = requestsPerSecond, requestsAtOnce
	config.UserAgent = o.UserAgent
	config.WarningHandler = &warnings{tell: o.OnWarning, seen: map[string]bool{}}
	return New(config, namespace)
}

// New is a Cluster from a configuration that is at hand.
func New(config *rest.Config, namespace string) (*Cluster, error) {
	c := &Cluster{Namespace: namespace, Host: config.Host, Config: config}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, configError(err)
	}
	if c.dynamic, err = dynamic.NewForConfigAndClient(config, client); err != nil {
		return nil, configError(err)
	}
	if c.metadata, err = metadata.NewForConfigAndClient(config, client); err != nil {
		return nil, configError(err)
	}
	return c, nil
}

func configError(err error) error {
	hint := "name the configuration of the cluster: --kubeconfig FILE, or KUBECONFIG"
	switch {
	case errors.Is(err, fs.ErrNotExist) || clientcmd.IsEmptyConfig(err):
		err = fmt.Errorf("no cluster is configured: %w", err)
	case strings.HasPrefix(err.Error(), "context "): // clientcmd has a test for it that sees only its own half of the cases
		hint = "list the contexts: kubectl config get-contexts"
		fallthrough
	default:
		err = fmt.Errorf("configuration of the cluster: %w", err)
	}
	return errdef.WithHint(classified{err, errdef.ErrUsage}, hint)
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
