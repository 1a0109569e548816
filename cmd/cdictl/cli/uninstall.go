package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/cdictl/cdictl/cmd/internal/uninstall"
)

// uninstallFlags say what to take away.
type uninstallFlags struct {
	agent         agentFlags
	purge, dryRun bool
	wait          time.Duration
}

func (a *app) uninstallCommand() *cobra.Command {
	var f uninstallFlags
	c := &cobra.Command{
		Use:   "uninstall [flags]",
		Short: "Take the agent away from a Kubernetes cluster",
		Long: `Deletes what cdictl install made, and says what it left. The definitions of DataVolume and its kin stay as long as
there are objects of them, because the API server deletes the objects with the definition, and with a DataVolume its claim
and its disk. --purge takes them all the same. What others made, another CDI's definitions too, is never touched.

It needs the rights of a cluster administrator, and can be run again if it was interrupted.`,
		Example: `# what would go, and what would stay?
%[1]s uninstall --dry-run

%[1]s uninstall

# with all DataVolumes and their disks
%[1]s uninstall --purge`,
		Args: arguments(),
	}
	fs := c.Flags()
	f.agent.register(fs)
	fs.BoolVar(&f.purge, "purge", false, "delete the definitions that have objects too, and so all DataVolumes, their claims and disks")
	fs.BoolVar(&f.dryRun, "dry-run", false, "only say what would be done")
	fs.DurationVar(&f.wait, "wait", 2*time.Minute, "wait up to this `duration` for what takes time to be deleted")
	notFromConfig(fs, "purge")
	return a.command(c, func(c *cobra.Command, _ []string) error { return a.uninstall(c.Context(), &f) })
}

func (a *app) uninstall(ctx context.Context, f *uninstallFlags) error {
	if f.wait <= 0 {
		return usagef("--wait %s is not above 0", f.wait)
	}
	cluster, err := a.connect(&f.agent.clusterFlags)
	if err != nil {
		return err
	}
	cluster.Config.WarningHandler = rest.NoWarnings{} // one of the kinds is deprecated: no news to who takes it away
	client, err := dynamic.NewForConfig(cluster.Config)
	if err != nil {
		return err
	}
	plan, err := uninstall.Make(ctx, client, uninstall.Options{Namespace: f.agent.Namespace, Purge: f.purge})
	if err != nil {
		return err
	}
	for _, n := range plan.Notes {
		a.say("note: " + clean(n))
	}
	var told strings.Builder
	if f.dryRun {
		for _, s := range plan.Delete {
			fmt.Fprintf(&told, "would delete %s\n", clean(s.String()))
		}
	} else if err := plan.Run(ctx, client, f.wait, func(s uninstall.Step) { a.print("deleted " + clean(s.String()) + "\n") }); err != nil {
		return err
	}
	for _, k := range plan.Keep {
		fmt.Fprintf(&told, "left %s: %s\n", clean(k.What), clean(k.Why))
	}
	if len(plan.Delete)+len(plan.Keep) == 0 {
		fmt.Fprintf(&told, "nothing to uninstall: there is no agent in namespace %s\n", f.agent.Namespace)
	}
	return write(a.out, told.String())
}
