package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/cmd/internal/kube"
	"github.com/cdictl/cdictl/lib/errdef"
)

// dvFlags say what DataVolume to make.
type dvFlags struct {
	name          string
	cluster       clusterFlags
	class         string
	volumeMode    choice
	accessModes   []string
	secret        string
	headerSecrets []string
	caConfigMap   string
	immediate     bool
	wait          bool
}

func (d *dvFlags) register(to *pflag.FlagSet) {
	grouped(to, groupDV, func(fs *pflag.FlagSet) {
		fs.StringVar(&d.name, "dv", "", "make a DataVolume of this `name` in a cluster, and let it be filled there")
		fs.StringVar(&d.class, "storage-class", "", "StorageClass, by `name` (default: the cluster's default for virtual machines)")
		choose(fs, &d.volumeMode, "volume-mode", "", "how the volume is used; auto: as the class's StorageProfile says", "auto", "Block", "Filesystem")
		fs.StringSliceVar(&d.accessModes, "access-mode", nil, "access `mode`, as ReadWriteOnce or RWO (default: as the class's StorageProfile says)")
		fs.StringVar(&d.secret, "secret", "", "`name` of the Secret with the source's accessKeyId (user) and secretKey (password)")
		fs.StringArrayVar(&d.headerSecrets, "header-secret", nil, "`name` of a Secret with headers for the source, such as a token (may be repeated)")
		fs.StringVar(&d.caConfigMap, "ca-configmap", "", "`name` of the ConfigMap with certificates to trust")
		fs.BoolVar(&d.immediate, "immediate", false, "do not wait for a pod that uses the disk, where the class would (WaitForFirstConsumer)")
		fs.BoolVar(&d.wait, "wait", true, "follow the import until it is done; =false: return when the DataVolume is made")
		notFromConfig(fs, "dv")
	})
	d.cluster.register(to)
}

// dvOnly are the flags that say nothing without --dv.
var dvOnly = []string{"storage-class", "volume-mode", "access-mode", "secret", "header-secret", "ca-configmap", "immediate", "wait",
	"kubeconfig", "context", "namespace"}

// notDV are the flags that say nothing about a DataVolume, and why.
var notDV = []struct{ flag, why string }{
	{"force", "a DataVolume is not overwritten"}, {"scratch", "workers find their own room"}, {"explain", "ask cdictl explain dv/NAME afterwards"},
	{"limit-rate", "a worker is not paced"}, {"trace", "it is a worker that moves the bytes"},
	{"snapshot", "a DataVolume takes the active disk"}, {"allow-backing", "a DataVolume's image stands alone"},
	{"path", "a DataVolume's image has one disk"}, {"authfile", "a worker takes its credentials from the cluster"}, {"policy", "a worker asks no policy"},
	{"password-stdin", "a worker takes its credentials from the cluster"},
	{"cert", "a DataVolume's source has no client certificate"}, {"key", "a DataVolume's source has no client certificate"},
}

// check finds flags that were given and that contradict each other. Those that the configuration file sets for all
// commands are no mistake.
func (d *dvFlags) check(h *httpFlags, given func(string) bool) error {
	if d.name == "" {
		for _, name := range dvOnly {
			if given(name) {
				return usagef("--%s is about a DataVolume: it needs --dv NAME", name)
			}
		}
		return nil
	}
	for _, no := range notDV {
		if given(no.flag) {
			return usagef("--%s does not go with --dv: %s", no.flag, no.why)
		}
	}
	// What only this machine knows, the worker would not: it takes its secrets from the cluster.
	switch {
	case (h.username != "" || h.passwordFile != "") && d.secret == "":
		return errdef.WithHint(usagef("--username and --password-file are for this machine, which reads the image's header: the worker needs a Secret, --secret NAME"),
			"kubectl create secret generic NAME --from-literal=accessKeyId=USER --from-file=secretKey=FILE")
	case (h.tokenFile != "" || h.headerFile != "") && len(d.headerSecrets) == 0:
		return errdef.WithHint(usagef("--token-file and --header-file are for this machine, which reads the image's header: the worker needs a Secret, --header-secret NAME"),
			"kubectl create secret generic NAME --from-file=authorization=FILE, the file holding a line 'Authorization: Bearer …'")
	case h.caFile != "" && d.caConfigMap == "" && !h.insecure:
		return errdef.WithHint(usagef("--ca-file is for this machine, which reads the image's header: the worker needs a ConfigMap, --ca-configmap NAME"),
			"kubectl create configmap NAME --from-file=ca.crt=FILE")
	}
	return nil
}

// importDV makes a DataVolume, and follows it.
func (a *app) importDV(ctx context.Context, t *transferFlags, d *dvFlags, src string) error {
	if err := clusterSource(src); err != nil {
		return err
	}
	cluster, err := a.connect(&d.cluster)
	if err != nil {
		return err
	}
	want, err := a.dataVolume(ctx, t, d, cluster.Namespace, src)
	if err != nil {
		return err
	}
	dv, made, err := a.ensure(ctx, cluster, t, d, want, src)
	if err != nil {
		return err
	}
	if made {
		a.tell(t, "datavolume %s/%s: made, %s", dv.Namespace, dv.Name, sizeOf(dv))
	} else {
		a.tell(t, "datavolume %s/%s: is there already, with the same spec", dv.Namespace, dv.Name)
	}
	if !d.wait {
		a.tell(t, "follow it: cdictl get dv %s -n %s --watch", dv.Name, dv.Namespace)
		if t.output.json() {
			return answer(a.out, true, newOutcome(dv, nil, time.Time{}))
		}
		return nil
	}
	return a.follow(ctx, cluster, t, d, dv)
}

// tell says on stderr what is done, unless that is not wanted.
func (a *app) tell(t *transferFlags, format string, args ...any) {
	if !t.output.quiet {
		a.say(clean(fmt.Sprintf(format, args...)))
	}
}

func sizeOf(dv *cdiv1.DataVolume) string {
	q := dv.Spec.Storage.Resources.Requests[corev1.ResourceStorage]
	return q.String()
}

// clusterSource says whether a worker in a cluster can read from src.
func clusterSource(src string) error {
	u, err := url.Parse(src)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errdef.WithHint(usagef("source %q cannot be read by a worker in a cluster: only http://… and https://… can", clean(src)),
			"put the image on a web server that the cluster reaches")
	case u.User != nil:
		return errdef.WithHint(usagef("the source's URL has a user name or a password in it, and everybody who can read the DataVolume would see it"),
			"put them into a Secret: kubectl create secret generic NAME --from-literal=accessKeyId=USER --from-file=secretKey=FILE, and --secret NAME")
	}
	return nil
}

// dataVolume is what the flags ask for, but for its size.
func (a *app) dataVolume(ctx context.Context, t *transferFlags, d *dvFlags, namespace, src string) (*cdiv1.DataVolume, error) {
	http := &cdiv1.DataVolumeSourceHTTP{URL: src, SecretRef: d.secret, CertConfigMap: d.caConfigMap, ExtraHeaders: t.http.headers, SecretExtraHeaders: d.headerSecrets}
	if t.http.insecure {
		http.InsecureSkipVerify = new(true)
	}
	by, err := a.byURL(t)
	if err != nil {
		return nil, err
	}
	sum, err := t.disk.digest(ctx, src, by, noEnv)
	if err != nil {
		return nil, err
	}
	if !sum.IsZero() {
		http.Checksum = sum.String()
	}
	dv := &cdiv1.DataVolume{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: d.name},
		Spec: cdiv1.DataVolumeSpec{
			Source:  &cdiv1.DataVolumeSource{HTTP: http},
			Storage: &cdiv1.StorageSpec{},
		},
	}
	if d.immediate {
		dv.Annotations = map[string]string{cdi.AnnImmediateBinding: "true"}
	}
	if t.disk.preallocate {
		dv.Spec.Preallocation = new(true)
	}
	s := dv.Spec.Storage
	if d.class != "" {
		s.StorageClassName = &d.class
	}
	if d.volumeMode.value != "auto" {
		s.VolumeMode = new(corev1.PersistentVolumeMode(d.volumeMode.value))
	}
	for _, m := range d.accessModes {
		mode, err := accessMode(m)
		if err != nil {
			return nil, err
		}
		s.AccessModes = append(s.AccessModes, mode)
	}
	return dv, nil
}

func accessMode(s string) (corev1.PersistentVolumeAccessMode, error) {
	modes := []struct {
		short string
		mode  corev1.PersistentVolumeAccessMode
	}{{"RWO", corev1.ReadWriteOnce}, {"RWX", corev1.ReadWriteMany}, {"ROX", corev1.ReadOnlyMany}, {"RWOP", corev1.ReadWriteOncePod}}
	var names []string
	for _, m := range modes {
		if strings.EqualFold(s, m.short) || strings.EqualFold(s, string(m.mode)) {
			return m.mode, nil
		}
		names = append(names, string(m.mode))
	}
	return "", usagef("--access-mode %q must be one of %s", s, strings.Join(names, ", "))
}

// ensure makes the DataVolume, or finds the one that an earlier call with the same words has made.
func (a *app) ensure(ctx context.Context, c *kube.Cluster, t *transferFlags, d *dvFlags, want *cdiv1.DataVolume, src string) (dv *cdiv1.DataVolume, made bool, err error) {
	there, err := kube.Get[cdiv1.DataVolume](ctx, c, kube.DataVolumes, want.Namespace, want.Name)
	if err != nil && !kube.IsNotFound(err) {
		return nil, false, err
	}
	if there == nil {
		size, err := a.dvSize(ctx, t, src)
		if err != nil {
			return nil, false, err
		}
		setSize(want, *resource.NewQuantity(size, resource.BinarySI))
		dv, err = kube.Create(ctx, c, kube.DataVolumes, want.Namespace, want)
		if !kube.IsExists(err) {
			return dv, err == nil, err
		}
		// Somebody was quicker. Their spec decides.
		if there, err = kube.Get[cdiv1.DataVolume](ctx, c, kube.DataVolumes, want.Namespace, want.Name); err != nil {
			return nil, false, err
		}
	}
	switch n := int64(t.disk.size); {
	case n > 0:
		setSize(want, *resource.NewQuantity(n, resource.BinarySI))
	case there.Spec.Storage != nil:
		// The size was left to the image, and it still is: it was read when the DataVolume was made.
		setSize(want, there.Spec.Storage.Resources.Requests[corev1.ResourceStorage])
	}
	if !equality.Semantic.DeepEqual(want.Spec, there.Spec) {
		return nil, false, errdef.WithHint(fmt.Errorf("dv/%s in namespace %s has another spec: %w", there.Name, there.Namespace, errdef.ErrExists),
			fmt.Sprintf("choose another name, or look at it: kubectl -n %s get dv %s -o yaml", there.Namespace, there.Name))
	}
	if there.DeletionTimestamp != nil {
		return nil, false, errdef.WithHint(fmt.Errorf("dv/%s in namespace %s is being deleted: %w", there.Name, there.Namespace, errdef.ErrBusy), "wait until it is gone, then run the same command")
	}
	return there, false, a.bindNow(ctx, c, d, there)
}

func setSize(dv *cdiv1.DataVolume, q resource.Quantity) {
	dv.Spec.Storage.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: q}
}

// bindNow asks for immediate binding of what was made without. The claim has its own annotations by then.
func (a *app) bindNow(ctx context.Context, c *kube.Cluster, d *dvFlags, dv *cdiv1.DataVolume) error {
	if _, ok := dv.Annotations[cdi.AnnImmediateBinding]; ok || !d.immediate {
		return nil
	}
	mark := map[string]string{cdi.AnnImmediateBinding: "true"}
	if err := c.Annotate(ctx, kube.DataVolumes, dv.Namespace, dv.Name, mark); err != nil {
		return err
	}
	if err := c.Annotate(ctx, kube.Claims, dv.Namespace, dv.Name, mark); err != nil && !kube.IsNotFound(err) {
		return err
	}
	return nil
}

// sourceOrDV are the arguments of import.
func sourceOrDV(dv string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if dv == "" {
			return arguments("SOURCE", "TARGET")(c, args)
		}
		if len(args) == 2 && args[1] != "" {
			return usage(c, errors.New("import takes a TARGET or --dv NAME, not both"))
		}
		return arguments("SOURCE")(c, args)
	}
}

// given are the flags that were set on the command line.
func given(c *cobra.Command) func(string) bool {
	var names []string
	c.Flags().Visit(func(f *pflag.Flag) { names = append(names, f.Name) })
	return func(name string) bool { return slices.Contains(names, name) }
}
