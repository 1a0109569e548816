package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cdictl/cdictl/cmd/internal/kube"
)

// getFlags are the flags of get.
type getFlags struct {
	cluster clusterFlags
	all     bool
	watch   bool
	output  choice
}

func (a *app) getCommand() *cobra.Command {
	var f getFlags
	c := &cobra.Command{
		Use:   "get dv [NAME] [flags]",
		Short: "List DataVolumes with progress, rate and what holds them up",
		Long: `Lists the DataVolumes of a namespace, or one of them: phase, progress, rate, time to go, restarts of the worker, age,
and, where one does not go on, the reason. "cdictl explain" says more about it.

With -o json and -o yaml the objects are told as the API server has them. With --watch, what changes is told until the
command is interrupted.`,
		Example: `%[1]s get dv
%[1]s get dv -A -o wide
%[1]s get dv server -n vms --watch
%[1]s get dv server -o json | jq -r .status.phase`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 && slices.Contains(dataVolumeNames, args[0]) && len(args) <= 2 {
				return nil
			}
			if len(args) == 0 {
				return usage(c, errors.New("get needs what to get: dv"))
			}
			if !slices.Contains(dataVolumeNames, args[0]) {
				return usage(c, fmt.Errorf("%q is nothing to get: only dv is", args[0]))
			}
			return usage(c, fmt.Errorf("get dv takes one NAME, %q is one too many", args[2]))
		},
		ValidArgs: []string{"dv"},
	}
	fs := c.Flags()
	fs.BoolVarP(&f.all, "all-namespaces", "A", false, "those of all namespaces")
	fs.BoolVarP(&f.watch, "watch", "w", false, "go on telling what changes")
	choose(fs, &f.output, "output", "o", "how to tell it", "text", "wide", "json", "yaml")
	f.cluster.register(fs)
	return a.command(c, func(c *cobra.Command, args []string) error {
		name := ""
		if len(args) == 2 {
			name = args[1]
		}
		if name != "" && f.all {
			return usage(c, usagef("a NAME is of one namespace: -A does not go with it"))
		}
		return a.get(c.Context(), &f, name)
	})
}

// dataVolumeNames are what a DataVolume may be called.
var dataVolumeNames = []string{"dv", "dvs", "datavolume", "datavolumes"}

func (a *app) get(ctx context.Context, f *getFlags, name string) error {
	cluster, err := a.connect(&f.cluster)
	if err != nil {
		return err
	}
	l := &lister{app: a, cluster: cluster, flags: f, name: name, namespace: cluster.Namespace, claims: map[string]*corev1.PersistentVolumeClaim{},
		told: map[string]string{}}
	if f.all {
		l.namespace = ""
	}
	if f.watch {
		return l.watch(ctx)
	}
	return l.once(ctx)
}

// lister is one run of get.
type lister struct {
	*app
	cluster   *kube.Cluster
	flags     *getFlags
	name      string
	namespace string // "": all
	claims    map[string]*corev1.PersistentVolumeClaim
	table     table
	told      map[string]string // what was written last of each, without what changes by itself
}

func (l *lister) once(ctx context.Context) error {
	var all []item
	if l.name != "" {
		dv, err := kube.Get[unstructured.Unstructured](ctx, l.cluster, kube.DataVolumes, l.namespace, l.name)
		if err != nil {
			return err
		}
		i, err := newItem(dv)
		if err != nil {
			return err
		}
		all = []item{i}
	} else {
		found, _, err := kube.List[unstructured.Unstructured](ctx, l.cluster, kube.DataVolumes, l.namespace, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range found {
			item, err := newItem(&found[i])
			if err != nil {
				return err
			}
			all = append(all, item)
		}
	}
	if !l.objects() {
		if err := l.readClaims(ctx, all); err != nil {
			return err
		}
	}
	for _, i := range all {
		l.told[i.key()] = l.digest(i)
	}
	if l.objects() {
		return write(l.out, encode(l.flags.output.value, all, l.name == "" && !l.flags.watch))
	}
	if len(all) == 0 {
		where := "in namespace " + l.namespace
		if l.namespace == "" {
			where = "in any namespace"
		}
		l.say("no DataVolumes " + where)
		return nil
	}
	return write(l.out, l.rows(all))
}

// readClaims reads the claims of those that are on their way: rate and cause are written there. Who may not read claims
// gets the table without.
func (l *lister) readClaims(ctx context.Context, all []item) error {
	busy := slices.ContainsFunc(all, func(i item) bool { return !i.finished() })
	if !busy {
		return nil
	}
	var o metav1.ListOptions
	if l.name != "" {
		o.FieldSelector = "metadata.name=" + l.name
	}
	claims, _, err := kube.List[corev1.PersistentVolumeClaim](ctx, l.cluster, kube.Claims, l.namespace, o)
	if err != nil && !kube.IsForbidden(err) {
		return err
	}
	for i := range claims {
		l.claims[claims[i].Namespace+"/"+claims[i].Name] = &claims[i]
	}
	return nil
}

// objects says that the API's objects are wanted, not a table.
func (l *lister) objects() bool {
	return l.flags.output.value == "json" || l.flags.output.value == "yaml"
}

// rows are the lines of the table for these; the first call has the heading too.
func (l *lister) rows(all []item) string {
	shape := columnSet{l.namespace == "", l.flags.output.value == "wide"}
	rows := make([][]string, 0, len(all))
	now := time.Now()
	for _, i := range all {
		rows = append(rows, shape.row(i, l.claims[i.key()], now))
	}
	return l.table.add(shape.heading(), rows)
}

// digest is what is told of i, but for its age.
func (l *lister) digest(i item) string {
	if l.objects() {
		return i.dv.ResourceVersion
	}
	shape := columnSet{true, l.flags.output.value == "wide"}
	return fmt.Sprint(i.gone, shape.row(i, l.claims[i.key()], i.dv.CreationTimestamp.Time))
}
