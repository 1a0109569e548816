// Command agent is cdictl in a cluster: the manager, which fills the claims of DataVolumes, and the workers that it starts.
// It is one static binary, alone in its image.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/cdictl/cdictl/cmd/agent/internal/manager"
	"github.com/cdictl/cdictl/cmd/agent/internal/worker"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/errdef"
)

// Set by the linker for releases (-X main.version=…); what the Go toolchain recorded is used otherwise.
var version, commit string

const usage = `agent fills the claims of DataVolumes.

Usage:
  agent manager [flags]     watch DataVolumes and claims; --help lists the flags
  agent worker import       fill one volume, as the mounted job says
  agent version             tell the version
`

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	// The second signal ends the process: a manager that does not stop must not hold up its node.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	command, rest := "", []string(nil)
	if len(args) > 0 {
		command, rest = args[0], args[1:]
	}
	switch command {
	case "manager":
		return runManager(ctx, rest)
	case "worker":
		return worker.Run(ctx, rest)
	case "version", "--version":
		v, c := build()
		fmt.Printf("cdi-agent %s (%s) %s %s/%s\n", v, c, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return 0
	case "help", "--help", "-h":
		fmt.Print(usage)
		return 0
	}
	fmt.Fprint(os.Stderr, usage)
	return errdef.ExitCode(errdef.ErrUsage)
}

func runManager(ctx context.Context, args []string) int {
	o, config, err := flags(args, os.Getenv, os.Stderr)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(os.Stderr, "agent manager: %v\n", err)
		return errdef.ExitCode(errdef.ErrUsage)
	}
	slog.SetDefault(o.Log) // what servers of net/http complain of goes there too
	cfg, err := restConfig(config)
	if err == nil {
		err = manage(ctx, cfg, o)
	}
	if err != nil {
		o.Log.Error("the manager ends", "error", err.Error(), "hint", errdef.Hint(err))
		return errdef.ExitCode(err)
	}
	return 0
}

// manage is another in tests, whose managers must not lose a lease because the machine is busy.
var manage = manager.Run

// flags reads the manager's options; what they do not say comes from the environment of its pod.
func flags(args []string, getenv func(string) string, out io.Writer) (_ manager.Options, kubeconfig string, err error) {
	o := manager.Options{}
	o.Version, _ = build()
	f := pflag.NewFlagSet("agent manager", pflag.ContinueOnError)
	f.SetOutput(out)
	f.SortFlags = false
	level := f.String("log-level", "info", "least level of what is logged: debug, info, warn or error")
	f.StringVar(&o.Namespace, "namespace", getenv("POD_NAMESPACE"), "the agent's own namespace")
	f.StringVar(&o.WorkerImage, "worker-image", "", "image of worker pods: the manager's own")
	f.StringVar(&o.HealthAddress, "health-address", fmt.Sprintf(":%d", cdi.HealthPort), "where /healthz and /readyz are answered")
	f.StringVar(&o.MetricsAddress, "metrics-address", fmt.Sprintf(":%d", cdi.ManagerMetricsPort), "where /metrics is answered, over TLS; 0: nowhere")
	f.IntVar(&o.WebhookPort, "webhook-port", cdi.WebhookPort, "port of the admission webhook")
	f.Float32Var(&o.QPS, "kube-api-qps", manager.DefaultQPS, "requests a second to the API server, in the long run")
	f.IntVar(&o.Burst, "kube-api-burst", manager.DefaultBurst, "requests to the API server at once")
	f.StringVar(&kubeconfig, "kubeconfig", getenv("KUBECONFIG"), "file with the cluster to connect to; empty: the one that the pod is in")
	if err := f.Parse(args); err != nil {
		return o, "", err
	}
	if f.NArg() > 0 {
		return o, "", fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(*level)); err != nil {
		return o, "", fmt.Errorf("--log-level %q is not one of debug, info, warn, error", *level)
	}
	if o.QPS <= 0 || o.Burst <= 0 {
		return o, "", errors.New("--kube-api-qps and --kube-api-burst must be more than 0")
	}
	o.Log = slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: l}))
	return o, kubeconfig, nil
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	load := rest.InClusterConfig
	if kubeconfig != "" {
		load = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", kubeconfig) }
	}
	cfg, err := load()
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return cfg, nil
}

// build is the version and the commit.
func build() (string, string) {
	v, c := version, commit
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" {
			v = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && c == "" {
				c = s.Value
			}
		}
	}
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	if c == "" {
		c = "unknown"
	}
	return v, c
}
