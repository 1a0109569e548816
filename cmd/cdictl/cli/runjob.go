package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cdictl/cdictl/cmd/cdictl/cli/meter"
	"github.com/cdictl/cdictl/lib/job"
	"github.com/cdictl/cdictl/lib/job/runner"
	"github.com/cdictl/cdictl/lib/progress"
)

func (a *app) runJobCommand() *cobra.Command {
	var t transferFlags // limits, output and progress of them
	c := &cobra.Command{
		Use:   "run-job SPEC [flags]",
		Short: "Do here what a worker in a cluster was told to do",
		Long: `Does what a job says, as the worker pod of a DataVolume does: fills a file or a block device from a URL, or with an empty
disk. It is the way to look into an import that fails in a cluster.

SPEC is a file of JSON, or - for stdin. Every field that is not known is an error. The paths in it are those of this machine;
in a pod they are /data/disk.img or /dev/cdi-block-volume, and credentials lie in /job. A job holds no secrets, only paths of
files that do.

The result is what a worker leaves in its termination message: with -o json the same JSON, with the same exit code in it
that this command ends with. It goes to stdout whether the job succeeds or fails; why it failed is said on stderr too.`,
		Example: `# what a worker was told
kubectl get secret -n vms -l cdi.kubevirt.io=importer -o jsonpath='{.items[0].data.spec\.json}' | base64 -d > spec.json

# do the same here, once the paths in it are changed
%[1]s run-job spec.json
%[1]s run-job spec.json -o json --progress json

# the least that a job can say
echo '{"version":"cdictl.dev/job/v1","source":{"blank":{}},"target":{"file":"disk.img","size":1073741824}}' | %[1]s run-job -`,
		Args: arguments("SPEC"),
	}
	t.output.register(c.Flags())
	t.progress.register(c.Flags())
	t.registerRun(c, timeoutUsage)
	c.Flags().StringVar(&t.disk.state, "state-dir", "", stateUsage)
	return a.command(c, func(c *cobra.Command, args []string) error {
		return t.pace.within(c.Context(), func(ctx context.Context) error { return a.runJob(ctx, &t, args[0]) })
	})
}

func (a *app) runJob(ctx context.Context, t *transferFlags, path string) error {
	spec, err := a.readJob(path)
	if err != nil {
		return err
	}
	o := runner.Options{Tracker: new(progress.Tracker), Limiter: t.pace.limiter(), OnPlan: a.planned}
	if o.Limits, err = t.limits.limits(); err != nil {
		return err
	}
	if spec.Target.Device != "" {
		if o.State, err = stateDir(t.disk.state); err != nil {
			return err
		}
	}
	m := a.meter(t, o.Tracker)
	defer m.Stop()
	o.OnRetry, o.OnNotice = a.retried(m), a.noticed(m)
	line, stop, err := a.timeline(t.trace)
	if err != nil {
		return err
	}
	defer stop()
	o.Trace = line
	res := runner.Run(ctx, spec, o)
	m.Stop()
	if !t.output.quiet || t.output.json() {
		if err := answer(a.out, t.output.json(), jobResult(res)); err != nil {
			return err
		}
	}
	return res.Err()
}

func (a *app) readJob(path string) (job.Spec, error) {
	if path != "-" {
		return job.ReadFile(path)
	}
	b, err := io.ReadAll(io.LimitReader(a.in, job.MaxSpecSize+1))
	if err != nil {
		return job.Spec{}, errors.Join(usagef("job spec: stdin"), err)
	}
	return job.Parse(b)
}

// A jobResult is a job.Result, as JSON the same, that tells itself to people.
type jobResult job.Result

// String is the outcome, and one line for each thing worth knowing.
func (r jobResult) String() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, clean(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(&b, "%s: %s\n", r.Outcome, r.Reason)
	if r.VirtualSize > 0 {
		row("disk", "%s (%d bytes)", meter.Size(r.VirtualSize), r.VirtualSize)
	}
	if r.Format != "" {
		what := r.Format
		if r.Codec != "" {
			what += " in " + r.Codec
		}
		row("image", "%s", what)
	}
	if r.Route != "" {
		row("route", "%s", r.Route)
	}
	moved := "fetched " + meter.Size(r.Fetched)
	if r.Passes > 1 {
		moved += fmt.Sprintf(" in %d passes", r.Passes)
	}
	if r.Spooled > 0 {
		moved += ", spooled " + meter.Size(r.Spooled)
	}
	row("moved", "%s, wrote %s", moved, meter.Size(r.Written))
	if r.Digest != "" {
		row("verified", "%s", r.Digest)
	}
	if r.RequiredSize > 0 {
		row("required", "%s (%d bytes)", meter.Size(r.RequiredSize), r.RequiredSize)
	}
	if r.Outcome == job.Succeeded && r.Message != "" {
		row("note", "%s", r.Message)
	}
	row("time", "%.1f s", r.Seconds)
	return b.String()
}
