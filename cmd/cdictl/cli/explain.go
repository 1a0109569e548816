package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cdictl/cdictl/cmd/internal/diagnose"
	"github.com/cdictl/cdictl/cmd/internal/diagnose/gather"
)

// explainFlags are the flags of explain.
type explainFlags struct {
	cluster clusterFlags
	output  choice
}

// attention is the exit status of explain where something is wrong: none of errdef's, so that a script can tell "it is
// stuck" from "I could not find out".
const attention exitStatus = 3

// exitStatus is an error that only sets the exit code: all has been said.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

var claimNames = []string{"pvc", "pvcs", "persistentvolumeclaim", "persistentvolumeclaims"}

func (a *app) explainCommand() *cobra.Command {
	var f explainFlags
	c := &cobra.Command{
		Use:   "explain dv/NAME [flags]",
		Short: "Say what a DataVolume waits for, why, and what to do",
		Long: `Looks at a DataVolume and at all that stands between it and its data: the claim, the claim that is filled in its place,
the worker pod and how it ended last, the volume, StorageClass, StorageProfile, CSI driver, quota, nodes, events, and the
agent itself. Says in plain words what it waits for, since when, the cause, and what to do next.

pvc/NAME does the same for a claim that is filled without a DataVolume. Nothing is changed, and of Secrets only the
existence is looked at. What you have no right to see is named as such.

The exit status is 0 if it is done, on its way, or waits for what is usual (its first consumer), and 3 if it is stuck or
has failed. Other errors have their own.`,
		Example: `%[1]s explain dv/server
%[1]s explain pvc/server -n vms
%[1]s explain dv/server -o json | jq -r '.id, .cause, .next[]'
%[1]s explain dv/server > /dev/null || echo "needs attention"`,
		Args: func(c *cobra.Command, args []string) error {
			// "explain dv server" is what kubectl get taught people's fingers.
			if len(args) == 2 && !strings.Contains(args[0], "/") {
				return nil
			}
			return arguments("dv/NAME")(c, args)
		},
	}
	c.Annotations = map[string]string{exitNote: "3 it is stuck or has failed; the report says why"}
	choose(c.Flags(), &f.output, "output", "o", "how to tell it", "text", "json")
	f.cluster.register(c.Flags())
	return a.command(c, func(c *cobra.Command, args []string) error {
		what, err := explained(args)
		if err != nil {
			return usage(c, err)
		}
		return a.explain(c.Context(), &f, what)
	})
}

// object is what explain is asked about.
type object struct {
	claim bool
	name  string
}

func explained(args []string) (object, error) {
	kind, name, ok := strings.Cut(strings.Join(args, "/"), "/")
	switch {
	case !ok:
		return object{}, fmt.Errorf("%q: write dv/%s, or pvc/%s for a claim", kind, kind, kind)
	case name == "" || strings.Contains(name, "/"):
		return object{}, errors.New("one name is wanted, as in dv/NAME")
	case slices.Contains(dataVolumeNames, strings.ToLower(kind)):
		return object{name: name}, nil
	case slices.Contains(claimNames, strings.ToLower(kind)):
		return object{claim: true, name: name}, nil
	}
	return object{}, fmt.Errorf("%q is nothing to explain: only dv and pvc are", kind)
}

func (a *app) explain(ctx context.Context, f *explainFlags, what object) error {
	cluster, err := a.connect(&f.cluster)
	if err != nil {
		return err
	}
	look := gather.DataVolume
	if what.claim {
		look = gather.Claim
	}
	found, err := look(ctx, cluster, cluster.Namespace, what.name)
	if err != nil {
		return err
	}
	r := diagnose.Explain(found)
	if terminal(a.out) {
		r = r.Wrapped(min(columns(a.out), 120))
	}
	if err := answer(a.out, f.output.value == "json", r); err != nil {
		return err
	}
	if r.Verdict.Bad() {
		return attention
	}
	return nil
}
