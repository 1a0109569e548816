package cli

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/cmd/internal/coexist"
	"github.com/cdictl/cdictl/cmd/internal/manifest"
	"github.com/cdictl/cdictl/lib/errdef"
)

// checkPatience bounds the look at a cluster that nobody asked for: the manifest can be printed without.
const checkPatience = 15 * time.Second

// installFlags say what to install, and where.
type installFlags struct {
	agent    agentFlags
	image    string
	replicas int
	check    choice
}

// agentFlags say which agent in which cluster.
type agentFlags struct{ clusterFlags }

func (g *agentFlags) register(fs *pflag.FlagSet) {
	g.clusterFlags.register(fs)
	// In the configuration file and the context it is the namespace of the user's own things.
	notFromConfig(fs, "namespace")
	f := fs.Lookup("namespace")
	g.Namespace, f.DefValue, f.Usage = cdi.DefaultNamespace, cdi.DefaultNamespace, "namespace of the agent, by `name`"
}

func (a *app) installCommand() *cobra.Command {
	var f installFlags
	c := &cobra.Command{
		Use:   "install [flags]",
		Short: "Print what installs the agent in a Kubernetes cluster",
		Long: `Prints all that the agent needs in a cluster, for kubectl apply: the definitions of DataVolume and its kin, the
agent's namespace, rights, Deployment and webhook. Nothing is changed. The same flags print the same bytes, so it can be
kept in a repository and applied again: that is also how to update.

If a cluster is configured it is looked at first. One that runs CDI already, KubeVirt's or this agent in another
namespace, is refused with a plan: two of them would fill the same claims.`,
		Example: `%[1]s install | kubectl apply -f -

# an image from a registry of your own
%[1]s install --image registry.example/cdictl/agent:v1.0.0 > cdictl-agent.yaml

# only print; there is no cluster yet
%[1]s install --check never`,
		Args: arguments(),
	}
	fs := c.Flags()
	f.agent.register(fs)
	fs.StringVar(&f.image, "image", "", "`image` of the agent and its workers (default: "+manifest.Repository+", of this version)")
	fs.IntVar(&f.replicas, "replicas", 2, "run `n` managers; one works, all answer the webhook")
	choose(fs, &f.check, "check", "", "look for another CDI in the cluster; auto: if one is configured and answers", "auto", "always", "never")
	return a.command(c, func(c *cobra.Command, _ []string) error { return a.install(c.Context(), &f) })
}

func (a *app) install(ctx context.Context, f *installFlags) error {
	o := manifest.Options{Namespace: f.agent.Namespace, Image: f.image, Replicas: f.replicas, Version: a.build.describe().Version}
	if f.replicas < 1 {
		return usagef("--replicas %d is less than 1", f.replicas)
	}
	if o.Image == "" {
		o.Image = manifest.Repository + ":" + tag(o.Version)
	}
	objects, err := manifest.Objects(o)
	if err != nil {
		return err
	}
	if err := a.checkCluster(ctx, f, o.Namespace); err != nil {
		return err
	}
	text, err := manifest.YAML(objects)
	if err != nil {
		return err
	}
	return write(a.out, string(text))
}

// tag is the tag of the image of a version: what a tag may not have (the + of v1.0.0+dirty) is a dash.
func tag(version string) string {
	return regexp.MustCompile(`[^A-Za-z0-9_.-]`).ReplaceAllString(version, "-")
}

// checkCluster refuses a cluster with another CDI. What cannot be looked at stops it only if the look was asked for.
func (a *app) checkCluster(ctx context.Context, f *installFlags, namespace string) error {
	if f.check.value == "never" {
		return nil
	}
	must := f.check.value == "always"
	cluster, err := a.connect(&f.agent.clusterFlags)
	if err != nil {
		if must || f.agent.Kubeconfig != "" || f.agent.Context != "" {
			return err
		}
		return nil // there is no cluster, or none yet
	}
	look, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	verdict, err := coexist.Check(look, cluster.Config, namespace)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && must:
		return errdef.WithHint(fmt.Errorf("%w: %w", err, errdef.ErrUnavailable), "is the cluster up, and is this the right context? kubectl cluster-info")
	case err != nil:
		a.say("note: the cluster was not checked for another CDI: " + clean(err.Error()))
		return nil
	}
	for _, n := range verdict.Notes {
		a.say("note: " + clean(n))
	}
	for _, line := range verdict.Plan {
		a.say(line)
	}
	return verdict.Err()
}
